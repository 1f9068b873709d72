"""When a handler counts as failing."""

from __future__ import annotations

from outbox_operator.consumer.progress import FORGOTTEN_AFTER_SECONDS, Progress


def test_is_well_before_anything_happened() -> None:
    assert Progress("h").check(0.0)[0]


def test_different_events_failing_for_a_while_mean_a_failing_handler() -> None:
    progress = Progress("http://billing/events")
    for second in range(11):
        progress.failed(second % 2, "answered 500", float(second))
    ok, reason = progress.check(11.0)
    assert not ok
    assert reason == (
        "handler http://billing/events failed 11 times in a row for 11 s, last: answered 500"
    )


def test_one_poison_event_does_not() -> None:
    progress = Progress("h")
    for second in range(60):
        progress.failed(7, "answered 500", float(second))
    assert progress.check(60.0)[0]


def test_a_short_outage_does_not() -> None:
    progress = Progress("h")
    for second in range(9):
        progress.failed(second, "connection refused", float(second), unavailable=True)
    assert progress.check(9.0)[0]


def test_a_handler_that_cannot_be_asked_fails_even_with_one_event() -> None:
    progress = Progress("h")
    progress.failed(7, "connection refused", 0.0, unavailable=True)
    progress.failed(7, "connection refused", 5.0, unavailable=True)
    assert not progress.check(10.0)[0]


def test_one_success_heals() -> None:
    progress = Progress("h")
    for second in range(60):
        progress.failed(second, "answered 500", float(second))
    progress.succeeded()
    assert progress.check(60.0)[0]
    progress.failed(1, "answered 500", 61.0)
    assert progress.check(62.0)[0]


def test_old_failures_are_forgotten_because_nothing_is_retried_any_more() -> None:
    progress = Progress("h")
    for second in range(60):
        progress.failed(second, "answered 500", float(second))
    assert progress.check(60.0 + FORGOTTEN_AFTER_SECONDS)[0]
