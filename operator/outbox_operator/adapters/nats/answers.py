"""What JetStream answers about streams and consumers, as values.

A server that a tenant names may answer anything: what is not as it should be raises LookupError,
TypeError, AttributeError or ValueError, which `admin` translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.decide import Config
from outbox_operator.plan.jetstream.streams import ObservedStream


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a stream, without what is in it."""

    sequence: int
    stored_at: datetime


_MOST: Final = 2**63 - 1
"""What a status takes; servers count with one bit more."""


def _number(found: Mapping[str, Any], name: str) -> int:
    number = found.get(name, 0)
    if not isinstance(number, int):
        raise TypeError(name)
    return max(0, min(number, _MOST))


def _text(found: Mapping[str, Any], name: str) -> str | None:
    text = found.get(name)
    if not isinstance(text, str | None):
        raise TypeError(name)
    return text


def moment(text: object) -> datetime | None:
    """A moment of the server; None: it said none, or the one that stands for none."""
    if not isinstance(text, str):
        return None
    found = datetime.fromisoformat(text).astimezone(UTC)
    return found if found.year > 1 else None


def _config(answer: Mapping[str, Any]) -> Config:
    config = answer["config"]
    if not isinstance(config, dict):
        raise TypeError("config")
    return config


def subject_counts(answer: Mapping[str, Any]) -> tuple[list[int], int]:
    """Numbers of messages by subject, and how many subjects there are."""
    subjects = answer["state"].get("subjects") or {}
    return [_number(subjects, name) for name in subjects], _number(answer, "total")


def stream(answer: Mapping[str, Any]) -> ObservedStream:
    """A stream."""
    state, config = answer.get("state") or {}, _config(answer)
    return ObservedStream(
        name=config["name"],
        config=config,
        created=_text(answer, "created"),
        messages=_number(state, "messages"),
        bytes=_number(state, "bytes"),
        first_sequence=_number(state, "first_seq"),
        last_sequence=_number(state, "last_seq"),
        consumer_count=_number(state, "consumer_count"),
        leader=_text(answer.get("cluster") or {}, "leader"),
        clock=moment(answer.get("ts")),
        not_copied=_not_copied(answer),
    )


def _not_copied(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """The origins of a stream that the server cannot read."""
    origins = [answer.get("mirror") or {}, *(answer.get("sources") or ())]
    failed = [(one["name"], one["error"]) for one in origins if one.get("error")]
    return tuple(f"{name} ({_text(error, 'description')})" for name, error in failed)


def stream_page(answer: Mapping[str, Any]) -> tuple[list[ObservedStream], int]:
    """Streams of a page, and how many there are."""
    return [stream(one) for one in answer.get("streams") or []], _number(answer, "total")


def durables(answer: Mapping[str, Any]) -> tuple[list[str], int, int]:
    """Names of durable consumers of a page, how many consumers it has, and how many there are."""
    page = answer.get("consumers") or []
    names = [str(one["name"]) for one in page if one["config"].get("durable_name")]
    return names, len(page), _number(answer, "total")


def stored(answer: Mapping[str, Any]) -> StoredMessage:
    """Where a message is."""
    message = answer["message"]
    return StoredMessage(
        _number(message, "seq"), datetime.fromisoformat(message["time"]).astimezone(UTC)
    )


def consumer(answer: Mapping[str, Any]) -> ObservedConsumer:
    """A durable consumer."""
    return ObservedConsumer(
        name=answer["name"],
        stream=answer["stream_name"],
        config=_config(answer),
        created=_text(answer, "created"),
        pending=_number(answer, "num_pending"),
        ack_pending=_number(answer, "num_ack_pending"),
        redelivered=_number(answer, "num_redelivered"),
        waiting=_number(answer, "num_waiting"),
        ack_floor=_number(answer.get("ack_floor") or {}, "stream_seq"),
        delivered=_number(answer.get("delivered") or {}, "consumer_seq"),
        leader=_text(answer.get("cluster") or {}, "leader"),
    )
