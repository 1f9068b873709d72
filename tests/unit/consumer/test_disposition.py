"""The decision on each answer, as tables."""

from __future__ import annotations

import math

import pytest

from outbox_operator.consumer.disposition import (
    Acknowledge,
    Disposition,
    Policy,
    PutOff,
    Redeliver,
    ToDeadLetters,
    backoff,
    decide,
)
from outbox_operator.consumer.handlers.types import (
    Ack,
    Busy,
    DeadLetter,
    Outcome,
    RetryAfter,
    Unanswered,
)
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
        (RetryAfter(reason="no"), 10**6, Policy(max_deliver=-1), Redeliver(3600.0, "no")),
        (RetryAfter(7.5, "busy"), 1, Policy(), PutOff(7.5, "busy")),
        (RetryAfter(0.0), 1, Policy(), PutOff(0.1, "")),
        (RetryAfter(-3.0), 1, Policy(), PutOff(0.1, "")),
        (RetryAfter(10.0**9), 1, Policy(), PutOff(3600.0, "")),
        (RetryAfter(math.nan), 1, Policy(), PutOff(0.1, "")),
        (RetryAfter(math.inf), 1, Policy(), PutOff(3600.0, "")),
        (RetryAfter(7.5), 5, Policy(max_deliver=5), PutOff(7.5, "")),
        (Busy(7.5, "busy"), 99, Policy(max_deliver=1), PutOff(7.5, "busy")),
        (Unanswered("502"), 1, Policy(max_deliver=1), ToDeadLetters(Reason.MAX_DELIVER, "502")),
        (RetryAfter(), 1, Policy(backoff=(1.0, 5.0)), Redeliver(1.0, "")),
        (RetryAfter(), 2, Policy(backoff=(1.0, 5.0)), Redeliver(5.0, "")),
        (RetryAfter(), 4, Policy(backoff=(1.0, 5.0)), Redeliver(5.0, "")),
    ],
)
def test_decides(outcome: Outcome, deliveries: int, policy: Policy, expected: Disposition) -> None:
    assert decide(outcome, deliveries, policy, jitter=0.0) == expected


@pytest.mark.parametrize(("waited", "dead"), [(0.0, False), (59.9, False), (60.0, True)])
def test_gives_up_what_was_put_off_for_too_long_only_when_told_so(
    waited: float, dead: bool
) -> None:
    for policy, expected in ((Policy(give_up_after=60.0), dead), (Policy(), False)):
        found = decide(RetryAfter(5.0, "closed"), 1, policy, 0.0, waited)
        assert isinstance(found, ToDeadLetters) is expected
        if expected:
            assert found == ToDeadLetters(Reason.PUT_OFF_TOO_LONG, "put off for 60 s, last: closed")


def test_exponential_delays_grow_from_a_second_to_an_hour_and_are_spread() -> None:
    assert [backoff(n, 0.0) for n in (1, 2, 3, 12, 13, 5000)] == [1, 2, 4, 2048, 3600, 3600]
    assert backoff(3, 0.999) == pytest.approx(3.2, rel=0.01)
    assert backoff(3, 0.999, (4.0,)) == 4.0


def test_the_attempts_that_are_the_default_take_hours() -> None:
    most = Policy().max_deliver
    window = sum(backoff(attempt, 0.0) for attempt in range(1, most))
    assert 4 * 3600 < window < 5 * 3600
    assert window * 0.8 > 3 * 3600, "spread as much as can be"
