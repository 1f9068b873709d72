"""Every query of the dashboards, asked of a real Prometheus that scrapes a real pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg

from outbox_operator.consumer import Ack, DeadLetter, ReceivedEvent, RetryAfter
from outbox_operator.consumer.settings import parse
from outbox_operator.wire.archive import ArchiveConfig
from outbox_operator.wire.config import ConsumerConfig
from support.archiving import as_a_pod, writing
from support.consuming import calling, consuming
from support.dashboards import dashboards, filled, marks, queries
from support.ports import free_port
from support.prometheus import Prometheus, running_prometheus
from support.relaying import RelayProcess
from support.waiting import eventually
from support.world import HANDLER, World

CONSUMERS = "(orders-billing|orders-audit)"
SEEN: set[str] = set()
SOMETIMES = re.compile(
    "outbox_relay_errors_total|outbox_consumer_errors_total|outbox_operator_resync_missed_total"
)
"""What a pipeline without errors does not have."""


def asked(world: World, *, with_marks: bool = False) -> dict[str, str]:
    """Every query as Grafana asks it, by its place."""
    variables = {"namespace": world.namespace, "pipeline": "orders", "consumer": CONSUMERS}
    found = {}
    for name, document in dashboards().items():
        for number, (title, expression) in enumerate(queries(document)):
            found[f"{name}, {title}, {number}"] = filled(expression, **variables)
        for title, expression in marks(document) if with_marks else ():
            found[f"{name}, mark, {title}"] = filled(expression, **variables)
    return found


def without_data(prometheus: Prometheus, world: World) -> dict[str, str]:
    """The queries that have no value."""
    return {
        place: expression
        for place, expression in asked(world).items()
        if not SOMETIMES.search(expression) and not prometheus.query(expression)
    }


@contextlib.asynccontextmanager
async def traffic(world: World) -> AsyncIterator[None]:
    """Events all the time: some that are handled, one in four of the others of each kind."""
    connection = await asyncpg.connect(world.database)

    async def write() -> None:
        for number in itertools.count():
            kind = ("created", "created", "refused", "again")[number % 4]
            headers = '["none"]' if number % 5 == 4 else "{}"
            await connection.execute(
                "INSERT INTO outbox.events (event_type, partition_key, payload, headers) "
                "VALUES ($1, $2, '1', $3)",
                kind, f"key-{number}", headers,
            )  # fmt: skip
            await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    try:
        yield
        assert not writing.done(), writing.exception()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await connection.close()


def configuration(world: World, name: str) -> str:
    """What the operator made for the pods of a workload."""
    body = world.get("ConfigMap", name)
    assert body is not None, f"no ConfigMap {name}"
    text: str = body["data"]["config.json"]
    return text


def relay(world: World, folder: Path) -> RelayProcess:
    """The pipeline's relay, as its pod would be."""
    (folder / "url").write_text(world.database)
    config = json.loads(configuration(world, "orders-relay"))
    config["database"] = {"url_file": str(folder / "url")}
    return RelayProcess({**config, "health_port": 0, "poll_max_seconds": 0.1}, folder, "relay")


def consumer(world: World) -> ConsumerConfig:
    """One of its consumers, to be run in this process."""
    config = parse(configuration(world, "orders-billing-consumer"), where="the ConfigMap")
    return replace(config, health_port=free_port(), backoff_seconds=(0.05,))


def archived(world: World, folder: Path) -> ArchiveConfig:
    """The archive among them, too."""
    document = world.get("ConfigMap", "orders-audit-consumer")
    assert document is not None, "no ConfigMap of the archive"
    return as_a_pod(document, world.database, folder, health_port=free_port())


async def handle(event: ReceivedEvent) -> Ack | RetryAfter | DeadLetter:
    """A handler that has all kinds of events."""
    if event.type == "refused":
        return DeadLetter("no such order")
    if event.type == "again" and event.id not in SEEN:
        SEEN.add(event.id)
        return RetryAfter(reason="not the first time")
    return Ack()


async def test_each_panel_has_data_while_there_is_traffic_and_none_says_what_is_not(
    world: World, tmp_path: Path
) -> None:
    limits = {"maxBytes": "64Mi", "maxAge": "1h"}
    archive = {
        "connectionSecretRef": {"name": "database"},
        "retention": [{"name": "default", "keep": "90d"}],
    }
    pipeline = world.pipeline(
        consumers=[
            {"name": "billing", "handler": HANDLER, "replicas": 0},
            {"name": "audit", "handler": {"archive": archive}, "replicas": 0},
        ]
    )
    pipeline["spec"]["stream"] |= limits
    with running_prometheus() as prometheus:
        for expression in asked(world, with_marks=True).values():
            assert prometheus.query(expression) == []  # nobody is scraped, and each is understood

        world.apply(world.secret("database", url=world.database), pipeline)
        await asyncio.to_thread(world.wait_ready, "OutboxPipeline", "orders")
        process = relay(world, tmp_path).start()
        try:
            async with (
                consuming(consumer(world), calling(handle)) as app,
                writing(archived(world, tmp_path)) as archive_app,
                traffic(world),
            ):
                await process.active()
                operators = f"127.0.0.1:{world.operator.port}"
                ports = (process.health_port, app.health.port, archive_app.health.port)
                addresses = [operators, *(f"127.0.0.1:{port}" for port in ports)]
                for address in addresses:
                    prometheus.scrape(address)
                await prometheus.wait_scraped(*addresses)
                missing: dict[str, str] = {}

                def complete() -> bool:
                    missing.clear()
                    missing.update(without_data(prometheus, world))
                    return not missing

                with contextlib.suppress(AssertionError):
                    await eventually(complete, "data in each panel", pause=0.5)
                assert missing == {}
                for expression in asked(world, with_marks=True).values():
                    prometheus.query(expression)
                assert all(  # no number is negative, or none
                    one.value >= 0
                    for expression in asked(world).values()
                    for one in prometheus.query(expression)
                )
        finally:
            process.kill()
