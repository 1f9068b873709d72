"""Which streams and durable consumers one of our resources looks after, by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.wire import dead_letters


def cares_for(body: Mapping[str, Any] | None) -> frozenset[tuple[str, str | None]]:
    """The names a resource cares for; None stands for the stream itself.

    Args:
        body: An EventStream or EventConsumer as the API server has it; others care for nothing.
    """
    if body is None:
        return frozenset()
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if body["kind"] == meta.STREAM:
        name = str(spec.get("name"))
        return frozenset({(name, None), (dead_letter_stream(spec), None)})
    state = status.get("consumer") if body["kind"] == meta.CONSUMER else None
    return frozenset({(str(state["stream"]), str(state["name"]))} if state else ())


def dead_letter_stream(spec: Mapping[str, Any]) -> str:
    """Name of the dead-letter stream that an EventStream declares, or would.

    Args:
        spec: As the API server has it.
    """
    named = (spec.get("deadLetter") or {}).get("name")
    return str(named or f"{spec.get('name')}_DLQ")


def dead_letter_subject(spec: Mapping[str, Any], durable: str) -> str:
    """Where the dead letters of a durable consumer are, in the stream that an EventStream declares.

    Args:
        spec: As the API server has it.
        durable: Name of the durable consumer.
    """
    prefix = (spec.get("deadLetter") or {}).get("subjectPrefix")
    return dead_letters.subject(str(prefix or f"dlq.{spec.get('name')}"), durable)
