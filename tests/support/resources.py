"""Builders of our resources for tests, from the YAML a user would write."""

from __future__ import annotations

from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.resource import (
    Consumer,
    Pipeline,
    Stream,
    parse_consumer,
    parse_pipeline,
    parse_stream,
)


def pipeline(
    spec: dict[str, Any] | None = None,
    *,
    name: str = "orders",
    namespace: str = "shop",
    **over: Any,
) -> Pipeline:
    """A small OutboxPipeline; keywords replace whole parts of its specification."""
    base: dict[str, Any] = {
        "database": {"connectionSecretRef": {"name": "orders-db"}},
        "nats": {"url": "nats://nats.nats:4222"},
        "stream": {"name": "ORDERS", "subject": "orders.{event_type}"},
    }
    return parse_pipeline(_body(meta.PIPELINE, namespace, name, {**base, **(spec or {}), **over}))


def stream(*, name: str = "orders", namespace: str = "shop", **spec: Any) -> Stream:
    """A small EventStream with a dead-letter stream; keywords replace parts of its spec."""
    base: dict[str, Any] = {
        "name": "ORDERS",
        "subjects": ["orders.>"],
        "nats": {"url": "nats://nats.nats:4222"},
        "deadLetter": {},
    }
    return parse_stream(_body(meta.STREAM, namespace, name, {**base, **spec}))


def consumer(
    *,
    name: str = "billing",
    namespace: str = "shop",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Consumer:
    """A small EventConsumer of the EventStream `orders`."""
    body = _body(meta.CONSUMER, namespace, name, {"streamRef": {"name": "orders"}, **spec})
    body["metadata"]["labels"] = labels or {}
    return parse_consumer(body)


def _body(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    }
