"""Replays of history: names, who is meant, who else reads, and what has to be waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.tasks.history import (
    MOST_TIMES_COUNTED,
    HistorySelection,
    HistoryWhere,
    answered,
    check_renewed,
    consumer_meant,
    counted_anew,
    no_longer_kept,
    other_readers,
    readers_of,
    refused_for,
    replay_name,
    with_left_out,
)
from outbox_operator.plan.tasks.letters import kept, remembered
from outbox_operator.plan.tasks.status import Progress, ending
from outbox_operator.reasons import Reason
from outbox_operator.wire.replay import check_name

UID = "6f1c2d3e-0000-4000-8000-000000000001"


def task(name: str) -> Meta:
    return Meta(
        kind="OutboxTask", namespace="shop", name=name, uid=UID, generation=1, created="2026"
    )


def consumer(name: str, stream: str | None = "ORDERS", **spec: Any) -> dict[str, Any]:
    status = {"consumer": {"stream": stream, "name": name}} if stream else {}
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "EventConsumer",
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "generation": 1,
            "creationTimestamp": "2026-11-29T00:00:00Z",
        },
        "spec": {"streamRef": {"name": "orders"}, **spec},
        "status": status,
    }  # fmt: skip


RUNTIME: dict[str, Any] = {"handler": {"http": {"url": "http://x.test/"}}}
ARCHIVE: dict[str, Any] = {
    "handler": {
        "archive": {
            "connectionSecretRef": {"name": "db"},
            "retention": [{"name": "default", "keep": "90d"}],
        }
    }
}
OURS = [
    consumer("orders-billing", **RUNTIME), consumer("audit"), consumer("far", "OTHER"),
    consumer("kept", **ARCHIVE),
]  # fmt: skip


@pytest.mark.parametrize("name", ["again", "a" * 253, "a.b-c.d"])
def test_every_task_has_a_replay_of_its_own(name: str) -> None:
    found = check_name(replay_name(task(name)))
    assert found.endswith(".6f1c2d3e")
    assert found.startswith(name[:60])


@pytest.mark.parametrize("name", ["orders-billing", "billing"])
def test_a_consumer_is_meant_by_either_name(name: str) -> None:
    found = consumer_meant(name, "ORDERS", OURS, "shop", "orders")
    assert found.meta.name == "orders-billing"


@pytest.mark.parametrize(
    ("name", "namespace", "said"),
    [
        ("nobody", "shop", "does not exist"),
        ("billing", "other", "does not exist"),
        ("far", "shop", "reads stream OTHER"),
    ],
)
def test_who_cannot_be_meant(name: str, namespace: str, said: str) -> None:
    with pytest.raises(TaskFailedError, match=said):
        consumer_meant(name, "ORDERS", OURS, namespace, "orders")


def test_a_consumer_that_reads_nothing_yet_cannot_be_meant() -> None:
    with pytest.raises(TaskFailedError, match="no stream yet"):
        consumer_meant("new", "ORDERS", [consumer("new", None)], "shop", "orders")


@pytest.mark.parametrize(
    ("durables", "meant", "others"),
    [
        ((), "orders-billing", []),
        (("orders-billing",), "orders-billing", []),
        (("orders-billing", "audit", "by-hand"), "orders-billing", ["audit", "by-hand"]),
        (("orders-billing", "audit"), "audit", []),
        (("orders-billing", "kept"), "orders-billing", []),
    ],
)
def test_only_the_runtime_knows_who_is_meant(
    durables: tuple[str, ...], meant: str, others: list[str]
) -> None:
    assert other_readers("ORDERS", durables, OURS, meant) == others


def test_a_refusal_names_some_of_them() -> None:
    text = refused_for([f"d{n}" for n in range(8)], "ORDERS").message
    assert "d0, d1, d2, d3, d4 and 3 more of stream ORDERS" in text


def test_what_reads_a_stream() -> None:
    names = [body["metadata"]["name"] for body in readers_of("ORDERS", OURS)]
    assert names == ["orders-billing", "audit", "kept"]


@pytest.mark.parametrize(
    ("version", "reason", "waits"),
    [
        ("1", "MinimumReplicas", False),
        ("1", "ScaledToZero", False),
        ("1", "RollingOut", True),
        ("0", "MinimumReplicas", True),
    ],
)
def test_pods_of_before_know_no_replays(version: str, reason: str, waits: bool) -> None:
    kind = ConditionType.RELAY_AVAILABLE
    body = {
        "kind": "OutboxPipeline",
        "metadata": {"name": "orders"},
        "status": {
            "operatorVersion": version,
            "conditions": [{"type": kind.value, "reason": reason}],
        },
    }
    if waits:
        with pytest.raises(DependencyError):
            check_renewed(body, kind, "1")
    else:
        check_renewed(body, kind, "1")


def test_it_says_from_when_on_there_is_something() -> None:
    found = no_longer_kept(datetime(2026, 11, 22, 9, tzinfo=UTC), 1_000_000_001)
    assert "from 2026-11-22T09:00:00Z on (position 1000000001)" in found.message
    assert "there are none" in no_longer_kept(None, None).message


@pytest.mark.parametrize(
    ("selected", "done", "failed", "left"),
    [(60, 20, 0, 40), (60, 18, 2, 40), (60, 60, 0, 0), (60, 58, 2, 0), (60, 61, 0, 0)],
)
def test_what_was_selected_and_not_sent_is_listed(
    selected: int, done: int, failed: int, left: int
) -> None:
    """Such as after a rebase while the task was suspended (FC-U7)."""
    ended = with_left_out(Progress(selected=selected, done=done, failed=failed))
    assert ended.failed == failed + left
    assert [one.id for one in ended.failures] == ([f"{left} events"] if left else [])
    reason, text, well = ending(replace(ended, finished=True), dry_run=False)
    assert well == (not left and not failed)
    assert not left or (reason is Reason.SOME_FAILED and "rebase" in text)


def test_it_is_counted_anew_a_few_times_only() -> None:
    progress = Progress(selected=7, where={"after": 3, "unfit": 1})
    for number in range(1, MOST_TIMES_COUNTED + 1):
        progress = counted_anew(progress, remembered(HistoryWhere, progress.where), "8:9:")
        assert (progress.selected, progress.where) == (0, {"snapshot": "8:9:", "times": number})
    with pytest.raises(TaskFailedError, match="nothing was sent") as failed:
        counted_anew(progress, remembered(HistoryWhere, progress.where), "8:9:")
    assert failed.value.reason == Reason.UNCERTAIN


@pytest.mark.parametrize("noted", [None, datetime(2026, 11, 29, tzinfo=UTC)])
def test_rows_from_before_dead_letters_were_noted_are_told(noted: datetime | None) -> None:
    selection = HistorySelection(snapshot="8:9:", up_to=7, noted_since=noted)
    assert remembered(HistorySelection, kept(selection)) == selection
    found = answered(Progress(done=3), selection, task("t"))
    assert found.summary == "3 events were sent again"
    assert [one.severity for one in found.findings] == ["Unknown"] * (noted is not None)
