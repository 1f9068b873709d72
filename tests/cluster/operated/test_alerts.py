"""Every alert of the chart is brought about on real servers and processes, fires, and ends.

One world for all. Times and windows are short by the chart's own values; thresholds are the chart's
where that costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import prometheus_client
import pytest
from redis import Redis

from outbox_operator.client import Event, NatsLink, Nudge, Outbox
from support.chart import Helm, find_helm
from support.consuming import Endpoint, accept, answering
from support.nats import NatsServer
from support.ports import free_port
from support.postgres import PostgresServer
from support.redis import RedisServer
from support.waiting import eventually
from support.watched_shop import (
    GOOD,
    POISON,
    Shop,
    alert_names,
    alone,
    refusing_statuses,
    repeating,
    short,
)
from support.watching import watching
from support.world import World


@pytest.fixture(scope="module")
def nats_server() -> Iterator[NatsServer]:
    """One that may be frozen."""
    with NatsServer() as server:
        yield server


@pytest.fixture
async def shop(
    world: World, postgres_server: PostgresServer, tmp_path: Path
) -> AsyncIterator[Shop]:
    """Three pipelines as they are when all is well, watched."""
    databases = {name: postgres_server.create_database() for name in ("orders", "full", "halted")}
    endpoint = Endpoint()
    await endpoint.start()
    world.apply(
        *(world.secret(f"db-{name}", url=url) for name, url in databases.items()),
        world.pipeline(
            "orders",
            database={"connectionSecretRef": {"name": "db-orders"}},
            relay={"replicas": 2},
            consumers=[
                {
                    "name": "billing",
                    "handler": {"http": {"url": endpoint.url}},
                    "maxDeliver": 1000,
                    "backoff": ["200ms"],
                },
                {
                    "name": "archive",
                    "handler": {
                        "archive": {
                            "connectionSecretRef": {"name": "db-orders"},
                            "retention": [{"name": "default", "keep": "90d"}],
                        }
                    },
                },
            ],
        ),
        alone(world, "full", stream={"maxMessages": 10, "discard": "New"}),
        alone(
            world,
            "halted",
            relay={"onPoison": "Halt"},
            consumers=[{"name": "audit"}],
            stream={"maxAge": "30s"},
        ),
    )
    with (
        watching(Helm(find_helm()), short(world.namespace), tmp_path) as watch,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(refusing_statuses(world, "refused"))  # it takes a while to be in force
        shop = Shop(world, watch, tmp_path, databases, endpoint)
        stack.callback(shop.stop)
        for name in databases:
            await asyncio.to_thread(
                world.wait_condition, "OutboxPipeline", name, "StreamReady", "True"
            )
        watch.prometheus.scrape(f"127.0.0.1:{world.operator.port}", job="operator", pod="operator")
        for name in databases:
            await asyncio.to_thread(shop.wait_config, f"{name}-relay")
            shop.start_relay(name)
        await asyncio.to_thread(shop.wait_config, "orders-billing-consumer")
        shop.start_consumer("orders-billing")
        await asyncio.to_thread(shop.wait_config, "orders-archive-consumer")
        await shop.start_archive("orders")
        yield shop
        await shop.stop_archive()
    await endpoint.stop()


@pytest.mark.thorough
async def test_each_alert_fires_and_ends(shop: Shop) -> None:
    watch = shop.watch
    shop.world.pods_ready("orders-relay", 2)
    shop.world.pods_ready("orders-billing-consumer", 1)
    shop.world.pods_ready("orders-archive-consumer", 1)
    for name in shop.databases:
        await shop.wait_ready(name)
    await shop.insert("orders", GOOD, 5)
    await shop.insert("full", GOOD, 5)
    await eventually(lambda: len(set(shop.endpoint.ids())) == 5, "the consumer works")
    await eventually(lambda: not watch.prometheus.alerts(), "nobody is woken while all is well")
    assert watch.prometheus.rule_errors() == []

    await what_cannot_be_published_or_handled(shop)
    await a_redis_that_fills_up(shop)
    await a_relay_that_is_killed(shop)
    await a_broker_that_is_frozen(shop)

    assert watch.seen == {"fired": alert_names(), "ended": alert_names()}
    assert watch.prometheus.rule_errors() == []


async def what_cannot_be_published_or_handled(shop: Shop) -> None:
    """Poison, a full stream, a failing handler, messages that nobody reads or stores, a refused
    status."""
    world, watch = shop.world, shop.watch
    watch.begin()
    await shop.stop_archive()
    await shop.forge("orders", 1, 3)
    world.apply(world.stream("refused"))
    wrong = {"pipelineRef": {"name": "full"}, "approveMigration": {"planHash": "0" * 16}}
    world.apply(world.resource("OutboxTask", "wrong", wrong))
    await shop.insert("orders", POISON, 11)
    await shop.insert("full", GOOD, 20)
    await shop.insert("halted", GOOD, 1)
    await shop.insert("halted", POISON, 1)
    shop.endpoint.answer = answering(500)
    await shop.insert("orders", GOOD, 20)
    letters, *_ = await asyncio.gather(
        watch.fires("OutboxDeadLetterQueue", pipeline="orders"),
        watch.fires("OutboxHighErrorRate", consumer="orders-billing"),
        watch.fires("OutboxHighErrorRate", pipeline="full"),
        watch.fires("OutboxStreamNearlyFull", stream="full"),
        watch.fires("OutboxRelayHalted", pipeline="halted"),
        watch.fires("OutboxConsumerStuck", consumer="orders-billing"),
        watch.fires("OutboxRetentionAtRisk", consumer="halted-audit"),
        watch.fires("OutboxReconcileErrors", kind="EventStream"),
        watch.fires("OutboxTaskFailed", name="full", action="approveMigration"),
        watch.fires("OutboxArchiveBehind", consumer="orders-archive"),
    )
    said = f"Pipeline {world.namespace}/orders: 11 dead letters"
    assert letters.annotations["summary"] == said
    assert letters.annotations["runbook_url"] == "docs/runbooks/OutboxDeadLetterQueue.md"
    told = await eventually(
        lambda: watch.told("OutboxDeadLetterQueue"), "the Alertmanager hears of it"
    )
    assert told["annotations"]["summary"] == said

    watch.begin()
    await shop.insert("orders", "DELETE FROM outbox.dead_letters")
    shop.endpoint.answer = accept
    shop.change("full", {"stream": {"maxMessages": 1000}})
    shop.change("halted", {"relay": {"onPoison": "BlockKey"}, "stream": {"maxAge": "1h"}})
    world.kubectl("delete", "evs/refused", "obt/wrong", "-n", world.namespace)
    shop.kill_relay("halted")
    await eventually(
        lambda: shop.config("halted-relay")["on_poison"] == "BlockKey", "the relay's configuration"
    )
    shop.start_relay("halted")
    await shop.start_archive("orders")
    await asyncio.gather(
        a_gap_that_closes(shop),
        watch.ends("OutboxArchiveBehind"),
        watch.ends("OutboxDeadLetterQueue"),
        watch.ends("OutboxConsumerStuck", consumer="orders-billing"),
        watch.ends("OutboxStreamNearlyFull"),
        watch.ends("OutboxRelayHalted"),
        watch.ends("OutboxRetentionAtRisk"),
        watch.ends("OutboxHighErrorRate"),
        watch.ends("OutboxReconcileErrors"),
        watch.ends("OutboxTaskFailed"),
    )
    await eventually(
        lambda: not watch.told("OutboxDeadLetterQueue"), "the Alertmanager hears that it is over"
    )


async def a_gap_that_closes(shop: Shop) -> None:
    """A number has not come, and comes after all."""
    gap = await shop.watch.fires("OutboxArchiveGap", consumer="orders-archive")
    assert f"Archive {shop.world.namespace}/orders-archive: 1 gaps" in gap.annotations["summary"]
    await shop.forge("orders", 2)
    await shop.watch.ends("OutboxArchiveGap")


async def a_redis_that_fills_up(shop: Shop) -> None:
    """Nearly all of its memory is taken; then it may take more."""
    world, watch = shop.world, shop.watch
    watch.begin()
    with RedisServer() as server, Redis(host="127.0.0.1", port=server.port) as client:
        client.setrange("somebody-elses", 10_000_000, "x")  # and no buffer of that size with it
        taken: Any = client.info("memory")
        client.config_set("maxmemory", int(taken["used_memory"] * 1.15))
        spec = {"redis": {"url": server.url}, "name": f"{world.prefix}.cached"}
        world.apply(world.resource("EventStream", "cached", spec))
        found = await watch.fires("OutboxRedisNearlyFull", stream="cached")
        summary = found.annotations["summary"]
        assert summary.startswith(f"Stream {world.namespace}/cached: ")
        assert summary.endswith("% of its Redis server's maxmemory are taken")
        client.config_set("maxmemory", "1gb")
        world.look_again("evs", "cached")
        await watch.ends("OutboxRedisNearlyFull")
        world.kubectl("delete", "evs/cached", "-n", world.namespace)


async def a_relay_that_is_killed(shop: Shop) -> None:
    """Its pods are gone, 5001 rows wait, the operator changes; then one of two is there again."""
    watch = shop.watch
    watch.begin()
    shop.kill_relay("orders")
    shop.world.pods_ready("orders-relay", 0)
    await shop.insert("orders", GOOD, 5001)
    lag, *_ = await asyncio.gather(
        watch.fires("OutboxHighLag", pipeline="orders"),
        watch.fires("OutboxWorkerDown", pipeline="orders"),
        watch.fires("OutboxWorkerUnhealthy", pipeline="orders"),
        watch.fires("OutboxPipelineNotReady", name="orders"),
        watch.fires("OutboxWorkerIdle", pipeline="orders"),
    )
    assert "5.001k rows wait" in lag.annotations["summary"]

    await an_operator_that_is_gone(shop)
    (now,) = watch.firing("OutboxHighLag", pipeline="orders")
    assert now.since == lag.since, "another leader begins no time anew"

    watch.begin()
    shop.start_relay("orders")
    shop.world.pods_ready("orders-relay", 1)
    await asyncio.gather(
        watch.ends("OutboxHighLag"), watch.ends("OutboxWorkerIdle"), watch.ends("OutboxWorkerDown")
    )
    assert watch.firing("OutboxWorkerUnhealthy", pipeline="orders"), "one of two is too few"
    shop.world.pods_ready("orders-relay", 2)
    await asyncio.gather(watch.ends("OutboxWorkerUnhealthy"), watch.ends("OutboxPipelineNotReady"))


async def a_broker_that_is_frozen(shop: Shop) -> None:
    """Rows get old, nothing can be sampled, and what an application sends at once fails."""
    world, watch = shop.world, shop.watch
    port = free_port()
    with (
        serving_own_metrics(port),
        contextlib.closing(NatsLink(world.nats.url, timeout_seconds=0.3)) as link,
    ):
        outbox = Outbox(send=Nudge(link=link, namespace=world.namespace, pipeline="orders"))

        async def write() -> None:
            connection = await asyncpg.connect(shop.databases["orders"])
            try:
                async with outbox.transaction(connection):
                    await outbox.publish_after_commit(connection, Event(type="created", payload={}))
            finally:
                await connection.close()

        watch.prometheus.scrape(f"127.0.0.1:{port}", pod="application")
        await write()
        await watch.prometheus.wait_scraped(f"127.0.0.1:{port}")
        watch.begin()
        world.nats.pause()
        try:
            async with repeating(write):
                await asyncio.gather(
                    watch.fires("OptimisticSendHighFailureRate", pipeline="orders"),
                    watch.fires("OutboxSampleStale", stream="orders"),
                )
        finally:
            world.nats.resume()
        await watch.fires("OutboxHighLatency", pipeline="orders")
        watch.begin()
        async with repeating(write):
            await asyncio.gather(
                watch.ends("OptimisticSendHighFailureRate"),
                watch.ends("OutboxSampleStale"),
                watch.ends("OutboxHighLatency"),
            )


async def an_operator_that_is_gone(shop: Shop) -> None:
    """That it is gone is known although nobody says so; another one takes over."""
    operator, watch = shop.world.operator, shop.watch
    watch.begin()
    for page in await asyncio.to_thread(operator.pages_until_stopped):
        leads = "\noutbox_operator_leader_since_timestamp_seconds{" in page
        assert ("\noutbox_pipeline_backlog_rows{" in page) or not leads, "times would begin anew"
    await watch.fires("OutboxOperatorDown")
    assert watch.prometheus.query("outbox_pipeline_backlog_rows") == []

    watch.begin()
    operator.start()
    await asyncio.to_thread(operator.wait_ready)
    await watch.ends("OutboxOperatorDown")
    await eventually(
        lambda: watch.prometheus.query('outbox_pipeline_backlog_rows{pipeline="orders"}'),
        "the operator's numbers",
    )


@contextlib.contextmanager
def serving_own_metrics(port: int) -> Iterator[None]:
    """Serve the metrics of this process, as applications do."""
    server, thread = prometheus_client.start_http_server(port, "127.0.0.1")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
