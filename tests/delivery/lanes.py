"""Lanes whose pods come and go under load: nothing lost, done twice by effect, or overtaken.

Called by `delivery.listening` for the world `lanes`. Events of a few keys are stored as by a relay
with several shards, and each lane has a durable consumer as the operator plans it. Pods are
scaled from one to all lanes to fewer and back, replaced one by another, and killed with their hands
full. What they do is rows in a database, in the order in which it was done.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any, Final

import asyncpg

from delivery.audience import Audience
from delivery.verdict import Verdict
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.plan.kubernetes.children import filter_subjects
from outbox_operator.plan.kubernetes.lanes import lanes
from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from outbox_operator.wire.subjects import SubjectTemplate
from support.consuming import Source
from support.nats import unique_prefix
from support.outbox import migrate_inbox
from support.postgres import PostgresServer
from support.waiting import SECONDS, eventually

LANES: Final = 5
"""Unless the run says how many pods there are at most."""
_KEYS_OF_A_SHARD: Final = 2
_BURST_OF_A_KEY: Final = 3
_HANDS_FULL: Final = 10
"""Events of each key of a lane that are stored just before a pod of it is killed."""
_REST_SECONDS: Final = 0.3
_ACK_WAIT_SECONDS: Final = 3.0
_PIN_SECONDS: Final = 1.0
"""Less than that: who takes over is given later events before those that the last one had."""

HANDLERS: Final = """
import asyncio


async def handle(event, context):
    await asyncio.sleep(0.005)
    seen = event.json()
    await context.connection.execute(
        "INSERT INTO effects (id, key, n) VALUES ($1, $2, $3)", event.id, seen["key"], seen["n"]
    )
"""


class Lanes(Audience):
    """A stream of several shards, a durable consumer for each lane, and pods by lane.

    A pod has a number of which the rest by the number of lanes is its lane: one that replaces
    another has the next such number.
    """

    _database: asyncpg.Connection[Any]

    async def set_up(self, postgres: PostgresServer) -> None:
        """Stream, durable consumers, and where effects are written."""
        count = self._settings.replicas if self._settings.replicas > 1 else LANES
        prefix, shards = unique_prefix(), 2 * count
        source = await Source.create(
            self._client, prefix, ordering="PerKey", concurrency=4, ack_wait=_ACK_WAIT_SECONDS,
            max_deliver=3, breaker_failures=0,
        )  # fmt: skip
        url = await asyncio.to_thread(postgres.create_database)
        await migrate_inbox(url)
        self._database = await asyncpg.connect(url)
        await self._database.execute("CREATE TABLE effects (at bigserial, id text, key int, n int)")
        (self._folder / "url").write_text(url)
        (self._folder / "handlers.py").write_text(HANDLERS)
        inbox = InboxConfig(url_file=str(self._folder / "url"))
        if self._random.random() < 0.5:
            inbox = replace(inbox, mode="PerShard")
        self.source = replace(
            source,
            config=replace(source.python("handlers:handle"), inbox=inbox),
        )
        subject = f"{prefix}.evt.{{shard}}.{{event_type}}"
        spec = OutboxPipelineSpec.model_validate(
            {
                "database": {"connectionSecretRef": {"name": "database"}},
                "nats": {"url": "nats://nats:4222"},
                "outbox": {"shards": shards},
                "stream": {"name": prefix, "subject": subject},
                "consumers": [
                    {
                        "name": "billing", "ordering": "PerKey", "lanes": count,
                        "handler": {"http": {"url": "http://billing"}},
                    }
                ],
            }
        )  # fmt: skip
        self._lanes: list[Source] = []
        template = SubjectTemplate.parse(subject)
        for lane in lanes(spec):
            one = replace(
                self.source, config=replace(self.source.config, durable=lane.consumer.name)
            )
            await one.create_durable(
                filter_subjects=filter_subjects(template, lane.consumer, lane.shards),
                priority_policy="pinned_client", priority_groups=["outbox"],
                priority_timeout=int(_PIN_SECONDS * 1e9),
            )  # fmt: skip
            self._lanes.append(one)
        self._shards = shards
        self._written: Counter[int] = Counter()
        self._of_shard: Counter[int] = Counter()
        self._turn = asyncio.Lock()

    def _config(self, number: int) -> ConsumerConfig:
        return self._lanes[number % len(self._lanes)].config

    async def run(self) -> None:
        """Store events all the time, and have pods come and go as long as that takes."""
        until = time.monotonic() + self._settings.seconds
        done, fewer = asyncio.Event(), min(2, len(self._lanes) - 1)
        async with asyncio.TaskGroup() as group:
            storing = group.create_task(self._store_until(done))
            restarting = group.create_task(self._restart())
            while True:
                for count in (1, len(self._lanes), fewer):
                    await self._scale(count)
                    await self._work(count)
                    if count == fewer or self._random.random() < 0.5:
                        await self._kill_one_of(count)
                        await self._work(count)
                await self._replace(self._random.randrange(fewer))
                if time.monotonic() > until:
                    break
            done.set()
            await storing
            await self._scale(len(self._lanes))
            await self._settled()
            restarting.cancel()
        await self._count()

    async def _store_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            for _ in range(_BURST_OF_A_KEY):
                for key in range(self._shards * _KEYS_OF_A_SHARD):
                    await self._store_one(key)
            await asyncio.sleep(_REST_SECONDS)

    def _lane_of(self, key: int) -> int:
        return key % self._shards % len(self._lanes)

    async def _store_one(self, key: int) -> None:
        async with self._turn:  # numbers are in the order of the stream
            shard = key % self._shards
            self._of_shard[shard] += 1
            event = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            await self.source.publish(
                {"key": key, "n": self._written[key]}, id=event, type=f"{shard}.order.created",
                **{
                    "Ce-Partitionkey": f"k{key}", "Outbox-Shard": str(shard),
                    "Outbox-Emission": str(self._of_shard[shard]),
                },
            )  # fmt: skip
            self._written[key] += 1
            self.good.append(event)

    async def _scale(self, count: int) -> None:
        """So many lanes have a pod; pods of the others are asked to stop."""
        running = {number % len(self._lanes): number for number in self._pods}
        for lane in range(len(self._lanes)):
            if lane < count and lane not in running:
                self._pods[lane] = self._pod(lane)
            elif lane >= count and lane in running:
                await self._stop(running[lane])
        self.faults[f"scale-to-{count}"] += 1

    async def _stop(self, number: int) -> None:
        pod = self._pods.pop(number)
        pod.terminate()
        await asyncio.to_thread(pod.wait, SECONDS)

    async def _replace(self, lane: int) -> None:
        """As a roll-out does: the next one is there before the last one stops."""
        await self._stop(await self._second(lane))
        await self._work(lane + 1)
        self.faults["roll-out"] += 1

    async def _kill_one_of(self, count: int) -> None:
        """With its hands full, while another one stands by."""
        lane = self._random.randrange(count)
        number = await self._second(lane)
        for _ in range(_HANDS_FULL):
            for key in range(self._shards * _KEYS_OF_A_SHARD):
                if self._lane_of(key) == lane:
                    await self._store_one(key)
        pod = self._pods.pop(number)
        pod.kill()
        await asyncio.to_thread(pod.wait, SECONDS)
        self.faults["pod-kill"] += 1

    async def _second(self, lane: int) -> int:
        """Another pod of a lane, which stands by; the number of the first."""
        number = next(one for one in self._pods if one % len(self._lanes) == lane)
        self._pods[number + len(self._lanes)] = self._pod(number + len(self._lanes))

        async def waits() -> bool:
            return bool((await self._lanes[lane].info()).num_waiting > 1)

        await eventually(waits, f"a second pod of lane {lane}", pause=0.1)
        return number

    async def _work(self, count: int) -> None:
        """Each of the first lanes has handled something from now on."""
        counted = "SELECT count(*) FROM effects WHERE key % $1 % $2 = $3"
        for lane in range(count):
            which = (self._shards, len(self._lanes), lane)
            before = await self._database.fetchval(counted, *which)

            async def went_on(which: tuple[int, ...] = which, before: int = before) -> bool:
                return bool(await self._database.fetchval(counted, *which) > before)

            await eventually(went_on, f"lane {lane} goes on", pause=0.1)

    async def _settled(self) -> None:
        """Wait as long as anything moves."""
        best, deadline = -1, 0.0
        while True:
            done = await self._database.fetchval("SELECT count(*) FROM effects")
            if done >= len(self.good):
                return
            if done > best:
                best, deadline = done, time.monotonic() + self._settings.patience_seconds
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.1)

    async def _count(self) -> None:
        self._rows = await self._database.fetch("SELECT id, key, n FROM effects ORDER BY at")
        self.handled.update(row["id"] for row in self._rows)

    async def verdict(self) -> Verdict:
        """Each event was handled once, and those of a key in order."""
        verdict = await super().verdict()
        latest: dict[int, int] = defaultdict(lambda: -1)
        for row in self._rows:
            if row["n"] < latest[row["key"]]:
                verdict.add("reordered", f"key {row['key']}: {row['n']} after {latest[row['key']]}")
            latest[row["key"]] = max(latest[row["key"]], row["n"])
        return verdict
