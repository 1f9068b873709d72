"""What is known of attempts, and which messages are handled alone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from outbox_operator.consumer.disposition import Policy
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.key_queues import Item
from outbox_operator.consumer.suspects import COUNT_ALLOWANCE, MOST_DEATHS, Suspects
from outbox_operator.consumer.trials import Trials
from outbox_operator.counted import counted

STORED = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)


class Delivered:
    """A delivery with a count."""

    def __init__(self, sequence: int, deliveries: int) -> None:
        self.sequence = sequence
        self.deliveries = deliveries

    def when_stored(self) -> dt.datetime:
        """Any time."""
        return STORED


def item(sequence: int, deliveries: int, due: dt.datetime | None = None) -> Item:
    delivery: Any = Delivered(sequence, deliveries)
    headers = {} if due is None else {"Deliver-After": due.isoformat()}
    written = STORED if due is None else due - dt.timedelta(hours=10)
    event: Any = SimpleNamespace(headers=headers, time=written, type="order.created")
    return Item(delivery, event)


def suspects(
    folder: Path,
    *,
    max_deliver: int = 5,
    ordered: bool = False,
    careful: bool = True,
    retry: Retry | None = None,
) -> Suspects:
    found = Suspects(
        Policy(max_deliver=max_deliver), 30.0, Trials("shop", folder), ordered=ordered,
        retry_of={"order.created": retry}.get,
    )  # fmt: skip
    if careful:
        found.beware(0.0)
    return found


@pytest.mark.parametrize(
    ("deliveries", "max_deliver", "careful", "ordered", "suspect", "attempts"),
    [
        (2, 5, True, False, True, 1),  # left by who died, or by whoever
        (9, 5, True, False, True, 1),
        (2, 5, False, False, False, 2),  # another pod's failure
        (5, 5, False, False, False, 5),
        (6, 5, False, False, True, 5),  # an answer would have ended it
        (50, 5, False, False, True, 5),
        (50, -1, False, False, False, 50),
        (2, 5, False, True, True, 1),  # in order, failures never go back
    ],
)
def test_judges(
    tmp_path: Path, deliveries: int, max_deliver: int, careful: bool, ordered: bool,
    suspect: bool, attempts: int,
) -> None:  # fmt: skip
    found = item(7, deliveries)
    suspects(tmp_path, max_deliver=max_deliver, ordered=ordered, careful=careful).judge(found, 1.0)
    assert found.alone, "in no batch"
    assert (found.suspect, found.attempts) == (suspect, attempts)


def test_what_this_process_answered_is_no_suspect(tmp_path: Path) -> None:
    known = suspects(tmp_path)
    first = item(7, 2)
    known.judge(first, 0.0)
    known.answered(first)
    again = item(7, 3)
    known.judge(again, 0.0)
    assert not again.suspect
    assert again.attempts == 2, "the first one was nobody's"
    known.answered(again)
    elsewhere = item(7, 5)
    known.judge(elsewhere, 0.0)
    assert elsewhere.suspect, "somebody else had it since"


def test_care_ends_and_handling_alone_does_not_count(tmp_path: Path) -> None:
    known = suspects(tmp_path)
    assert known.careful(34.0)
    assert not known.careful(36.0)
    for second in range(0, 1000, 20):
        known.begin(item(1, 2), float(second))
        known.ended(item(1, 2), float(second + 20), survived=True)
    assert known.careful(349.0)
    assert not known.careful(351.0), "not for ever"


@pytest.mark.parametrize(("max_deliver", "allowed"), [(1, 1), (2, 2), (16, MOST_DEATHS)])
def test_who_ends_processes_alone_is_given_up(
    tmp_path: Path, max_deliver: int, allowed: int
) -> None:
    killer = item(7, 2)
    for _ in range(allowed):
        trials = Trials("shop", tmp_path)
        policy = Policy(max_deliver=max_deliver)
        known = Suspects(policy, 30.0, trials, ordered=False, retry_of=lambda kind: None)
        assert known.verdict(killer) is None
        known.begin(killer, 0.0)
        trials.abandon()  # as a process that is killed
    dead = suspects(tmp_path, max_deliver=max_deliver).verdict(killer)
    assert dead is not None
    assert f"ended {counted(allowed, 'time')} while" in dead.error


@pytest.mark.parametrize("max_deliver", [-1, 1])
def test_the_servers_count_decides_only_where_no_note_was_left(
    tmp_path: Path, max_deliver: int
) -> None:
    much = item(7, max(max_deliver, 0) + COUNT_ALLOWANCE + 1)
    dead = suspects(tmp_path, max_deliver=max_deliver).verdict(much)
    assert (dead is not None) is (max_deliver > 0)
    trials = Trials("shop", tmp_path)
    trials.begin("somebody else")
    trials.abandon()
    assert suspects(tmp_path, max_deliver=max_deliver).verdict(much) is None


def test_in_order_it_decides_only_for_the_first(tmp_path: Path) -> None:
    known = suspects(tmp_path, max_deliver=1, ordered=True)
    assert known.verdict(item(1, 20)) is not None
    known.begin(item(1, 20), 0.0)
    known.ended(item(1, 20), 0.0, survived=True)
    assert known.verdict(item(2, 20)) is None, "it came as often, and had no turn"


@pytest.mark.parametrize(
    ("deliveries", "since_due", "attempts", "suspect"),
    [
        (2, -5.0, 1, False),  # a pod stopped while it rested
        (15, 0.0, 1, False),
        (15, 1.5, 2, False),  # it may have failed once since then
        (15, 3600.0, 5, True),  # as often as is allowed, for all that time tells
        (40, 0.0, 5, True),  # more pods than stop in ten hours
    ],
)
def test_what_pods_gave_back_before_it_was_due_was_no_attempt(
    tmp_path: Path, deliveries: int, since_due: float, attempts: int, suspect: bool
) -> None:
    found = suspects(tmp_path, careful=False)
    one = item(7, deliveries, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=since_due))
    found.judge(one, 0.0)
    assert (one.attempts, one.suspect) == (attempts, suspect)


@pytest.mark.parametrize(("since_due", "attempts"), [(0.0, 1), (0.15, 2), (0.45, 5), (3600.0, 5)])
def test_a_handler_that_is_tried_again_soon_is_not_tried_more_often(
    tmp_path: Path, since_due: float, attempts: int
) -> None:
    """Each failure was taken for a pod that had stopped while the event rested."""
    found = suspects(tmp_path, careful=False, retry=Retry(backoff=(0.1,)))
    one = item(7, 15, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=since_due))
    found.judge(one, 0.0)
    assert one.attempts >= attempts


def test_the_servers_count_of_a_delayed_event_leaves_out_what_it_rested(tmp_path: Path) -> None:
    for since_due, given_up in ((0.0, False), (86_400.0, True)):
        found = suspects(tmp_path)
        due = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=since_due)
        one = item(7, 5 + COUNT_ALLOWANCE + 1, due)
        found.judge(one, 0.0)
        found.begin(one, 0.0)
        assert (found.verdict(one) is not None) is given_up
        found.ended(one, 0.0, survived=True)
