"""Orders on a command line, the tasks they become, and how those are shown."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from outbox_operator.cli.cluster import again, letters, moments, task_facts, tasks
from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.commands import dlq, replay, reset
from outbox_operator.errors import SpecError
from support.cli import parsed
from support.golden import assert_golden_text

GOLDEN: Final = Path(__file__).parent / "golden"
NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["--all"], {}),
        (["--id", "id-1", "--id", "id-2"], {"ids": ["id-1", "id-2"]}),
        (
            ["--type", "order.created", "--type", "order.paid", "--key", "42", "--limit", "10"],
            {
                "filter": {"eventTypes": ["order.created", "order.paid"], "keys": ["42"]},
                "limit": 10,
            },
        ),
        (
            ["--reason", "MaxDeliver", "--since", "2026-01-31T09:00Z"],
            {"filter": {"reasons": ["MaxDeliver"], "since": "2026-01-31T09:00:00Z"}},
        ),
    ],
)
def test_which_dead_letters(arguments: list[str], fields: dict[str, Any]) -> None:
    assert letters.selection(parsed(dlq, "replay", "orders", *arguments)) == fields


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--all"], "all dead letters"),
        (["--all", "--limit", "9"], "dead letters, the first 9"),
        (["--id", "id-1", "--id", "id-2"], "dead letters, with id id-1 or id-2"),
        (
            ["--type", "a", "--key", "1", "--key", "2", "--key", "3", "--key", "4"],
            "dead letters, of type a, of key 1 or 2 or 3 and 1 more",
        ),
        (["--since", "2026-01-31T09:00Z"], "dead letters, since 2026-01-31T09:00:00Z"),
    ],
)
def test_which_dead_letters_are_asked_about(arguments: list[str], said: str) -> None:
    assert letters.described(letters.selection(parsed(dlq, "purge", "orders", *arguments))) == said


@pytest.mark.parametrize(
    "arguments", [[], ["--limit", "3"], ["--id", "id-1", "--key", "42"], ["--all", "--id", "id-1"]]
)
def test_it_has_to_be_said_which(arguments: list[str]) -> None:
    with pytest.raises(SpecError, match=r"which|exclude"):
        letters.selection(parsed(dlq, "replay", "orders", *arguments))


def where(kind: str, name: str, place: str, dead: int | None) -> Place:
    """A place."""
    return Place(
        namespace="shop", pipeline="orders", kind=kind, name=name, where=place,
        dead_letters=dead, read_at=None,
    )  # fmt: skip


PLACES: Final = [
    where("OutboxPipeline", "orders", "relay", 2),
    where("EventConsumer", "orders-billing", "consumer/billing", 0),
    where("EventConsumer", "orders-audit", "consumer/audit", None),
]


@pytest.mark.parametrize(
    ("relay", "consumer", "names"),
    [
        (False, None, ["orders", "orders-audit"]),
        (True, None, ["orders"]),
        (False, "billing", ["orders-billing"]),
        (False, "orders-billing", ["orders-billing"]),
    ],
)
def test_which_places(relay: bool, consumer: str | None, names: list[str]) -> None:
    found = letters.chosen(PLACES, relay=relay, consumer=consumer)
    assert [one.name for one in found] == names


def test_a_consumer_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="no consumer 'mailer'; there is billing, audit"):
        letters.chosen(PLACES, relay=False, consumer="mailer")


@pytest.mark.parametrize(
    ("verb", "arguments", "fields"),
    [
        (replay, ["orders", "--all"], {}),
        (
            replay,
            ["orders", "--from-position", "7", "--until", "2026-01-31T09:00+01:00"],
            {"fromPosition": 7, "toTime": "2026-01-31T08:00:00Z"},
        ),
        (reset, ["evc/mailer", "--to-start"], {"to": "Start"}),
        (reset, ["evc/mailer", "--to-end"], {"to": "End"}),
        (reset, ["evc/mailer", "--to-sequence", "9"], {"to": "Sequence", "sequence": 9}),
        (
            replay,
            ["orders", "--all", "--allow-partial", "--allow-other-readers"],
            {"allowPartial": True, "allowOtherReaders": True},
        ),
        (reset, ["evc/mailer", "--to-start", "--inbox", "keep"], {"to": "Start", "inbox": "Keep"}),
        (
            reset,
            ["evc/mailer", "--to-start", "--inbox", "forget"],
            {"to": "Start", "inbox": "Forget"},
        ),
    ],
)
def test_what_is_handled_again(verb: Any, arguments: list[str], fields: dict[str, Any]) -> None:
    args = parsed(verb, *arguments)
    found = again.histories(args) if verb is replay else [again.place(args, consumer())]
    assert found == [fields]


def test_single_positions_are_a_task_each() -> None:
    args = parsed(replay, "orders", "--position", "2", "--position", "4-9", "--type", "a")
    assert again.histories(args) == [
        {"eventTypes": ["a"], "fromPosition": 2, "toPosition": 2},
        {"eventTypes": ["a"], "fromPosition": 4, "toPosition": 9},
    ]
    for other in (["--all"], ["--since", "2h"], ["--to-position", "9"]):
        with pytest.raises(SpecError, match="--position goes with --type and --key alone"):
            again.histories(parsed(replay, "orders", "--position", "2", *other))
    for nonsense in ("9-4", "0", "-3", "4-", "x", "4-5-6"):
        with pytest.raises(SystemExit):
            parsed(replay, "orders", f"--position={nonsense}")


def consumer(**spec: Any) -> dict[str, Any]:
    """An EventConsumer, as the API server has it."""
    return {"kind": "EventConsumer", "metadata": {"name": "mailer"}, "spec": spec}


@pytest.mark.parametrize("where", [["--to-start"], ["--to-sequence", "9", "--dry-run"]])
def test_it_has_to_be_said_what_an_inbox_forgets(where: list[str]) -> None:
    """Without a word all that comes again would be skipped, and the reset be for nothing."""
    args = parsed(reset, "evc/mailer", *where)
    with pytest.raises(SpecError, match=r"mailer has an inbox.* --inbox forget"):
        again.place(args, consumer(inbox={"connectionSecretRef": {}}))


def test_the_end_asks_for_no_inbox() -> None:
    args = parsed(reset, "evc/mailer", "--to-end")
    assert again.place(args, consumer(inbox={})) == {"to": "End"}


@pytest.mark.parametrize(("keep", "seconds"), [("0.5", 60), ("60.5", 61), ("3600", 3600)])
def test_a_task_is_kept_until_its_end_was_seen(keep: str, seconds: int) -> None:
    args = parsed(dlq, "purge", "orders", "--all", "--keep", keep)
    order = tasks.Order(action="purgeDeadLetters", kind="OutboxPipeline", name="orders", fields={})
    spec = tasks.manifest(order, "shop", args, "ann")["spec"]
    assert spec["ttlSecondsAfterFinished"] == seconds


def test_the_manifest_of_an_order() -> None:
    args = parsed(dlq, "purge", "orders", "--all", "--rate", "100", "--dry-run", "--keep", "60")
    order = tasks.Order(
        action="purgeDeadLetters", kind="EventConsumer", name="orders-billing", fields={}
    )
    made = tasks.manifest(order, "shop", args, "ann")
    stem, _, rest = made["metadata"]["name"].rpartition("-")
    assert (stem, len(rest)) == ("purge-dead-letters-orders-billing", 5)
    assert made["metadata"]["namespace"] == "shop"
    spec = OutboxTaskSpec.model_validate(made["spec"])
    assert spec.target == ("EventConsumer", "orders-billing")
    assert (spec.action, spec.dryRun, spec.eventsPerSecond) == ("purgeDeadLetters", True, 100)
    assert (spec.requestedBy, spec.ttlSecondsAfterFinished) == ("ann", 60)
    long = tasks.Order(action="rebase", kind="OutboxPipeline", name="o" * 63, fields={})
    assert len(tasks.manifest(long, "shop", args, None)["metadata"]["name"]) <= 63


def body(reason: str, *, complete: bool = False, failed: bool = False, **status: Any) -> Any:
    """A task as it stands."""
    said = [("Complete", complete), ("Failed", failed)]
    return {
        "metadata": {"namespace": "shop", "name": "replay-dead-letters-orders-x7k2p"},
        "spec": {"pipelineRef": {"name": "orders"}, "replayDeadLetters": {}, "requestedBy": "ann"},
        "status": {
            "conditions": [
                {
                    "type": type_,
                    "status": str(holds),
                    "reason": reason,
                    "message": f"{reason} it is",
                }
                for type_, holds in said
            ],
            **status,
        },
    }


TIMES: Final[dict[str, Any]] = {
    "startTime": "2026-01-31T12:00:00Z",
    "completionTime": "2026-01-31T12:01:12Z",
}
FAILURE: Final = {"id": "e-1", "reason": "KeyBusy", "message": "events of the key wait"}
FINDING: Final = {
    "severity": "Error", "check": "Missing", "object": "e-9", "message": "not in the stream",
    "remedy": "kubectl outbox replay orders",
}  # fmt: skip
STANDING: Final = {
    "new": ({**body("x"), "status": {}}, False, False),
    "running": (body("Running", selected=300, done=120), False, False),
    "complete": (body("Completed", complete=True, selected=300, done=300, **TIMES), True, True),
    "some-failed": (
        body("SomeFailed", failed=True, selected=300, done=270, failed_=30, failures=[FAILURE]),
        True,
        False,
    ),
    "found": (
        body("Completed", complete=True, result={"counts": {"compared": 9}, "findings": [FINDING]}),
        True,
        False,
    ),
}


@pytest.mark.parametrize("name", STANDING)
def test_how_a_task_stands(name: str) -> None:
    shown, ended, well = STANDING[name]
    if "failed_" in shown["status"]:
        shown["status"]["failed"] = shown["status"].pop("failed_")
    facts = task_facts.task(shown)
    assert (facts.ended, facts.well) == (ended, well)
    assert (facts.action, facts.target, facts.requested_by) == (
        "replayDeadLetters",
        "orders",
        "ann",
    )
    lines = [task_facts.progress(facts), "", *task_facts.lines([facts], Screen(width=80))]
    assert max(map(len, lines)) <= 80
    assert_golden_text(GOLDEN / f"task-{name}.txt", "\n".join([*lines, ""]))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2h", "2026-01-31T10:00:00Z"),
        ("1d", "2026-01-30T12:00:00Z"),
        ("2026-01-31T09:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00:01.5+01:00", "2026-01-31T08:00:01.500000Z"),
    ],
)
def test_a_moment(text: str, wanted: str) -> None:
    assert moments.before(text, NOW) == wanted


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31T09:00", "0h", "2w", "-2h"])
def test_no_moment(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        moments.before(text, NOW)
