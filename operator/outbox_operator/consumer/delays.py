"""Events that are to be handled later than they were written. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from outbox_operator.consumer.disposition import LONGEST_ASKED_SECONDS
from outbox_operator.wire.event import shown
from outbox_operator.wire.headers import DELIVER_AFTER, LONGEST_DELAY
from outbox_operator.wire.times import parse_time

_CLOCKS_DIFFER: Final = dt.timedelta(hours=1)
"""More than the clock of a database is behind its writer's: what the library takes is no letter."""


def wait_of(headers: Mapping[str, str], written: dt.datetime, now: dt.datetime) -> float | str:
    """How long an event is to rest from now on.

    Args:
        headers: Of the event.
        written: When it was.
        now: The time.

    Returns:
        Seconds until the next look, 0: it is due; or what is wrong with what it asks for.
    """
    text = headers.get(DELIVER_AFTER)
    if text is None:
        return 0.0
    due = parse_time(text)
    if due is None:
        return f"header {DELIVER_AFTER}: wanted a time as of RFC 3339, found {shown(text)!r}"
    if due - written > LONGEST_DELAY + _CLOCKS_DIFFER:
        return (
            f"header {DELIVER_AFTER}: wanted no later than {LONGEST_DELAY.days} days after the "
            f"event, found {shown(text)!r}"
        )
    return min(max(0.0, (due - now).total_seconds()), LONGEST_ASKED_SECONDS)
