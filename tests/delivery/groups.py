"""Consumer groups of Redis whose pods and server die: nothing lost, nothing done twice by effect.

Called by `delivery.listening` for the world `groups`. Events of two shards are stored as a relay
stores them, by id, so that a write whose answer was lost is stored once. Pods are killed, stopped
and frozen for longer than `ackWait`; the server is killed. What handlers do is rows in a database,
written with the inbox; what is refused has to be a dead letter, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import asyncpg
from redis.exceptions import RedisError, ResponseError

from delivery.audience import GUILTY, Audience
from delivery.verdict import Verdict
from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from support.outbox import migrate_inbox
from support.postgres import PostgresServer
from support.redis import RedisServer, redis_client
from support.redis_consuming import GROUP, RedisSource
from support.starter import Started
from support.waiting import eventually

_SHARDS: Final = 2
_BURST: Final = 20
_LEAST: Final = 100
_REST_SECONDS: Final = 0.2
_ACK_WAIT_SECONDS: Final = 2.0
_SERVER_AWAY_SECONDS: Final = 0.5
_START_SECONDS: Final = 120.0

HANDLERS: Final = """
import asyncio

from outbox_operator.consumer import DeadLetter, RetryAfter


async def handle(event, context):
    if event.type == "guilty":
        return DeadLetter("not for us")
    if context.deliveries == 1 and event.json()["n"] % 17 == 0:
        return RetryAfter(reason="not at first")
    await context.connection.execute("INSERT INTO effects VALUES ($1)", event.id)
    await asyncio.sleep(0.005)
    return None
"""


class Groups(Audience):
    """A group over the streams of two shards, on a server of its own, and pods that read it."""

    _database: asyncpg.Connection[Any]

    async def set_up(self, postgres: PostgresServer) -> None:
        """Streams, group, and where effects are written."""
        self._redis = RedisServer().start()
        self._group = await RedisSource.create(
            self._redis, shards=_SHARDS, ack_wait=_ACK_WAIT_SECONDS, max_deliver=20,
            breaker_failures=0, concurrency=8,
        )  # fmt: skip
        url = await asyncio.to_thread(postgres.create_database)
        await migrate_inbox(url)
        self._database = await asyncpg.connect(url)
        await self._database.execute("CREATE TABLE effects (id text)")
        (self._folder / "url").write_text(url)
        (self._folder / "handlers.py").write_text(HANDLERS)
        inbox = InboxConfig(url_file=str(self._folder / "url"))
        self._told = replace(self._group.python("handlers:handle"), inbox=inbox)
        self._written: Counter[int] = Counter()
        self._turn = asyncio.Lock()

    def _config(self, _number: int) -> ConsumerConfig:
        return self._told

    async def run(self) -> None:
        """Store events for a while, have them handled, and break what can be broken."""
        settings = self._settings
        for number in range(max(2, settings.replicas)):
            self._pods[number] = self._pod(number)
        until = time.monotonic() + settings.seconds
        async with asyncio.TaskGroup() as group:
            restarting = group.create_task(self._restart())
            breaking = group.create_task(self._break(until))
            while time.monotonic() < until or len(self.good) < _LEAST:
                await self._store_some(_BURST)
                await asyncio.sleep(_REST_SECONDS / settings.pace)
            await breaking
            await self._settled()
            restarting.cancel()
        found = await self._database.fetch("SELECT id FROM effects")
        self.handled.update(record["id"] for record in found)

    async def _store_some(self, count: int) -> None:
        async with self._turn:  # ids are in the order of the stream
            for _ in range(count):
                await self._store_one()

    async def _store_one(self) -> None:
        draw = self._random
        shard = draw.randrange(_SHARDS)
        self._written[shard] += 1
        number = self._written[shard]
        kind = GUILTY if draw.random() < 0.02 else "good"
        event = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        fields: dict[Any, Any] = {
            "Ce-Id": event, "Ce-Type": kind, "Ce-Source": "/shop/identity",
            "Outbox-Shard": str(shard), "Ce-Partitionkey": f"k{draw.randrange(9)}",
            "Outbox-Data": f'{{"n": {number}}}',
        }  # fmt: skip
        while True:
            try:
                async with redis_client(self._redis) as client:
                    await client.xadd(self._group.keys[shard], fields, id=f"{number}-0")
            except ResponseError:  # the id is not above the last: the lost answer was a yes
                break
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
            else:
                break
        (self.guilty if kind == GUILTY else self.good).append(event)

    async def _kill(self, pod: Started) -> None:
        """With its hands full."""
        storing = asyncio.create_task(self._store_some(2 * _BURST))
        await self._has_some()
        pod.kill()
        await storing

    async def _kill_all(self) -> None:
        """As a node takes its pods with it; what they have in hand is certain to be left."""
        while True:
            storing = asyncio.create_task(self._store_some(2 * _BURST))
            await self._has_some()
            pods = list(self._pods.values())
            for pod in pods:
                pod.send_signal(signal.SIGSTOP)
            # Twice: the first answer may come before what they had sent is dealt with.
            left = await self._group.pending() and await self._group.pending()
            for pod in pods:
                pod.send_signal(signal.SIGKILL if left else signal.SIGCONT)
            await storing
            if left:
                return

    async def _has_some(self) -> None:
        """Wait until something is given out, for a moment."""
        until = time.monotonic() + _ACK_WAIT_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(RedisError, OSError):
                if await self._group.pending():
                    return

    async def _break(self, until: float) -> None:
        draw, pace = self._random, self._settings.pace
        for number in sorted(self._pods)[:1]:
            await self._ready()
            await self._kill(self._pods[number])
            self.faults["pod-kill"] += 1
        await self._kill_all()
        self.faults["node-kill"] += 1
        while (wait := draw.expovariate(pace / 4)) < until - time.monotonic():
            await asyncio.sleep(wait)
            pod = self._pods[draw.choice(sorted(self._pods))]
            what = draw.choice(
                ("pod-kill", "pod-kill", "pod-terminate", "pod-freeze", "redis-kill")
            )
            self.faults[what] += 1
            match what:
                case "pod-kill":
                    await self._kill(pod)
                case "pod-terminate":
                    pod.terminate()
                case "pod-freeze":
                    pod.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(_ACK_WAIT_SECONDS * draw.uniform(0.5, 2.0))
                    pod.send_signal(signal.SIGCONT)
                case _:
                    self._redis.kill()
                    await asyncio.sleep(_SERVER_AWAY_SECONDS * draw.random())
                    await asyncio.to_thread(self._redis.start)

    async def _ready(self) -> None:
        """Wait until pods read."""

        async def reads() -> bool:
            with contextlib.suppress(RedisError, OSError):
                return len(await self._group.readers()) > 1
            return False

        await eventually(reads, "pods read")

    async def _progress(self) -> tuple[int, bool]:
        """How many entries are given out and acknowledged, and whether that is all."""
        done, left = 0, 0
        async with redis_client(self._redis) as client:
            for shard, key in enumerate(self._group.keys):
                (group,) = await client.xinfo_groups(key)
                delivered = int(group["last-delivered-id"].partition("-")[0])
                done += delivered - group["pending"]
                left += group["pending"] + self._written[shard] - delivered
        return done, left == 0

    async def _settled(self) -> None:
        best, patience = -1, self._settings.patience_seconds
        # Pods that were killed last have to begin first.
        deadline = time.monotonic() + (patience if self._settings.plant else _START_SECONDS)
        while time.monotonic() < deadline:
            with contextlib.suppress(RedisError, OSError):
                done, over = await self._progress()
                if over:
                    return
                if done > best:
                    best, deadline = done, max(deadline, time.monotonic() + patience)
            await asyncio.sleep(0.1)

    async def verdict(self) -> Verdict:
        """Every event took effect once, or is a dead letter once, for a reason."""
        verdict = Verdict()
        letters = Counter(each["Ce-Id"] for each in await self._group.letters())
        for event in self.good:
            if letters[event]:
                verdict.add("buried", f"event {event}: nothing was wrong with it")
            if not self.handled[event]:
                verdict.add("lost", f"event {event}: no effect")
            elif self.handled[event] > 1:
                verdict.add("duplicate", f"event {event}: {self.handled[event]} effects")
        for event in self.guilty:
            if not letters[event]:
                verdict.add("lost", f"event {event}: should be a dead letter, and is none")
            elif letters[event] > 1:
                verdict.add("duplicate", f"event {event}: {letters[event]} dead letters")
        done, over = await self._progress()
        if not over and verdict.clean:
            verdict.add("lost", f"group {GROUP}: after {done} some are still not acknowledged")
        return verdict

    async def close(self) -> None:
        """End the pods and the server."""
        await super().close()
        self._redis.close()
