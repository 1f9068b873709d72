"""The circuit: when it opens, how it tries, when it closes."""

from __future__ import annotations

import pytest

from outbox_operator.consumer.breaker import LONGEST_PAUSE_SECONDS, Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(failures=1)
    assert breaker.failed(1, "down", at, 0.0)
    return breaker


def test_opens_after_so_many_different_events_in_a_row() -> None:
    breaker = Breaker(failures=3)
    assert not breaker.failed(1, "", 0, 0)
    assert not breaker.failed(1, "", 0, 0), "the same event is one bad event"
    assert not breaker.failed(2, "", 0, 0)
    assert not breaker.succeeded(), "there was nothing to close"
    assert not breaker.failed(3, "", 0, 0)
    assert not breaker.failed(4, "", 0, 0)
    assert breaker.failed(5, "", 0, 0)
    assert breaker.is_open


def test_repeated_attempts_of_bad_events_do_not_open_it() -> None:
    breaker = Breaker(failures=2)
    assert not any(breaker.failed(number, "", 0, 0, first=False) for number in range(10))


@pytest.mark.parametrize("failures", [0, 5])
def test_opens_at_once_when_nothing_can_be_reached(failures: int) -> None:
    assert Breaker(failures).failed(1, "refused", 0, 0, unreachable=True)


def test_never_opens_by_failures_when_told_so() -> None:
    breaker = Breaker(failures=0)
    assert not any(breaker.failed(number, "", 0, 0) for number in range(1000))


def test_tries_one_event_after_a_pause_that_doubles_to_a_limit() -> None:
    breaker = opened()
    now, pauses = 0.0, []
    for number in range(8):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        assert breaker.probe_due(now)
        breaker.probe()
        assert not breaker.probe_due(now), "one at a time"
        assert not breaker.failed(number, "still", now, 0.0), "it was open already"
    assert pauses == [1, 2, 4, 8, 15, 15, 15, 15]
    assert max(pauses) == LONGEST_PAUSE_SECONDS


def test_closes_with_the_first_success_and_starts_anew() -> None:
    breaker = opened()
    breaker.probe()
    assert breaker.succeeded()
    assert not breaker.is_open
    assert breaker.failed(7, "", 50, 0.0)
    assert breaker.wait(50) == 1


def test_what_was_under_way_does_not_lengthen_the_pause() -> None:
    breaker = opened()
    assert not breaker.failed(2, "", 0.5, 0.0)
    assert breaker.wait(0.5) == 0.5


def test_a_try_without_a_verdict_may_be_followed_by_another() -> None:
    breaker = opened()
    breaker.probe()
    breaker.probe_ended()
    assert breaker.probe_due(1.0)


def test_pauses_are_spread() -> None:
    breaker = Breaker(1)
    breaker.failed(1, "", 0, 1.0)
    assert breaker.wait(0) == pytest.approx(0.8)


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 1.0), (5.0, 5.0), (3600.0, 15.0)])
def test_not_now_is_a_pause_of_all_tries(asked: float, pause: float) -> None:
    breaker = opened()
    breaker.probe()
    breaker.put_off(asked, 10.0)
    assert breaker.is_open
    assert not breaker.probe_due(10.0 + pause - 0.1)
    assert breaker.probe_due(10.0 + pause)


@pytest.mark.parametrize(
    ("failures", "answered", "stays"),
    [(0, True, False), (0, False, True), (1, True, True), (10, True, True)],
)
def test_where_failures_do_not_open_it_they_do_not_keep_it_open(
    failures: int, answered: bool, stays: bool
) -> None:
    breaker = Breaker(failures)
    assert breaker.failed(1, "refused", 0, 0, unreachable=True)
    assert not breaker.failed(2, "500", 0.5, 0, answered=True), "it was under way"
    assert breaker.is_open
    breaker.probe()
    assert not breaker.failed(1, "500", 1, 0, answered=answered)
    assert breaker.is_open is stays
