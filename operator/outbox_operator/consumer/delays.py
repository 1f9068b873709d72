"""Events that are to be handled later than they were written. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from outbox_operator.consumer.disposition import LONGEST_ASKED_SECONDS, most_attempts
from outbox_operator.wire.event import shown
from outbox_operator.wire.headers import DELIVER_AFTER, LONGEST_DELAY
from outbox_operator.wire.times import parse_time

_CLOCKS_DIFFER: Final = dt.timedelta(hours=1)
"""More than the clock of a database is behind its writer's: what the library takes is no letter."""
_ANY_CASE: Final = DELIVER_AFTER.lower()
_LENGTH: Final = len(DELIVER_AFTER)
_STOPS: Final = 8
"""Pods that may have stopped while an event rested, beyond one an hour."""
_STOPS_EACH: Final = dt.timedelta(hours=1)


def asked(headers: Mapping[str, str]) -> str | None:
    """Return when an event is to be handled, as its writer put it; names have any case."""
    text = headers.get(DELIVER_AFTER)
    if text is None and _LENGTH in map(len, headers):  # of every event, so it has to be quick
        for name in headers:
            if len(name) == _LENGTH and name.lower() == _ANY_CASE:
                return headers[name]
    return text


def wait_of(headers: Mapping[str, str], written: dt.datetime, now: dt.datetime) -> float | str:
    """How long an event is to rest from now on.

    Args:
        headers: Of the event.
        written: When it was.
        now: The time.

    Returns:
        Seconds until the next look, 0: it is due; or what is wrong with what it asks for.
    """
    text = asked(headers)
    if text is None:
        return 0.0
    due = parse_time(text)
    if due is None:
        return f"header {DELIVER_AFTER}: wanted a time as of RFC 3339, found {shown(text)!r}"
    # Who writes the one may write the other, and nothing was written later than now.
    if due - min(written, now) > LONGEST_DELAY + _CLOCKS_DIFFER:
        return (
            f"header {DELIVER_AFTER}: wanted no later than {LONGEST_DELAY.days} days after the "
            f"event, found {shown(text)!r}"
        )
    return min(max(0.0, (due - now).total_seconds()), LONGEST_ASKED_SECONDS)


def given_back(
    headers: Mapping[str, str],
    written: dt.datetime,
    now: dt.datetime,
    deliveries: int,
    pauses: tuple[float, ...],
) -> int:
    """How many deliveries of an event were no attempts, because it rested.

    Each pod that stops meanwhile gives it back, which the server counts. Which of its deliveries
    those were is written nowhere, but since it is due it can have failed only so often.

    Args:
        headers: Of the event.
        written: When it was.
        now: The time.
        deliveries: How often it was delivered, this time included.
        pauses: Between attempts; empty: exponential.
    """
    due = parse_time(asked(headers))
    if due is None or due <= written:
        return 0
    tried = most_attempts((now - due).total_seconds(), deliveries, pauses)
    return min(deliveries - tried, _STOPS + (due - written) // _STOPS_EACH)
