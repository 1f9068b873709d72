"""Where a durable consumer is set to, and which consumer stands still for that."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.task_actions import ResetConsumer
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.starts import lowest_place
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.standing import standing_still_for
from outbox_operator.plan.tasks.reset import (
    check_inbox,
    check_place,
    check_stream,
    forgets_since,
    goes_in_place,
    place_now,
    settle,
)
from outbox_operator.reasons import Reason

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OLDEST = NOW - timedelta(days=3)


def stream(first: int = 1, last: int = 100) -> ObservedStream:
    return ObservedStream(name="ORDERS", config={}, first_sequence=first, last_sequence=last)


@pytest.mark.parametrize(
    ("wanted", "first", "start"),
    [
        ({"to": "Start"}, 50, {"deliver_policy": "all"}),
        (
            {"to": "End"},
            50,
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 101},
        ),
        (
            {"to": "Sequence", "sequence": 50},
            50,
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 50},
        ),
        (
            {"to": "Sequence", "sequence": 101},
            50,
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 101},
        ),
        (
            {"to": "Time", "time": "2026-11-28T13:00:00.000001+01:00"},
            50,
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 77},
        ),
        # Nothing has ever been taken out of the stream.
        (
            {"to": "Time", "time": "2020-01-01T00:00:00Z"},
            1,
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 77},
        ),
    ],
)
def test_where_to(wanted: dict[str, Any], first: int, start: dict[str, Any]) -> None:
    found = settle(ResetConsumer(**wanted), stream(first), OLDEST, NOW, reached=77)
    assert found.start == start
    assert found.sequence == start.get("opt_start_seq", first)
    assert found.text


@pytest.mark.parametrize(
    ("wanted", "first", "oldest", "reason", "said"),
    [
        ({"to": "Sequence", "sequence": 49}, 50, OLDEST, Reason.NO_LONGER_KEPT, "message is 50"),
        ({"to": "Sequence", "sequence": 102}, 50, OLDEST, Reason.INVALID_SPEC, "come to 100"),
        (
            {"to": "Time", "time": "2026-11-20T00:00:00Z"},
            50,
            OLDEST,
            Reason.NO_LONGER_KEPT,
            "stored at 2026-11-26T12:00:00Z",
        ),
        (
            {"to": "Time", "time": "2026-11-28T00:00:00Z"},
            101,
            None,
            Reason.NO_LONGER_KEPT,
            "first message is none",
        ),
        (
            {"to": "Time", "time": "2026-11-30T00:00:00Z"},
            1,
            OLDEST,
            Reason.INVALID_SPEC,
            "in the future",
        ),
    ],
)
def test_where_it_cannot_go(
    wanted: dict[str, Any], first: int, oldest: datetime | None, reason: Reason, said: str
) -> None:
    with pytest.raises(TaskFailedError, match=said) as caught:
        settle(ResetConsumer(**wanted), stream(first), oldest, NOW)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("wanted", "first", "found"),
    [
        ({"to": "Sequence", "sequence": 77}, 77, "message 77 of stream ORDERS"),
        ({"to": "Sequence", "sequence": 77}, 78, None),
        ({"to": "Time", "time": "2026-11-28T12:00:00Z"}, 77, "messages of stream ORDERS since"),
        ({"to": "Time", "time": "2026-11-28T12:00:00Z"}, 101, None),
        ({"to": "Start"}, 78, "the first message that stream ORDERS has (78, stored at"),
        ({"to": "End"}, 101, "what comes from now on"),
    ],
)
def test_what_the_stream_has_dropped_while_pods_ended(
    wanted: dict[str, Any], first: int, found: str | None
) -> None:
    asked = ResetConsumer(**wanted)
    selection = settle(asked, stream(50), OLDEST, NOW, reached=77)
    if found is not None:
        assert check_place(asked, selection, stream(first), NOW).startswith(found)
        return
    with pytest.raises(TaskFailedError, match=f"first message is {first}, stored at") as caught:
        check_place(asked, selection, stream(first), NOW)
    assert caught.value.reason is Reason.NO_LONGER_KEPT


def test_the_inbox_is_where_the_consumer_has_it() -> None:
    owner = Meta(
        kind="EventConsumer", namespace="shop", name="b", uid="1", generation=1, created=""
    )
    for known in (None, "7/1"):
        check_inbox(owner, "7/1", known)
    with pytest.raises(DependencyError, match=r"\(identity 7/1\).*plan show evc/b -n shop"):
        check_inbox(owner, "7/1", "7/2")


@pytest.mark.parametrize(
    "wanted",
    [
        {"to": "End"},
        {"to": "Sequence", "sequence": 50},
        {"to": "Time", "time": "2026-11-28T12:00:00Z"},
    ],
)
def test_a_work_queue_has_one_place_only(wanted: dict[str, Any]) -> None:
    queue = replace(stream(50), config={"retention": "workqueue"})
    with pytest.raises(TaskFailedError, match="retention WorkQueue"):
        settle(ResetConsumer(**wanted), queue, OLDEST, NOW)
    assert settle(ResetConsumer(to="Start"), queue, OLDEST, NOW).start == {"deliver_policy": "all"}


ALL = {"deliver_policy": "all"}
SEVENTH = {"deliver_policy": "by_start_sequence", "opt_start_seq": 7}


@pytest.mark.parametrize(
    ("retention", "config", "sequence", "level", "in_place"),
    [
        ("limits", ALL, 1, 4, True),
        ("limits", {}, 5, 5, True),
        ("limits", ALL, 1, 3, False),
        ("limits", SEVENTH, 7, 4, True),
        ("limits", SEVENTH, 6, 4, False),
        ("limits", {"deliver_policy": "new"}, 5, 4, False),
        ("limits", {"deliver_policy": "last"}, 5, 4, False),
        ("limits", {"deliver_policy": "last_per_subject"}, 5, 4, False),
        ("interest", ALL, 1, 4, True),
        (
            "interest",
            ALL,
            1,
            3,
            "needs nats-server 2.14 (JetStream API level 4), found API level 3",
        ),
        ("interest", SEVENTH, 6, 4, "and not with 'by_start_sequence' here"),
        ("interest", {"deliver_policy": "new"}, 5, 4, "and not with 'new' here"),
        ("workqueue", ALL, 1, 4, True),
        ("workqueue", ALL, 1, 0, False),
    ],
)
def test_in_place_or_made_anew(
    retention: str, config: dict[str, Any], sequence: int, level: int, in_place: bool | str
) -> None:
    on = replace(stream(), config={"retention": retention})
    found = ObservedConsumer(name="billing", stream="ORDERS", config=config)
    lowest = lowest_place(config)
    assert not isinstance(lowest, datetime)
    if isinstance(in_place, str):
        with pytest.raises(TaskFailedError, match=re.escape(in_place)):
            goes_in_place(on, found, sequence, level, lowest=lowest)
    else:
        assert goes_in_place(on, found, sequence, level, lowest=lowest) is in_place


def test_the_end_is_behind_what_was_handled_meanwhile() -> None:
    end = ResetConsumer(to="End")
    selection = settle(end, stream(), OLDEST, NOW)
    for floor, place in ((3, 101), (100, 101), (120, 121)):
        found = ObservedConsumer(name="billing", stream="ORDERS", ack_floor=floor)
        assert place_now(end, selection, found) == place


@pytest.mark.parametrize("now", [None, ObservedStream(name="ORDERS", config={}, created="other")])
def test_another_stream_of_that_name_has_no_such_place(now: ObservedStream | None) -> None:
    selection = settle(ResetConsumer(to="Start"), stream(), OLDEST, NOW)
    assert check_stream(selection, stream()).name == "ORDERS"
    with pytest.raises(TaskFailedError, match="another one now") as caught:
        check_stream(selection, now)
    assert caught.value.reason is Reason.TARGET_GONE


def test_the_inbox_forgets_a_little_more_since_clocks_differ() -> None:
    since = ResetConsumer(to="Time", time="2026-11-28T12:00:00Z")
    found = forgets_since(settle(since, stream(), OLDEST, NOW))
    assert found is not None
    assert found < NOW - timedelta(days=1)
    assert forgets_since(settle(ResetConsumer(to="Start"), stream(), OLDEST, NOW)) is None
    begin = ResetConsumer(to="Time", time="0001-01-01T00:01:00Z")
    assert forgets_since(settle(begin, stream(), OLDEST, NOW)) is None


def task(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metadata": {"name": "reset"},
        "spec": {"resetConsumer": {"to": "Start"}},
        "status": {
            "target": {"uid": "u1"},
            "progress": {"phase": "PodsEnding"},
            "conditions": [{"type": "Complete", "status": "False", "reason": "Running"}],
        },
    }
    for path, value in changes.items():
        part, _, name = path.partition("__")
        body[part][name] = value
    return body


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        (task(), True),
        (task(status__progress={"phase": "Moving", "forgotten": 3}), True),
        # Its servers are away; what is half done must not be read.
        (
            task(status__conditions=[{"type": "Complete", "status": "False", "reason": "X"}]),
            True,
        ),
        (task(status__conditions=[{"type": "Failed", "status": "True"}]), False),
        (task(status__conditions=[{"type": "Complete", "status": "True"}]), False),
        (task(status__progress=None), False),
        (task(status__target={"uid": "u2"}), False),
        (task(spec__suspend=True), True),  # which nobody has noted: a change may be under way
        (task(status__conditions=[{"type": "Suspended", "status": "True"}]), False),
        (task(spec__dryRun=True), False),
        (task(spec__resetConsumer=None), False),
        (task(metadata__deletionTimestamp="2026"), False),
        ({"metadata": {"name": "new"}, "spec": {"resetConsumer": {"to": "Start"}}}, False),
    ],
)
def test_who_stands_still(body: dict[str, Any], holds: bool) -> None:
    assert standing_still_for("u1", [body]) == ("reset" if holds else None)
