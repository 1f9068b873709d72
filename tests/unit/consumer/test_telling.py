"""What a consumer says of its work to who runs it by hand."""

from __future__ import annotations

from collections import Counter

from outbox_operator.consumer.metrics import Answered
from outbox_operator.consumer.telling import Work, told


def counts(**numbers: int) -> Counter[Answered]:
    """Of events of a type, by outcome."""
    return Counter({(outcome, "order.created"): n for outcome, n in numbers.items()})


def test_what_is_new_is_said_at_once_and_the_rest_every_few_seconds() -> None:
    work = Work()
    assert work.news(Counter(), 100.0) is None
    assert work.news(counts(ack=1), 101.0) == "handled: 1 event (order.created)"
    assert work.news(counts(ack=1), 102.0) is None
    assert work.news(counts(ack=500), 103.0) is None
    assert work.news(counts(ack=500, retry=1), 104.0) == (
        "handled: 499 events (order.created); to be tried again: 1 event (order.created)"
    )
    assert work.news(counts(ack=500, retry=3), 113.0) is None
    assert (
        work.news(counts(ack=500, retry=3), 114.0) == "to be tried again: 2 events (order.created)"
    )
    assert work.news(counts(ack=500, retry=3), 1000.0) is None


def test_of_many_types_the_most_frequent_are_named() -> None:
    many = Counter({("ack", f"type.{number}"): number for number in range(1, 100)})
    assert told(many) == (
        "handled: 4950 events (99 type.99, 98 type.98, 97 type.97, 96 type.96, 95 type.95 and "
        "94 other types)"
    )


def test_every_outcome_has_words() -> None:
    outcomes = ("ack", "duplicate", "retry", "put_off", "dead_letter", "unhandled")
    assert told(counts(**dict.fromkeys(outcomes, 2))).count("2 events (order.created)") == 6
    assert told(Counter()) == "no event came"
