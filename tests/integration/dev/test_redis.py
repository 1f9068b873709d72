"""`outbox dev` with a pipeline that publishes to Redis."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from redis import Redis

from support.cli import CommandLine
from support.devrun import ROOT, Dev, outbox

pytestmark = pytest.mark.integration

MANIFEST = ROOT / "examples/redis/pipeline.yaml"


@pytest.mark.thorough
def test_an_event_appears_in_the_key_and_is_there_after_a_restart(dev: Dev) -> None:
    dev.start(manifest=MANIFEST)
    dev.says(r"redis +redis://127\.0\.0\.1:\d+")
    emit = ["emit", "identity", "user.created", '{"id": 1}', "--key", "1", "--wait"]
    said = CommandLine.of_laptop(dev.data)(*emit)
    assert "published: message 1 of identity.user.v1\n" in said
    dev.says(r"(?m)^identity +0 +- +1 .* 1 +0$")
    url = (dev.data / "redis-url").read_text()
    with Redis.from_url(url, decode_responses=True) as client:
        ((_, fields),) = client.xrange("identity.user.v1") or [("", {})]
        assert fields is not None
        assert (fields["Ce-Type"], fields["Outbox-Data"]) == ("user.created", '{"id": 1}')
    status = subprocess.run(
        [*outbox("dev"), "status", "identity"],
        cwd=dev.folder, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert status.returncode == 0, status.stdout + status.stderr
    assert "identity.user.v1" in status.stdout
    assert dev.end() == 0

    dev.start(manifest=MANIFEST)
    dev.says(r"(?m)^identity +0 +- +1 .* 1 +0$")
    assert (dev.data / "redis-url").read_text() == url


HANDLERS = """
import pathlib

from outbox_operator.consumer import DeadLetter, Handlers

app = Handlers()

@app.handler("user.*")
async def note(event, context):
    with open("noted", "a") as file:
        file.write(f"{event.key} {event.type}\\n")
    bad = event.type == "user.bad" and not pathlib.Path("mended").exists()
    return DeadLetter("nobody wants it") if bad else None
"""


@pytest.mark.thorough
def test_a_consumer_handles_what_appears(dev: Dev) -> None:
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    documents[0]["spec"]["consumers"] = [
        {"name": "billing", "handler": {"python": {"module": "handlers:app", "image": "x"}}},
        {
            "name": "mail",
            "filterEventTypes": ["mail.*"],
            "handler": {"python": {"module": "handlers:app", "image": "x"}},
        },
    ]
    manifest = dev.folder / "pipeline.yaml"
    manifest.write_text(yaml.safe_dump_all(documents))
    (dev.folder / "handlers.py").write_text(HANDLERS)
    dev.start(manifest=manifest)
    dev.says(r"redis +redis://127\.0\.0\.1:\d+")
    for kind in ("created", "bad"):
        emit = [*outbox("dev"), "emit", "identity", f"user.{kind}", "{}", "--key", "1"]
        subprocess.run(emit, cwd=dev.folder, check=True, capture_output=True, timeout=60)
    dev.says(r"(?m)^identity-billing +0 +0 .* 1 +1\b")
    noted = dev.folder / "noted"  # the table may be of a moment before the second
    dev.until(lambda: noted.read_text().splitlines() == ["1 user.created", "1 user.bad"], "both")
    url = (dev.data / "redis-url").read_text()
    with Redis.from_url(url, decode_responses=True) as client:
        dev.until(lambda: client.xlen("identity.user.v1.dlq") == 1, "a letter")
        ((_, letter),) = client.xrange("identity.user.v1.dlq")
        assert letter is not None
        assert letter["Outbox-Dead-Letter-Reason"] == "Refused"
        groups = {each["name"]: each["pending"] for each in client.xinfo_groups("identity.user.v1")}
        assert groups == {"identity-billing": 0, "identity-mail": 0}
    here = CommandLine.of_laptop(dev.data)
    [pipeline] = here.facts("status", "identity")["pipelines"]
    assert (pipeline["well"], pipeline["stream"]["deadLetters"]) == (True, 1)
    [billing, mail] = pipeline["consumers"]
    for one, letters in ((billing, 1), (mail, 0)):
        assert (one["ready"], one["pending"], one["inFlight"]) == ("True", 0, 0)
        assert (one["deadLetters"], one["oldestSeconds"]) == (letters, 0)
    assert [one["deadLetters"] for one in here.facts("dlq", "list")["places"]] == [0, 1, 0]
    [read] = here.facts("dlq", "list", "identity", "--consumer", "billing")["places"]
    [letter] = read["letters"]
    assert (letter["type"], letter["key"], letter["reason"]) == ("user.bad", "1", "Refused")
    [read] = here.facts("dlq", "show", "identity", letter["id"], "--payload")["places"]
    assert read["letters"][0]["payload"] == "{}"

    (dev.folder / "mended").touch()
    assert "1 event is done" in here("dlq", "replay", "identity", "--consumer", "billing", "--all")
    dev.until(lambda: noted.read_text().splitlines()[2:] == ["1 user.bad"], "handled once more")
    [pipeline] = here.facts("status", "identity")["pipelines"]
    assert pipeline["stream"]["deadLetters"] == 0
    assert dev.end() == 0
