"""Which streams and durable consumers one of our resources looks after, by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta


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
        letters = (spec.get("deadLetter") or {}).get("name") or f"{name}_DLQ"
        return frozenset({(name, None), (str(letters), None)})
    state = status.get("consumer") if body["kind"] == meta.CONSUMER else None
    return frozenset({(str(state["stream"]), str(state["name"]))} if state else ())
