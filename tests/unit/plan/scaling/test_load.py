"""What two looks tell about how fast events come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outbox_operator.plan.scaling.load import Load, Pace, paced
from support.passes import NOW


def look(seconds: float, backlog: int, done: int, *, at_least: bool = False) -> Load:
    at = NOW + timedelta(seconds=seconds)
    return Load(backlog=backlog, at_least=at_least, done=done, at=at)


FIRST = look(0, 5000, 1000)


@pytest.mark.parametrize(
    ("second", "working", "per_pod", "seen", "coming"),
    [
        # Two pods did 200 a second, and always had work.
        (look(20, 3000, 5000), 2, 100.0, 100.0, 100.0),
        # Nearly nothing was left: they can do that at least.
        (look(20, 10, 7000), 2, None, 150.0, 50.5),
        # Others joined meanwhile, so that nobody knows how fast one is.
        (look(20, 3000, 5000), 3, None, None, 100.0),
        (look(20, 3000, 5000), 0, None, None, 100.0),
        # Nothing was done: this says nothing of a pod that works.
        (look(20, 6000, 1000), 2, None, None, 50.0),
        # Counting stopped: nobody knows how many came.
        (look(20, 10_000, 5000, at_least=True), 2, 100.0, 100.0, None),
        # Counts begin anew with a durable consumer that was made anew.
        (look(20, 3000, 7), 2, None, None, None),
        (look(-20, 3000, 5000), 2, None, None, None),
        (look(301, 3000, 5000), 2, None, None, None),
    ],
)
def test_what_two_looks_tell(
    second: Load, working: int, per_pod: float | None, seen: float | None, coming: float | None
) -> None:
    pace = paced(paced(Pace(), FIRST, 2), second, working)
    assert (pace.per_pod, pace.seen_per_pod, pace.coming) == (per_pod, seen, coming)
    assert pace.since == (second, working)


def test_looks_that_are_close_together_are_one() -> None:
    before = paced(Pace(), FIRST, 2)
    assert paced(before, look(9, 4000, 2000), 2) == before


def test_a_look_that_failed_leaves_what_is_known_of_a_pod() -> None:
    before = Pace(since=(FIRST, 2), per_pod=100.0, coming=7.0)
    assert paced(before, None, 2) == Pace(since=(FIRST, 2), per_pod=100.0)


def test_a_pod_that_is_seen_to_do_more_can_do_more() -> None:
    before = Pace(since=(FIRST, 1), per_pod=100.0)
    pace = paced(before, look(10, 0, 2500), 1)
    assert pace.per_pod == 150.0
