"""What a dead letter looks like: subject and headers. Pure."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Mapping
from typing import Final

from outbox_operator.consumer.disposition import Reason
from outbox_operator.telemetry.logging import redact
from outbox_operator.wire import headers as names

ERROR_CHARACTERS: Final = 2000


def subject(prefix: str, durable: str) -> str:
    """Where dead letters of a durable consumer are stored."""
    return f"{prefix}.{durable}"


def headers(
    original: Mapping[str, str],
    *,
    reason: Reason,
    error: str,
    deliveries: int,
    stream: str,
    sequence: int,
    stored: dt.datetime,
    subject: str,
    consumer: str,
    now: dt.datetime,
) -> dict[str, str]:
    """Headers of a dead letter: the message's own, and what happened to it.

    The message id is made of stream, sequence, consumer and the time of storage: if the process
    dies between storing the dead letter and ending the message, the second copy is dropped by the
    stream. A stream that is made anew counts from 1 again, hence the time.

    Args:
        original: Headers of the message.
        reason: Why it is dead.
        error: What the handler said; bounded and cleaned of what looks like a secret.
        deliveries: How often it was delivered.
        stream: Where it came from.
        sequence: Its sequence there.
        stored: When that stream took it.
        subject: Its subject there.
        consumer: Name of the durable consumer.
        now: The time.
    """
    # Directives to the server (expected sequences, TTLs, ids) were for the first stream.
    kept = {name: value for name, value in original.items() if not name.lower().startswith("nats-")}
    return {
        **kept,
        names.MSG_ID: f"{stream}:{sequence}:{consumer}:{stored.timestamp():.6f}",
        names.DEAD_LETTER_REASON: reason,
        names.DEAD_LETTER_ERROR: bounded(error),
        names.DEAD_LETTER_DELIVERIES: str(deliveries),
        names.DEAD_LETTER_STREAM: stream,
        names.DEAD_LETTER_SEQUENCE: str(sequence),
        names.DEAD_LETTER_SUBJECT: subject,
        names.DEAD_LETTER_CONSUMER: consumer,
        names.DEAD_LETTER_TIME: now.isoformat(timespec="milliseconds"),
    }


def bounded(text: str) -> str:
    """Text from outside as one line of bounded length, without what looks like a secret."""
    line = " ".join(redact(text).split())
    return line if len(line) <= ERROR_CHARACTERS else f"{line[: ERROR_CHARACTERS - 1]}…"


def describe(error: BaseException) -> str:
    """An exception as one line: what, and the innermost places it came through."""
    what = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    return bounded(f"{what} at {where}" if where else what)
