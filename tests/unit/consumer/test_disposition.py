"""The decision on each answer, as tables."""

from __future__ import annotations

import pytest

from outbox_operator.consumer.disposition import (
    Acknowledge,
    Disposition,
    Policy,
    Redeliver,
    ToDeadLetters,
    backoff,
    decide,
)
from outbox_operator.consumer.handlers.types import Ack, DeadLetter, Outcome, RetryAfter
from outbox_operator.reasons import Reason


@pytest.mark.parametrize(
    ("outcome", "deliveries", "policy", "expected"),
    [
        (Ack(), 1, Policy(), Acknowledge()),
        (Ack(), 99, Policy(max_deliver=5), Acknowledge()),
        (DeadLetter("bad"), 1, Policy(), ToDeadLetters(Reason.REFUSED, "bad")),
        (DeadLetter("bad"), 1, Policy(max_deliver=-1), ToDeadLetters(Reason.REFUSED, "bad")),
        (RetryAfter(reason="no"), 1, Policy(), Redeliver(1.0, "no")),
        (RetryAfter(reason="no"), 4, Policy(), Redeliver(8.0, "no")),
        (
            RetryAfter(reason="no"),
            5,
            Policy(max_deliver=5),
            ToDeadLetters(Reason.MAX_DELIVER, "no"),
        ),
        (
            RetryAfter(reason="no"),
            6,
            Policy(max_deliver=5),
            ToDeadLetters(Reason.MAX_DELIVER, "no"),
        ),
        (
            RetryAfter(reason="no"),
            1,
            Policy(max_deliver=1),
            ToDeadLetters(Reason.MAX_DELIVER, "no"),
        ),
        (RetryAfter(reason="no"), 10**6, Policy(max_deliver=-1), Redeliver(300.0, "no")),
        (RetryAfter(7.5, "busy"), 1, Policy(), Redeliver(7.5, "busy")),
        (RetryAfter(0.0), 1, Policy(), Redeliver(0.0, "")),
        (RetryAfter(-3.0), 1, Policy(), Redeliver(0.0, "")),
        (RetryAfter(10.0**9), 1, Policy(), Redeliver(3600.0, "")),
        (RetryAfter(7.5), 5, Policy(max_deliver=5), ToDeadLetters(Reason.MAX_DELIVER, "")),
        (RetryAfter(), 1, Policy(backoff=(1.0, 5.0)), Redeliver(1.0, "")),
        (RetryAfter(), 2, Policy(backoff=(1.0, 5.0)), Redeliver(5.0, "")),
        (RetryAfter(), 4, Policy(backoff=(1.0, 5.0)), Redeliver(5.0, "")),
    ],
)
def test_decides(outcome: Outcome, deliveries: int, policy: Policy, expected: Disposition) -> None:
    assert decide(outcome, deliveries, policy, jitter=0.0) == expected


def test_exponential_delays_grow_from_a_second_to_five_minutes_and_are_spread() -> None:
    assert [backoff(n, 0.0) for n in (1, 2, 3, 9, 10, 5000)] == [1, 2, 4, 256, 300, 300]
    assert backoff(3, 0.999) == pytest.approx(3.2, rel=0.01)
    assert backoff(3, 0.999, (4.0,)) == 4.0
