"""When a handler counts as failing."""

from __future__ import annotations

from outbox_operator.consumer.progress import FORGOTTEN_AFTER_SECONDS, Letters, Progress


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


def test_letters_that_are_not_stored_for_a_while() -> None:
    letters = Letters("dlq.ORDERS.billing")
    assert letters.check(0.0) == (True, "dead letters go to dlq.ORDERS.billing")
    assert letters.failed("no stream takes it", 100.0)
    assert letters.check(109.0)[0]
    assert not letters.failed("no stream takes it", 109.0), "said already"
    assert letters.check(110.0) == (
        False, "dead letters not stored, 2 tries in 10 s, last: no stream takes it",
    )  # fmt: skip
    assert letters.failed("too large", 111.0), "another reason"


def test_a_stored_letter_ends_it_and_so_does_time() -> None:
    letters = Letters("dlq.ORDERS.billing")
    assert not letters.stored()
    letters.failed("no stream takes it", 0.0)
    assert letters.stored()
    assert letters.check(20.0)[0]
    assert letters.failed("no stream takes it", 30.0), "said again"
    assert not letters.check(FORGOTTEN_AFTER_SECONDS + 30.0)[0]
    assert letters.check(FORGOTTEN_AFTER_SECONDS + 31.0)[0]
    assert letters.failed("no stream takes it", 2 * FORGOTTEN_AFTER_SECONDS), "said again"
    assert letters.check(2 * FORGOTTEN_AFTER_SECONDS + 1)[0], "counted anew"


def test_reasons_without_end_do_not_fill_the_log() -> None:
    letters = Letters("dlq.ORDERS.billing")
    assert sum(letters.failed(str(number), float(number)) for number in range(1000)) <= 20
