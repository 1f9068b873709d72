"""Dead letters in tasks: units, keys that stand still, which are meant, what is sure."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.task_actions import DeadLetterSelection
from outbox_operator.errors import TaskFailedError
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.jetstream.transforms import published_as
from outbox_operator.plan.tasks.letters import (
    MOST_STOPPED_KEYS,
    OutboxWhere,
    Unit,
    hashed,
    is_enough,
    kept,
    remembered,
    stop,
    units_of,
    with_missing,
)
from outbox_operator.plan.tasks.pace import most, pause_seconds
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import (
    SourceSeen,
    StreamWhere,
    drops_copies,
    is_meant,
    keeps_all,
)


def test_units_are_letters_without_a_key_and_whole_keys() -> None:
    letters = [(1, "a"), (2, ""), (3, "b"), (4, "a"), (5, ""), (6, "c")]
    assert units_of(letters, {"a": 9, "b": 1}, [hashed("c")]) == (
        Unit(1, 9), Unit(2, 1), Unit(3, 1), Unit(5, 1),
    )  # fmt: skip


def test_a_key_stands_still_once_and_no_key_never() -> None:
    stopped = stop(stop(stop((), "a"), "a"), "")
    assert stopped == (hashed("a"),)
    assert "a" not in hashed("a-very-telling-key")
    assert not is_enough(stopped)
    assert is_enough(stopped * MOST_STOPPED_KEYS)


def test_what_is_remembered_comes_back_and_nonsense_ends_the_task() -> None:
    where = OutboxWhere(after=7, batch=(Unit(3, 2),), since=datetime(2026, 1, 1, tzinfo=UTC))
    assert remembered(OutboxWhere, kept(where)) == where
    assert kept(OutboxWhere()) == {}
    for nonsense in ({"after": "x"}, {"tomorrow": 1}, {"batch": [1]}):
        with pytest.raises(TaskFailedError, match="make a new one"):
            remembered(OutboxWhere, nonsense)


def test_a_full_status_stays_far_below_what_an_object_may_have() -> None:
    where = StreamWhere(
        counted=True, after=2**62, up_to=2**62, batch=tuple(range(2**62, 2**62 + 100)),
        stopped=tuple(hashed(str(n)) for n in range(MOST_STOPPED_KEYS)),
        since=datetime(2026, 1, 1, tzinfo=UTC),
            source=SourceSeen(created="2026-01-01T00:00:00Z", first=1, last=2**62, deleted=2**62),
    )  # fmt: skip
    assert len(str(kept(where))) < 25_000


def test_ids_that_are_no_dead_letters_have_failed() -> None:
    wanted = DeadLetterSelection(ids=["x", "y", "x", "z"])
    progress = with_missing(Progress(selected=1), wanted, ["y"])
    assert (progress.selected, progress.failed) == (3, 2)
    assert [one.id for one in progress.failures] == ["x", "z"]


LETTER = {
    "event_id": "e1", "event_type": "placed", "key": "k", "reason": "MaxDeliver",
    "died": "2026-01-31T09:00:00.000+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({}, True),
        ({"ids": ["e1"]}, True),
        ({"ids": ["e2"]}, False),
        ({"filter": {}}, True),
        ({"filter": {"eventTypes": ["placed"], "keys": ["k"], "reasons": ["MaxDeliver"]}}, True),
        ({"filter": {"eventTypes": ["placed"], "keys": ["other"]}}, False),
        ({"filter": {"since": "2026-01-31T09:00:00Z"}}, True),
        ({"filter": {"since": "2026-01-31T09:00:01Z"}}, False),
        ({"filter": {"until": "2026-01-31T09:00:00Z"}}, False),
        ({"filter": {"until": "2026-01-31T10:00:01+01:00"}}, True),
    ],
)
def test_which_letters_are_meant(wanted: dict[str, Any], meant: bool) -> None:
    assert is_meant(DeadLetterSelection.model_validate(wanted), **LETTER) is meant


def test_a_time_of_death_that_cannot_be_read_is_in_no_range() -> None:
    since = DeadLetterSelection.model_validate({"filter": {"since": "2026-01-01T00:00:00Z"}})
    for died in ("", "yesterday", "2026-01-31T09:00:00"):
        assert not is_meant(since, **{**LETTER, "died": died})


@pytest.mark.parametrize(
    ("subject", "belongs"),
    [
        ("orders.placed", True),
        ("orders", False),
        ("", False),
        ("orders.*", False),
        ("orders.>", False),
        ("orders..x", False),
        ("orders.a b", False),
        ("$JS.API.STREAM.DELETE.ORDERS", False),
        ("orders.\udcff", False),
    ],
)
def test_a_letter_goes_to_subjects_of_its_stream_only(subject: str, belongs: bool) -> None:
    found = published_as(subject, {"subjects": ["other", "orders.>"]})
    assert found == (subject if belongs else None)


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def source(first: int = 1, last: int = 10, gone: int = 0, **config: Any) -> ObservedStream:
    return ObservedStream(
        name="ORDERS",
        config={"retention": "limits", **config},
        created="2026-01-01T00:00:00Z",
        clock=NOW,
        messages=last - first + 1 - gone,
        first_sequence=first,
        last_sequence=last,
    )


@pytest.mark.parametrize(
    ("config", "seconds_ago", "drops"),
    [
        ({"duplicate_window": 120_000_000_000}, 60, True),
        ({"duplicate_window": 120_000_000_000}, 111, False),  # what is under way takes a while
        ({"duplicate_window": 120_000_000_000}, -1, False),  # a clock that was set back
        ({"duplicate_window": 1_000_000_000}, 0, False),
        ({}, 60, True),
        ({"duplicate_window": "x"}, 60, True),
    ],
)
def test_how_long_a_stream_drops_second_copies(
    config: dict[str, Any], seconds_ago: int, drops: bool
) -> None:
    stream = source(**config)
    before = dataclasses.replace(stream, clock=NOW - timedelta(seconds=seconds_ago))
    where = StreamWhere().announcing([7], before)
    assert drops_copies(where, stream) is drops
    anew = dataclasses.replace(stream, created="2026-01-02T00:00:00Z")
    assert not drops_copies(where, anew)
    assert not drops_copies(StreamWhere(batch=(7,)), stream)
    assert not drops_copies(where, dataclasses.replace(stream, clock=None))


@pytest.mark.parametrize(
    ("then", "now", "keeps"),
    [
        (source(), source(last=20), True),
        (source(), source(first=11, last=20), True),
        (source(), source(first=12, last=20), False),  # 11 may have been the letter
        (source(), source(first=11, last=10), True),  # emptied before anything came
        (source(), source(last=20, gone=1), False),  # that may have been the letter
        (source(gone=2), source(last=20, gone=2), True),
        (source(gone=2), source(first=5, last=20, gone=1), False),  # which one?
        (source(gone=2), source(first=5, last=20), True),
        (source(), dataclasses.replace(source(last=20), created="2026-01-02T00:00:00Z"), False),
        (source(), source(last=20, retention="workqueue"), False),
        (source(), source(last=20, retention="interest"), False),
        (source(), source(last=20, max_msgs_per_subject=1), False),
        (source(), source(last=20, max_msgs_per_subject=-1), True),
        (source(first=0, last=0, gone=1), source(last=3), True),  # it was empty
    ],
)
def test_whether_a_stream_has_all_that_came(
    then: ObservedStream, now: ObservedStream, keeps: bool
) -> None:
    seen = StreamWhere().announcing([7], then).source
    assert keeps_all(seen, now) is keeps
    assert not keeps_all(None, now)


@pytest.mark.parametrize(
    ("limit", "events", "handled", "took", "pause"),
    [
        (None, 100, 100, 0.5, 0.0),
        (10, 10, 10, 0.25, 0.75),
        (10, 10, 0, 0.25, 0.0),
        (1, 1, 1, 3.0, 0.0),
        (100_000, 100, 100, 0.0, 0.001),
    ],
)
def test_the_rate_limit(
    limit: int | None, events: int, handled: int, took: float, pause: float
) -> None:
    assert most(limit) == events
    assert pause_seconds(limit, handled, took) == pytest.approx(pause)
