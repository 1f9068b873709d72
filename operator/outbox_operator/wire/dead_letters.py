"""What a dead letter looks like: subject and headers. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from outbox_operator.reasons import Reason
from outbox_operator.wire.headers import (
    DEAD_LETTER_CONSUMER,
    DEAD_LETTER_DELIVERIES,
    DEAD_LETTER_ERROR,
    DEAD_LETTER_REASON,
    DEAD_LETTER_SEQUENCE,
    DEAD_LETTER_STREAM,
    DEAD_LETTER_SUBJECT,
    DEAD_LETTER_TIME,
    EMISSION,
    MSG_ID,
    POSITION,
    PREDECESSOR,
    REACHED,
    SHARD,
    encode_value,
    without_strays,
)

DeadLetterReason = Literal[
    Reason.MAX_DELIVER, Reason.REFUSED, Reason.PUT_OFF_TOO_LONG, Reason.UNHANDLED,
    Reason.TERMINATED,
]  # fmt: skip
"""Why an event is a dead letter: attempts used up, the handler said so, or said "not now" for too
long, there is none for it, or a program that reads by itself told the server never to deliver it
again."""

OWN_TERMINATION: Final = "dead letter: "
"""Start of the reason with which our runtime terminates a message; it has no copy to make."""

_NAME: Final = re.compile(r"[\x21-\x39\x3b-\x7e]+")
SHORT_ERROR_CHARACTERS: Final = 100
PREFIX: Final = "outbox-dead-letter-"
"""Of the names of headers that say why an event is one, in small letters."""
_FEWEST: Final = (DEAD_LETTER_REASON, DEAD_LETTER_SEQUENCE)
_FEW: Final = (*_FEWEST, MSG_ID, DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECT)
_ADVISORIES: Final = "$JS.EVENT.ADVISORY.CONSUMER"
_PLACE: Final = (POSITION, EMISSION, PREDECESSOR, REACHED, SHARD)


def subject(prefix: str, durable: str) -> str:
    """Where dead letters of a durable consumer are stored."""
    return f"{prefix}.{durable}"


def advisory_subjects(stream: str, durable: str = ">") -> tuple[str, str]:
    """Where the server tells of messages it will never deliver again."""
    kinds = ("MAX_DELIVERIES", "MSG_TERMINATED")
    first, second = (f"{_ADVISORIES}.{kind}.{stream}.{durable}" for kind in kinds)
    return first, second


def headers(
    original: Mapping[str, str],
    *,
    reason: DeadLetterReason,
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
        error: What went wrong; one line, bounded, without secrets.
        deliveries: How often it was delivered.
        stream: Where it came from.
        sequence: Its sequence there.
        stored: When that stream took it.
        subject: Its subject there.
        consumer: Name of the durable consumer.
        now: The time.
    """
    # Directives to the server (expected sequences, TTLs, ids) were for the first stream.
    kept = {
        _storable(name): without_strays(value)
        for name, value in original.items()
        if not name.lower().startswith("nats-")
    }
    return {
        **kept,
        MSG_ID: f"{stream}:{sequence}:{consumer}:{stored.timestamp():.6f}",
        DEAD_LETTER_REASON: reason.value,
        DEAD_LETTER_ERROR: error,
        DEAD_LETTER_DELIVERIES: str(deliveries),
        DEAD_LETTER_STREAM: stream,
        DEAD_LETTER_SEQUENCE: str(sequence),
        DEAD_LETTER_SUBJECT: subject,
        DEAD_LETTER_CONSUMER: consumer,
        DEAD_LETTER_TIME: now.isoformat(timespec="milliseconds"),
    }


def _storable(name: str) -> str:
    """A header's name as our driver lets it be stored."""
    return name if _NAME.fullmatch(name) else encode_value(without_strays(name))


def smaller(found: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Headers of a dead letter with less and less of ours, to be tried until the letter is taken.

    The event met the limits of its stream. What we add must not keep it from being stored, and its
    own headers and payload are not ours to cut. The last takes no more room than the headers with
    which the relay stored the event, which are gone.
    """
    yield found
    yield {**found, DEAD_LETTER_ERROR: found[DEAD_LETTER_ERROR][:SHORT_ERROR_CHARACTERS]}
    for kept in (_FEW, _FEWEST):
        yield {
            name: value
            for name, value in found.items()
            if name in kept
            or (not name.lower().startswith(("nats-", PREFIX)) and name not in _PLACE)
        }


def replayed(found: Mapping[str, str], stream: str, sequence: int) -> dict[str, str]:
    """Headers under which a dead letter is published again.

    Its place in the outbox is gone: a consumer that remembers how far it handled each shard would
    take it for a duplicate.

    Args:
        found: Headers of the dead letter.
        stream: The dead-letter stream.
        sequence: Its sequence there; repeated tries to release it are one message.
    """
    kept = {
        _storable(name): without_strays(value)
        for name, value in found.items()
        if not name.lower().startswith(("nats-", PREFIX)) and name not in _PLACE
    }
    return {**kept, MSG_ID: replay_id(found, stream, sequence)}


def replay_id(found: Mapping[str, str], stream: str, sequence: int) -> str:
    """Message id of a dead letter that is published again; arguments as of `replayed`.

    Of the letter, and not of who replays it: whoever tries it again after a crash stores no second
    copy. One that dies again is another letter.
    """
    return f"replay:{stream}:{sequence}:{without_strays(found.get(DEAD_LETTER_TIME, ''))}"
