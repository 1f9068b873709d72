"""One order of the shop is one trace in a real collector, from the order to its invoice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js.api import AckPolicy
from nats.js.api import ConsumerConfig as DurableConfig

from outbox_operator.wire.config import (
    ConsumerConfig,
    HttpHandlerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    encode,
)
from support.consuming import Endpoint
from support.nats import NatsServer, connected
from support.outbox import migrate_inbox
from support.relaying import Outbox, an_outbox
from support.spans import Receiver, Seen, collector, environment, receiving
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

SHOP = Path(__file__).parents[2] / "examples/shop"
ORDERS = """
import asyncio
import asyncpg
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

from orders import app

async def main():
    connection = await asyncpg.connect(app.DATABASE_URL)
    unrecorded = trace.NonRecordingSpan(trace.SpanContext(7, 8, False, trace.TraceFlags(0)))
    with trace.use_span(unrecorded):
        await app.place_order(connection, declined=False)
    for declined in (True, False):
        with trace.get_tracer("shop").start_as_current_span("place order"):
            await app.place_order(connection, declined=declined)
    await connection.close()

asyncio.run(main())
provider.shutdown()
"""
"""The order service as it is, in a program that sets OpenTelemetry up."""


def tables() -> str:
    """The shop's tables, as its own SQL makes them."""
    found = re.findall(r"^CREATE TABLE .*?;$", (SHOP / "databases.sql").read_text(), re.M | re.S)
    assert len(found) == 4
    return "".join(found)


async def configurations(outbox: Outbox, endpoint: Endpoint) -> dict[str, ConsumerConfig]:
    """The shop's two consumers, with their durable consumers."""
    (outbox.directory / "billing-url").write_text(outbox.url)
    async with connected(outbox.nats) as client:
        for name in ("billing", "mailer"):
            await client.jetstream().add_consumer(
                outbox.prefix, DurableConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT)
            )
    base = ConsumerConfig(
        namespace="shop", consumer="", durable="", nats=NatsConfig(url=outbox.nats.auth.url),
        stream=outbox.prefix, health_port=0,
    )  # fmt: skip
    return {
        "billing": replace(
            base, consumer="orders-billing", durable="billing",
            python=PythonHandlerConfig(module="billing.handler:handle"),
            inbox=InboxConfig(url_file=str(outbox.directory / "billing-url")),
        ),
        "mailer": replace(
            base, consumer="orders-mailer", durable="mailer",
            http=HttpHandlerConfig(url=endpoint.url),
        ),
    }  # fmt: skip


@contextlib.contextmanager
def running(
    folder: Path, configs: dict[str, ConsumerConfig], variables: dict[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The consumers, each a process; the mailer's spans are linked, billing's are children."""
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, config in configs.items():
            (folder / f"{name}.json").write_text(encode(config))
            spans = "child" if name == "billing" else "linked"
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            processes[name] = subprocess.Popen(
                [sys.executable, "-m", "outbox_operator.cli.main", "consume"],
                env={
                    **os.environ, **variables, "OUTBOX_CONFIG": str(folder / f"{name}.json"),
                    "OUTBOX_PROCESS_SPANS": spans, "PYTHONPATH": str(SHOP),
                },
                stderr=log,
            )  # fmt: skip
            stack.callback(_end, processes[name])
        yield processes


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(SECONDS)


async def place_orders(variables: dict[str, str], database: str) -> None:
    """Have the order service place its three orders."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORDERS,
        env={
            **os.environ, **variables, "OTEL_SERVICE_NAME": "orders", "DATABASE_URL": database,
            "PYTHONPATH": str(SHOP),
        },
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_one_order_is_one_trace(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    endpoint = Endpoint()
    await endpoint.start()
    with receiving() as receiver, collector(receiver, tmp_path) as url:
        variables = {**environment(receiver), "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        async with an_outbox(database, nats_server, tmp_path) as outbox:
            await migrate_inbox(database)
            await outbox.connection.execute(tables())
            configs = await configurations(outbox, endpoint)
            relay = outbox.relay()
            relay.environment = variables
            relay.start()
            await place_orders(variables, database)
            with running(tmp_path, configs, variables):
                await check(outbox, receiver, endpoint)
    await endpoint.stop()


async def check(outbox: Outbox, receiver: Receiver, endpoint: Endpoint) -> None:
    """Look at the spans of the three orders, one by one."""
    connection = outbox.connection
    await eventually(lambda: len(endpoint.requests) == 2, "two mails", relay=None)
    await receiver.until(1, "inbox transaction")
    for name, count in (
        ("place order", 2), ("create order.created", 2), ("outbox wait", 1), ("publish", 1),
    ):  # fmt: skip
        await receiver.until(count, name)

    async def both() -> bool:
        return len(await connection.fetch("SELECT order_id FROM invoices")) == 2

    await eventually(both, "orders that are not recorded are orders")
    [process] = await receiver.until(1, "process orders-billing")
    [linked] = await receiver.until(1, "process orders-mailer")
    event_id = process.attributes["messaging.message.id"]
    created = await connection.fetchval(
        "SELECT created_at FROM outbox.events WHERE event_id = $1::text::uuid", event_id
    )
    trace_id = process.trace_id

    def one(name: str) -> Seen:
        [found] = [s for s in receiver.named(name) if s.trace_id == trace_id]
        return found

    placed, create, wait = one("place order"), one("create order.created"), one("outbox wait")
    publish, inbox = one("publish"), one("inbox transaction orders-billing")
    for child, parent in (
        (create, placed), (wait, create), (publish, wait), (process, create), (inbox, process),
    ):  # fmt: skip
        assert child.parent_id == parent.span_id, child.name
    assert placed.parent_id == ""
    assert [s.kind.removeprefix("SPAN_KIND_") for s in (create, wait, publish, process, inbox)] == [
        "PRODUCER", "INTERNAL", "CLIENT", "CONSUMER", "CLIENT",
    ]  # fmt: skip
    assert [s.service for s in (placed, create, wait, publish, process, inbox, linked)] == [
        *["orders"] * 2, *["orders-relay"] * 2, *["orders-billing-consumer"] * 2,
        "orders-mailer-consumer",
    ]  # fmt: skip
    # The mailer's is a trace of its own.
    assert (linked.parent_id, linked.links) == ("", [create.place])
    assert linked.trace_id != trace_id
    assert process.links == []

    assert placed.start <= create.start <= create.end <= placed.end
    assert abs(wait.start - created.timestamp() * 1e9) < 2000, "microseconds of the row"
    assert wait.start <= publish.start <= publish.end == wait.end <= process.end
    assert process.start <= inbox.start <= inbox.end <= process.end

    for span in (create, wait, process, linked):
        assert span.attributes["messaging.system"] == "nats"
        assert span.attributes["messaging.message.id"] == event_id
        assert span.attributes["cloudevents.event_type"] == "order.created"
    assert [span.attributes["messaging.operation.type"] for span in (create, publish, process)] == [
        "create",
        "send",
        "process",
    ]
    subject = f"{outbox.prefix}.order.created"
    for span in (wait, publish, process):
        assert span.attributes["messaging.destination.name"] == subject
    assert process.attributes["messaging.consumer.group.name"] == "billing"
    assert process.attributes["outbox.outcome"] == "ack"
    assert inbox.attributes["db.system.name"] == "postgresql"

    told = {request.id: request.headers["traceparent"] for request in endpoint.requests}
    assert told.pop(event_id) == f"00-{linked.trace_id}-{linked.span_id}-01"
    assert next(iter(told.values())).startswith(f"00-{7:032x}-")
    assert next(iter(told.values())).endswith("-00")

    # Of the order that was declined there is what the shop did, and nothing else; of the one
    # that was not recorded, nothing at all.
    [declined] = [s for s in receiver.named("place order") if s.trace_id != trace_id]
    of_it = [s.name for s in receiver.spans if s.trace_id == declined.trace_id]
    assert sorted(of_it) == ["create order.created", "place order"]
    assert {s.trace_id for s in receiver.spans} == {
        trace_id, linked.trace_id, declined.trace_id,
    }  # fmt: skip
