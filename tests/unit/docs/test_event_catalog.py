"""The page on the event catalogue, followed word by word."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.catalog.values import Rule
from outbox_operator.cli import main as cli
from outbox_operator.testing import RecordingConnection, RecordingOutbox, RunningHandlers
from support.fences import fences
from support.kube import ROOT

PAGE: Final = "docs/how-to/event-catalog.md"
ORDER: Final = {
    "id": "6f1c1c0e-9d3a-4f0f-8a52-3f1c6f4f1c11", "total": "1.5",
    "placed_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the page shows, as the working directory."""
    text = (ROOT / PAGE).read_text()
    for name, shown in re.findall(r"```python title=(\S+)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(shown)
    (tmp_path / "shop/__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


async def test_what_it_shows_in_python(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Annotations count, as they do for who reads the page.
    _, write, _, version = (
        compile(one, PAGE, "exec", dont_inherit=True) for one in fences(PAGE, "python")
    )
    names: dict[str, Any] = {"__name__": "page"}
    exec(write, names)
    outbox = names["outbox"] = RecordingOutbox(catalog=names["events"])
    await names["place_order"](RecordingConnection(), ORDER)
    [found] = outbox.events
    assert (found.type, found.key) == ("order.created", ORDER["id"])
    billing = importlib.import_module("shop.billing")
    async with RunningHandlers(billing.app) as handlers:
        assert (await handlers.deliver("order.created", ORDER)).end == "ack"
    assert capsys.readouterr().out == f"{ORDER['id']} {ORDER['total']}\n"
    exec(version, {**names, **vars(names["events"])})


def test_what_it_has_typed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [line for text in fences(PAGE, "sh") for line in text.splitlines()]
    done = list[str]()
    for line in typed:
        words = shlex.split(line.replace("--against main", "--against catalog"))
        if words[:2] == ["outbox", "catalog"] and words[2] in ("export", "check"):
            assert cli.main(words[1:]) == 0, capsys.readouterr()
            done.append(words[2])
    assert done == ["export", "check"]
    assert (project / "catalog/schemas/order.created.json").is_file()


def test_its_table_has_every_rule() -> None:
    table = re.findall(r"^\| .*\|$", (ROOT / PAGE).read_text(), re.MULTILINE)
    told = set(re.findall(r"`([a-z-]+)`[:,| ]", "\n".join(table[2:])))
    assert {str(rule) for rule in Rule} <= told
