"""Streams and durable consumers of `outbox dev`, made by the operator's plans on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.dev import manifest, setup
from outbox_operator.dev.manifest import Resources
from outbox_operator.errors import SpecError
from support.nats import NatsServer, unique_prefix

pytestmark = pytest.mark.integration

HANDLER = {"http": {"url": "http://billing/events"}}


def resources(prefix: str, *, consumer: dict[str, Any], **stream: Any) -> Resources:
    """An EventStream and an EventConsumer that reads it."""
    documents = [
        {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        for kind, name, spec in (
            ("EventStream", "orders", {
                "name": prefix, "subjects": [f"{prefix}.>"], "deadLetter": {},
                "nats": {"url": "nats://nats:4222"}, **stream,
            }),
            ("EventConsumer", "billing", {"streamRef": {"name": "orders"}, **consumer}),
        )
    ]  # fmt: skip
    return manifest.read(documents, "pipeline.yaml")


async def test_made_and_changed_and_left_as_they_are(nats_server: NatsServer) -> None:
    prefix = unique_prefix()
    first = resources(prefix, consumer={"maxDeliver": 3})
    await setup.set_up_streams(first, nats_server.url)
    await setup.set_up_streams(first, nats_server.url)
    await setup.set_up_streams(resources(prefix, consumer={"maxDeliver": 5}), nats_server.url)
    async with setup.jetstream(nats_server.url) as admin:
        stream, durable = await admin.stream_info(prefix), first.consumers[0].meta.name
        found = await admin.consumer_info(prefix, durable)
        assert stream is not None
        assert found is not None
        assert found.config["max_deliver"] == 5
    await setup.remove_streams(first, nats_server.url)


async def test_what_the_operator_would_refuse_is_refused(nats_server: NatsServer) -> None:
    prefix = unique_prefix()
    plain = resources(prefix, consumer={"handler": HANDLER})
    await setup.set_up_streams(plain, nats_server.url)
    # A limit of the stream would remove the durable consumer of a handler that is stopped.
    limited = resources(
        prefix,
        consumer={"handler": HANDLER},
        consumerLimits={"inactiveThreshold": "1h"},
    )
    with pytest.raises(SpecError, match=r"consumerLimits\.inactiveThreshold"):
        await setup.set_up_streams(limited, nats_server.url)
    await setup.remove_streams(plain, nats_server.url)
