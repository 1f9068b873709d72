"""Runs while brokers crash, hang, elect, or lose the stream: nothing is ever counted too much."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from outbox_operator.adapters.nats.publish_run import Run
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.sink import Fence, RefusalKind, Sent
from support.nats import NatsCluster, NatsServer, connected, unique_prefix
from support.runs import PublishedStream, an_owner, published_stream
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

ACK_SECONDS = 1.0
KINDS = pytest.mark.parametrize(
    "batches", [True, pytest.param(False, marks=pytest.mark.thorough)], ids=["fast", "window"]
)


@pytest.fixture
def own_server() -> Iterator[NatsServer]:
    """A server to be hurt."""
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[NatsCluster]:
    """Three servers; a test may hurt them and leaves them well."""
    with NatsCluster() as servers:
        yield servers


async def feed(stream: PublishedStream, run: Run, *, most: int = 2_000_000) -> int:
    """Send until the run is refused; how many were sent at most."""
    sent = 0
    while not run.refused and sent < most:
        await run.send(stream.messages(1000, first=sent, size=500))
        sent += 1000
    return sent


async def acknowledged(run: Run, count: int) -> None:
    """Wait until so many messages are acknowledged."""
    async with asyncio.timeout(SECONDS):
        while run.acked < count:  # noqa: ASYNC110  # a run tells a callback, which others use
            await asyncio.sleep(0.001)


@KINDS
async def test_a_broker_that_is_killed(own_server: NatsServer, batches: bool) -> None:
    prefix = unique_prefix()
    async with published_stream(own_server, prefix, allow_batched=batches) as stream:
        lost = asyncio.Event()
        stream.publisher.on_lost(lost.set)
        run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
        feeding = asyncio.create_task(feed(stream, run))
        await acknowledged(run, 3000)
        own_server.kill()
        async with asyncio.timeout(SECONDS):
            await feeding
            sent = await run.finish()
            await lost.wait()
        assert sent.refusal is not None
        assert sent.refusal.reason == "ConnectionLost"
    own_server.restart()
    async with published_stream(own_server, prefix, allow_batched=batches) as stream:
        stored = await stream.stored()
        assert stored == list(range(len(stored)))
        assert len(stored) >= sent.count >= 3000
        rest = stream.messages(500, first=len(stored), size=500)
        assert await stream.publish(rest, fence=Fence(f"{prefix}.>", len(stored))) == Sent(
            500, None, len(stored) + 500
        )


@KINDS
async def test_a_broker_that_hangs(own_server: NatsServer, batches: bool) -> None:
    """What waits is bounded, and so is the waiting."""
    async with published_stream(
        own_server, unique_prefix(), ack_seconds=ACK_SECONDS, allow_batched=batches
    ) as stream:
        run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
        feeding = asyncio.create_task(feed(stream, run))
        await acknowledged(run, 1000)
        own_server.pause()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            async with asyncio.timeout(SECONDS):
                handed_over = await feeding
                sent = await run.finish()
        finally:
            own_server.resume()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert sent.refusal is not None
        assert sent.refusal.reason == "AckTimeout"
        assert handed_over - sent.count < 20_000
        assert grown < 50_000, f"{grown} KiB"
        async with asyncio.timeout(SECONDS):
            while len(stored := await stream.stored()) < sent.count:
                pass
        assert stored == list(range(len(stored)))


@KINDS
async def test_a_stream_deleted_in_the_middle(own_server: NatsServer, batches: bool) -> None:
    async with published_stream(
        own_server, unique_prefix(), ack_seconds=ACK_SECONDS, allow_batched=batches
    ) as stream:
        created = (await stream.publisher.facts()).created
        run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
        feeding = asyncio.create_task(feed(stream, run))
        await acknowledged(run, 2000)
        await stream.request("DELETE")
        async with asyncio.timeout(SECONDS):
            await feeding
            sent = await run.finish()
        assert sent.refusal is not None
        await stream.request("CREATE", allow_batched=batches)
        assert (await stream.publisher.facts()).created != created
        assert await stream.stored() == []
        fence = Fence(f"{stream.prefix}.>", 0)
        assert await stream.publish(stream.messages(100), fence=fence) == Sent(100, None, 100)


@KINDS
async def test_a_zombie_behind_a_fence(own_server: NatsServer, batches: bool) -> None:
    """Its first message is refused; of a batch, so is everything behind it."""
    async with published_stream(own_server, unique_prefix(), allow_batched=batches) as stream:
        fence = Fence(f"{stream.prefix}.>", 0)
        assert (await stream.publish(stream.messages(10), fence=fence)).count == 10
        zombie = await Publisher.open(own_server.auth, name="zombie", stream=stream.prefix)
        await zombie.facts()
        run = zombie.open_run(owner=an_owner(), fence=fence, ordered=True)
        await run.send(stream.messages(3000, first=100))
        sent = await run.finish()
        await zombie.close()
        assert sent.count == 0
        assert sent.refusal is not None
        assert sent.refusal.reason == "FenceRefused"
        assert await stream.stored() == list(range(10))


async def test_a_run_nobody_finishes_leaves_nothing_behind(own_server: NatsServer) -> None:
    async with published_stream(own_server, unique_prefix(), allow_batched=True) as stream:
        run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
        await run.send(stream.messages(10))
        del run
        assert (await stream.publish(stream.messages(10, first=10))).count == 10
        assert await stream.stored() == list(range(20))


@KINDS
async def test_three_replicas_keep_the_order(cluster: NatsCluster, batches: bool) -> None:
    async with published_stream(
        cluster, unique_prefix(), allow_batched=batches, num_replicas=3
    ) as stream:
        fence = Fence(f"{stream.prefix}.>", 0)
        sent = await stream.publish(stream.messages(5000), fence=fence)
        assert sent == Sent(5000, None, 5000)
        stale = await stream.publish(stream.messages(100, first=9000), fence=fence)
        assert stale.count == 0
        assert stale.refusal is not None
        again = await stream.publish(stream.messages(300), ordered=False)
        assert (again.count, again.refusal) == (300, None)
        assert await stream.stored() == list(range(5000))


@KINDS
async def test_three_replicas_survive_refusals(cluster: NatsCluster, batches: bool) -> None:
    """Some refused messages stop a replicated stream for good; ours must not be among them."""
    limits: dict[str, Any] = {"max_msgs": 300, "discard": "new", "max_msg_size": 1000}
    async with published_stream(
        cluster, unique_prefix(), allow_batched=batches, num_replicas=3, **limits
    ) as stream:
        poison = [*stream.messages(50), *stream.messages(1, first=50, size=2000)]
        sent = await stream.publish([*poison, *stream.messages(50, first=51)])
        assert sent.count == 50
        assert sent.refusal is not None
        assert sent.refusal.kind is RefusalKind.TOO_LARGE
        full = await stream.publish(stream.messages(1000, first=50))
        assert full.count == 250
        assert full.refusal is not None
        assert "error 10077" in full.refusal.text
        assert await stream.stored() == list(range(300))
        await stream.request("PURGE")
        assert (await stream.publish(stream.messages(200, first=300))).count == 200
        assert await stream.stored() == list(range(300, 500))


@KINDS
@pytest.mark.parametrize("how", ["step down", "kill"])
async def test_a_change_of_leader(cluster: NatsCluster, batches: bool, how: str) -> None:
    async with published_stream(
        cluster, unique_prefix(), ack_seconds=3, allow_batched=batches, num_replicas=3
    ) as stream:
        done, killed = 0, None
        async with connected(cluster) as client:
            run = stream.publisher.open_run(
                owner=an_owner(), fence=Fence(f"{stream.prefix}.>", 0), ordered=True
            )
            # Windows have one message in flight here, so they are slow.
            most = 200_000 if batches else 5000
            feeding = asyncio.create_task(feed(stream, run, most=most))
            await acknowledged(run, 2000)
            if how == "kill":
                killed = await cluster.leader(client, stream.prefix)
                killed.kill()
            else:
                await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream.prefix}", b"")
            async with asyncio.timeout(3 * SECONDS):
                await feeding
                sent = await run.finish()
            done = sent.count
            await cluster.leader(client, stream.prefix)
    if killed is not None:
        killed.restart()
        cluster.wait_healthy()
    async with published_stream(
        cluster, stream.prefix, allow_batched=batches, num_replicas=3
    ) as stream:
        stored = await stream.stored()
        assert stored == list(range(len(stored)))
        assert len(stored) >= done >= 2000
        last = await stream.publisher.last_of(f"{stream.prefix}.>")
        assert last is not None
        fence = Fence(f"{stream.prefix}.>", last.sequence)
        rest = stream.messages(100, first=len(stored))
        assert (await stream.publish(rest, fence=fence)).count == 100
