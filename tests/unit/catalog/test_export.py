"""Schemas and the AsyncAPI document: what is in them, and what the standards say of them."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, PastDatetime, create_model

from outbox_operator.catalog import asyncapi, entries
from outbox_operator.catalog.values import FORM
from outbox_operator.cli import main as cli
from outbox_operator.client import Event, declaring, event
from outbox_operator.client.rows import RowMaker
from outbox_operator.errors import SpecError
from support.json_schema import validate

HERE: Final = Path(__file__).parent


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, as an application has it."""
    spec = importlib.util.spec_from_file_location("shop_events", HERE / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop_events", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: ModuleType) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "catalog"


def outbox(*arguments: str) -> int:
    return cli.main(["catalog", *arguments])


def test_the_document_is_what_asyncapi_says_one_is(shop: ModuleType) -> None:
    """Its schema of a document is that of the npm package @asyncapi/specs 6.11.1 (Apache-2.0)."""
    document = asyncapi.document(
        entries.load(["shop_events"]), title="Shop", version="2.1.0",
        subject="{shard}.orders.{event_type}.{partition_key}", url="nats://nats.nats:4222",
    )  # fmt: skip
    validate(document, json.loads((HERE / "asyncapi-3.0.0.json").read_text()))
    channel = document["channels"]["order.created.v2"]
    assert channel["address"] == "{shard}.orders.order.created.v2.{partition_key}"
    assert list(channel["parameters"]) == ["shard", "partition_key"]
    message = document["components"]["messages"]["order.created"]
    assert message["summary"] == "An order was taken."
    for reference in _references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    assert document["servers"]["nats"] == {"host": "nats.nats:4222", "protocol": "nats"}


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        inner = [one for value in part.values() for one in _references(value)]
        return inner + ([part["$ref"]] if "$ref" in part else [])
    return [one for value in part for one in _references(value)] if isinstance(part, list) else []


@pytest.mark.parametrize("url", ["nats://me:secret@nats:4222", "nats", "nats://"])
def test_a_login_is_put_into_no_document(shop: ModuleType, url: str) -> None:
    with pytest.raises(SpecError) as error:
        asyncapi.document(
            entries.load(["shop_events"]), title="", version="1", subject="{event_type}", url=url
        )
    assert "secret" not in str(error.value)


def test_what_is_written_is_what_the_schema_says(shop: ModuleType) -> None:
    known = {one.type: one.document() for one in entries.load(["shop_events"])}
    first = shop.OrderCreated(
        id="6f1c1c0e-9d3a-4f0f-8a52-3f1c6f4f1c11", total="12.30", placed_at="2026-01-01T00:00:00Z",
        payment={"kind": "card", "last": "1"}, lines=[{"sku": "a", "quantity": 2}],
    )  # fmt: skip
    again = shop.OrderCreatedAgain(2, before=shop.OrderCreatedAgain(1), tags=["x"])
    for payload in (first, again, shop.OrderLost(7)):
        row = RowMaker("jsonb", 10**6).one(Event.of(payload))
        schema = known[row.event_type]
        validate(json.loads(row.payload), schema)


@pytest.mark.parametrize(
    ("kind", "form", "written"),
    [
        (dt.datetime, {"x-outbox-form": "date-time"}, dt.datetime(2026, 1, 1)),  # noqa: DTZ001
        (NaiveDatetime, {"x-outbox-form": "date-time"}, dt.datetime(2026, 1, 1)),  # noqa: DTZ001
        (AwareDatetime, {"format": "date-time"}, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        (PastDatetime, {"x-outbox-form": "date-time"}, dt.datetime(2026, 1, 1)),  # noqa: DTZ001
        (dt.time, {"x-outbox-form": "time"}, dt.time(12)),
        (dt.timedelta, {"x-outbox-form": "duration"}, dt.timedelta(seconds=-0.5)),
        (dt.date, {"format": "date"}, dt.date(2026, 1, 1)),
        (uuid.UUID, {"format": "uuid"}, uuid.UUID(int=1)),
    ],
)
def test_a_format_is_promised_where_everything_written_has_it(
    kind: Any, form: dict[str, str], written: object
) -> None:
    made = event("made")(create_model("Made", at=(kind, ...)))
    [found] = entries.entries([made])
    schema = found.document()["properties"]["at"]
    assert {name: schema[name] for name in ("format", FORM) if name in schema} == form
    row = RowMaker("jsonb", 10**6).one(Event.of(made(at=written)))
    validate(json.loads(row.payload), found.document(), formats=True)


def test_events_inside_of_classes_are_found() -> None:
    class Shop:
        @event("shop.opened")
        class Opened(BaseModel):
            id: int

        class Till:
            @event("till.opened")
            class Opened(BaseModel):
                id: int

    class Other:
        opened = Shop.Opened  # a reference

    place = ModuleType("shop")
    vars(place).update(Shop=Shop, Other=Other)
    assert sorted(declaring.collect(place)) == ["shop.opened", "till.opened"]


def test_files_are_written_once_and_kept_up(
    folder: Path, shop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outbox("export", "shop_events") == 0
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))
    assert written == [
        "asyncapi.json", "schemas/order.created.json", "schemas/order.created.v2.json",
        "schemas/order.lost.json",
    ]  # fmt: skip
    assert outbox("export", "shop_events", "--check") == 0
    capsys.readouterr()
    assert outbox("export", "shop_events") == 0
    assert capsys.readouterr().out == ""
    own = folder / "schemas/own.json"
    own.write_text("{}")
    del shop.OrderLost
    assert outbox("export", "shop_events", "--check") == 1
    assert "schemas/order.lost.json is not what this command writes" in capsys.readouterr().out
    assert outbox("export", "shop_events") == 0
    assert own.exists()
    assert not (folder / "schemas/order.lost.json").exists()


def test_it_is_said_that_a_catalogue_of_before_does_not_tell_all(
    folder: Path, shop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outbox("export", "shop_events") == 0
    before = shutil.copytree(folder, folder.parent / "before")
    assert outbox("check", "shop_events", "--against", "before") == 0
    assert capsys.readouterr().err == ""
    file = before / "schemas/order.created.json"
    schema = json.loads(file.read_text())
    del schema["x-outbox-event"]["marks"]
    file.write_text(json.dumps(schema))
    assert outbox("check", "shop_events", "--against", "before", "-o", "json") == 0
    said = capsys.readouterr()
    assert said.out == "[]\n"
    assert said.err.startswith(
        "1 schema is of an earlier `outbox catalog export`, 'order.created' first: not compared is "
    )


def test_a_change_is_compared_with_a_commit_and_with_a_folder(
    folder: Path, shop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True,
            capture_output=True, cwd=folder.parent, timeout=60,
        )  # fmt: skip

    git("init", "-b", "main")
    git("commit", "--allow-empty", "-m", "nothing")
    assert outbox("export", "shop_events") == 0
    assert outbox("check", "--against", "main") == 0
    assert "nothing can break yet" in capsys.readouterr().err
    assert outbox("check", "shop_events", "--against", "main", "--folder", "catalogue") == 2
    git("add", ".")
    git("commit", "-m", "catalog")
    assert outbox("check", "shop_events", "--against", "main") == 0
    assert outbox("check", "--against", "catalog") == 0
    (folder.parent / "linked").symlink_to(folder)

    del shop.OrderCreatedAgain
    capsys.readouterr()
    assert outbox("check", "shop_events", "--against", "main") == 1
    assert capsys.readouterr().out == (
        "order.created.v2: nobody declares it any longer; declare it deprecated first, or keep it "
        "[event-gone] - breaks consumers that run today\n"
    )
    for same in (str(folder.resolve()), "linked"):
        assert outbox("check", "shop_events", "--against", "main", "--folder", same) == 1
    elsewhere = folder.parent.parent / "elsewhere"
    shutil.copytree(folder, elsewhere)
    capsys.readouterr()
    assert outbox("check", "shop_events", "--against", "main", "--folder", str(elsewhere)) == 2
    assert "outside repository" in capsys.readouterr().err
    assert outbox("check", "shop_events", "--against", "main", "-o", "json") == 1
    [found] = json.loads(capsys.readouterr().out)
    assert found["rule"] == "event-gone"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "shop/nowhere.py"], "with dots, from the folder you stand in: shop.nowhere"),
        (["export", "nowhere.events"], "importing nowhere.events failed: ModuleNotFoundError"),
        (["export", "json"], "json has no class that is declared with @event"),
        (["check", "--against", "--output=x"], "expected one argument"),
        (["check", "--against", "main"], "no schemas in catalog/schemas"),
        (["check", "shop_events", "--against", "no-such"], "neither a folder nor a commit"),
        (["check", "shop_events", "--against", "no-such"], "fatal: not a git repository"),
        (["check", "shop_events", "--against", "broken"], "broken.json: is no schema of"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "broken/schemas").mkdir(parents=True)
    (folder.parent / "broken/schemas/broken.json").write_text("[1")
    try:
        code = outbox(*arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err
