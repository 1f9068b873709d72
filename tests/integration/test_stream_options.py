"""Each option of stream and consumer that works in a pipeline, from a row to its handler."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.consumer import Context, ReceivedEvent
from outbox_operator.plan.jetstream.consumers import desired_consumer
from outbox_operator.plan.jetstream.stream_config import desired_dead_letter_stream, desired_stream
from outbox_operator.wire.config import ConsumerConfig, NatsConfig
from support.consuming import calling, consuming
from support.jetstream import CONSUMER_OWNER, OWNER, pass_consumer, pass_stream, stream_spec
from support.nats import NatsServer, connected
from support.outbox import migrate
from support.relaying import Outbox
from support.stream_options import CONSUMER, STREAM, filled, together
from support.waiting import eventually

pytestmark = pytest.mark.integration

EVENTS = 8
DURABLE = "billing"


class Pipeline:
    """An outbox, its stream and a consumer, made as the operator makes them."""

    def __init__(self, outbox: Outbox, config: ConsumerConfig) -> None:
        self.outbox = outbox
        self.handled: list[str] = []
        self._config = config
        self._committed: list[str] = []

    async def handle(self, event: ReceivedEvent, context: Context) -> None:
        """The handler."""
        self.handled.append(event.id)

    async def works(self) -> None:
        """Events arrive once and in order, also over the death of the relay."""
        relay = self.outbox.relay().start()
        async with consuming(self._config, calling(self.handle)):
            await self._arrive()
            relay.kill()
            relay.start()
            await self._arrive()
            await self.outbox.idle(relay)
        assert self.handled == self._committed

    async def _arrive(self) -> None:
        for number in range(EVENTS):
            self._committed.append(await self.outbox.add("k", value=number))
        await eventually(
            lambda: len(self.handled) >= len(self._committed),
            f"{len(self._committed)} events handled",
        )


@contextlib.asynccontextmanager
async def pipeline(
    url: str,
    server: NatsServer,
    directory: Path,
    prefix: str,
    *,
    stream: dict[str, Any] | None = None,
    consumer: dict[str, Any] | None = None,
) -> AsyncIterator[Pipeline]:
    """A pipeline whose stream and durable consumer have these fields."""
    await migrate(url)
    async with connected(server) as client:
        admin = JetStreamAdmin(client, server.auth)
        other = stream_spec(f"{prefix}-other", subjects=[f"other.{prefix}.>"])
        await pass_stream(admin, desired_stream(other, OWNER))
        fields = {"deadLetter": {}, **filled(stream or {}, prefix)}
        spec = stream_spec(prefix, subjects=[f"{prefix}.>"], **fields)
        await pass_stream(admin, desired_stream(spec, OWNER))
        letters = desired_dead_letter_stream(spec, OWNER)
        assert letters is not None
        await pass_stream(admin, letters)
        read = EventConsumerSpec.model_validate(
            {"streamRef": {"name": "orders"}, "handler": {"http": {"url": "http://billing/"}}}
            | (consumer or {})
        )
        durable = desired_consumer(
            read, DURABLE, CONSUMER_OWNER, runtime=True, api_level=admin.api_level
        )
        await pass_consumer(admin, prefix, durable, handled=True)
        config = ConsumerConfig(
            namespace="shop", consumer="billing", nats=NatsConfig(url=server.url),
            stream=prefix, durable=DURABLE, dead_letter_subject=f"dlq.{prefix}.{DURABLE}",
            concurrency=1, health_port=0,
        )  # fmt: skip
        connection = await asyncpg.connect(url)
        outbox = Outbox(url, server, directory, connection, prefix)
        try:
            yield Pipeline(outbox, config)
        finally:
            outbox.stop_all()
            await connection.close()


@pytest.mark.parametrize("fields", together(STREAM), ids=", ".join)
async def test_options_of_a_stream_work(
    database: str,
    nats_server: NatsServer,
    tmp_path: Path,
    stream_prefix: str,
    fields: dict[str, Any],
) -> None:
    async with pipeline(database, nats_server, tmp_path, stream_prefix, stream=fields) as made:
        await made.works()


@pytest.mark.parametrize("fields", together(CONSUMER), ids=", ".join)
async def test_options_of_a_consumer_work(
    database: str,
    nats_server: NatsServer,
    tmp_path: Path,
    stream_prefix: str,
    fields: dict[str, Any],
) -> None:
    async with pipeline(database, nats_server, tmp_path, stream_prefix, consumer=fields) as made:
        await made.works()
