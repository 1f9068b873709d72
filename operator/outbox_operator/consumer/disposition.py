"""What to do with a message once its handler answered: a pure decision.

Called by the processor for each delivery. Pure: sends nothing, reads no clock, draws no random
number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from outbox_operator.aio import jittered, pause_after
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.handlers.types import (
    IGNORED,
    Ack,
    DeadLetter,
    Outcome,
    RetryAfter,
    Unhandled,
)
from outbox_operator.reasons import Reason
from outbox_operator.wire.dead_letters import DeadLetterReason

BACKOFF_FIRST_SECONDS: Final = 1.0
BACKOFF_LONGEST_SECONDS: Final = 3600.0
UNANSWERED_FIRST_SECONDS: Final = 1.0
UNANSWERED_LONGEST_SECONDS: Final = 15.0
"""Recovery within this time after the endpoint is back."""
SHORTEST_ASKED_SECONDS: Final = 0.1
"""Handlers that say "now" each time are not called in a hot loop."""
LONGEST_ASKED_SECONDS: Final = 3600.0
"""A handler may ask for at most this delay; a mistaken Retry-After must not park an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How failed deliveries are repeated. Seconds; `max_deliver` -1 means for ever."""

    max_deliver: int = 16
    backoff: tuple[float, ...] = ()
    give_up_after: float | None = None
    """Seconds that a handler may say "not now" of an event; None: for ever."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the server that the message is done.

    Attributes:
        handled: The handler did it; else it is among the dead letters, or nobody's business.
    """

    handled: bool = True


@dataclass(frozen=True, slots=True)
class Redeliver:
    """Ask the server for the message again after `seconds`."""

    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class PutOff:
    """Keep the message, and handle it again after `seconds`; this was no attempt."""

    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class ToDeadLetters:
    """Store the message in the dead-letter stream, then tell the server that it is done."""

    reason: DeadLetterReason
    error: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Tell the server never to deliver the message again; there is no dead-letter stream."""

    reason: DeadLetterReason


@dataclass(frozen=True, slots=True)
class Again:
    """Handle the message again, in this process; nothing was its fault.

    Attributes:
        alone: Not in a batch: one of those it was with may be at fault.
    """

    alone: bool = False


Disposition = Acknowledge | Redeliver | PutOff | ToDeadLetters
"""What follows from an answer."""
Settlement = Acknowledge | Redeliver | PutOff | Terminate | Again
"""What is left to do with a message once it is processed."""

ACKNOWLEDGE: Final = Acknowledge()
PUT_ASIDE: Final = Acknowledge(handled=False)
AGAIN: Final = Again()
AGAIN_ALONE: Final = Again(alone=True)


def backoff(failures: int, jitter: float, delays: tuple[float, ...] = ()) -> float:
    """Return the seconds to wait after the `failures`-th failure in a row (from 1).

    Args:
        failures: How often it failed.
        jitter: A random number in [0, 1); used for the exponential delays only, because a
            list is what somebody asked for.
        delays: Delay after each failure, the last one repeats; empty: exponential.
    """
    if delays:
        return delays[min(failures, len(delays)) - 1]
    return jittered(pause_after(failures, BACKOFF_FIRST_SECONDS, BACKOFF_LONGEST_SECONDS), jitter)


def most_attempts(seconds: float, most: int, delays: tuple[float, ...] = ()) -> int:
    """Return how often an event may have been tried within some seconds, `most` times at most.

    The first time is at once, and each failure has its pause behind it, as short as it may be.
    """
    attempts = 1
    while attempts < most and (seconds := seconds - backoff(attempts, 1.0, delays)) >= 0:
        attempts += 1
    return attempts


def unanswered_pause(times: int) -> float:
    """Return the seconds to wait after so many tries in a row that nobody answered."""
    return pause_after(times, UNANSWERED_FIRST_SECONDS, UNANSWERED_LONGEST_SECONDS)


def put_off(seconds: float, error: str, waited: float, policy: Policy) -> PutOff | ToDeadLetters:
    """Decide what follows from "not now".

    Args:
        seconds: The delay asked for.
        error: Why.
        waited: Seconds since the handler said so of this event for the first time.
        policy: The consumer's settings.
    """
    if policy.give_up_after is not None and waited >= policy.give_up_after:
        return ToDeadLetters(Reason.PUT_OFF_TOO_LONG, f"put off for {waited:.0f} s, last: {error}")
    # In this order, so that what is no number is the shortest.
    return PutOff(min(max(SHORTEST_ASKED_SECONDS, seconds), LONGEST_ASKED_SECONDS), error)


def decide(
    outcome: Outcome, attempts: int, policy: Policy, jitter: float, waited: float = 0.0
) -> Disposition:
    """Decide what follows from the handler's answer.

    Args:
        outcome: The answer.
        attempts: How often the handler was given it, this time included.
        policy: The consumer's settings.
        jitter: A random number in [0, 1).
        waited: Seconds since the handler said "not now" of this event for the first time.
    """
    match outcome:
        case Ack():
            return PUT_ASIDE if outcome is IGNORED else ACKNOWLEDGE
        case Unhandled(reason):
            return ToDeadLetters(Reason.UNHANDLED, reason)
        case DeadLetter(reason):
            return ToDeadLetters(Reason.REFUSED, reason)
        case RetryAfter(seconds, reason):
            if seconds is not None:
                return put_off(seconds, reason, waited, policy)
            own = outcome.retry or Retry()
            most = policy.max_deliver if own.max_deliver is None else own.max_deliver
            if 0 < most <= attempts:
                return ToDeadLetters(Reason.MAX_DELIVER, reason)
            return Redeliver(backoff(attempts, jitter, own.delays or policy.backoff), reason)
        case _:
            assert_never(outcome)
