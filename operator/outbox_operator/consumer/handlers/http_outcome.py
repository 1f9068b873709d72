"""What the answer of an HTTP endpoint means for the event: 2xx, 4xx, 5xx and Retry-After. Pure."""

from __future__ import annotations

import datetime as dt
import email.utils
from typing import Final

from outbox_operator.consumer.handlers.types import (
    Ack,
    Busy,
    DeadLetter,
    Outcome,
    RetryAfter,
    Unanswered,
)

_TRANSIENT_4XX: Final = frozenset({401, 403, 404, 407, 408, 409, 425, 429})
"""They blame a login, a route or the moment, and mostly not the event: a rollout that answers 404
for a second must not give up all events of that second."""
_BUSY_SECONDS: Final = 1.0
"""After a 429 that does not say when."""
_GATEWAY: Final = frozenset({502, 503, 504})
"""What ingresses and meshes say while the endpoint behind them restarts."""


def outcome(status: int, retry_after: str | None, body: str, now: dt.datetime) -> Outcome:
    """Say what an answer means for the event.

    Args:
        status: HTTP status.
        retry_after: The Retry-After header.
        body: Start of the body, for people.
        now: The time, for a Retry-After that is a date.
    """
    if 200 <= status < 300:
        return Ack()
    said = f": {body}" if body else ""
    if 300 <= status < 400:
        return RetryAfter(
            reason=f"answered {status}; redirects are not followed, set the final URL{said}"
        )
    sentence = f"answered {status}{said}"
    if 400 <= status < 500 and status not in _TRANSIENT_4XX:
        return DeadLetter(sentence)
    delay = _delay(retry_after, now)
    if status == 429:
        return Busy(_BUSY_SECONDS if delay is None else delay, sentence)
    if status == 503 and delay is not None:
        return Busy(delay, sentence)
    if status in _GATEWAY:
        return Unanswered(sentence)
    return RetryAfter(reason=sentence)


def _delay(retry_after: str | None, now: dt.datetime) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None for anything else."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for years and zones of many digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - now).total_seconds())
