"""Writer and consumer of the latency measurement, as programs: see `bench.latency`.

    python -m bench.latency_programs writer|consumer TASK

Both print one JSON list at their end; the consumer a line before, once it listens.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import asyncpg
import nats
import uvloop
from nats.js.api import DeliverPolicy
from redis.asyncio import Redis

_DEADLINE_SECONDS = 120.0
_INSERT = "INSERT INTO outbox.events (event_type, partition_key, payload) VALUES ($1, $2, $3)"
_PAD = "x" * 470


async def write(task: dict[str, Any]) -> None:
    """Commit events at a steady rate, each a transaction; times in nanoseconds."""
    connection = await asyncpg.connect(task["database"])
    client = await _writing(task)
    insert = await connection.prepare(_INSERT)
    dice = random.Random(1)
    times = []
    start = time.monotonic()
    for number in range(task["events"]):
        # Not in step with anything else that ticks.
        due = start + (number + dice.random()) / task["rate"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        payload = json.dumps({"n": number, "pad": _PAD})
        sent = time.monotonic_ns()
        await insert.fetch("order.created", f"customer-{number % 1000}", payload)
        done = time.monotonic_ns()
        if task["nudge"]:
            await client.nudge(task["nudge"])
        if task["publish"]:
            await client.publish(number, payload.encode())
        times.append((number, sent, done))
    await client.close()
    await connection.close()
    print(json.dumps(times))


class _Nats:
    """What a writer does with NATS."""

    def __init__(self, client: Any, subject: str) -> None:
        self._client = client
        self._subject = subject

    async def nudge(self, subject: str) -> None:
        await self._client.publish(subject)

    async def publish(self, number: int, payload: bytes) -> None:
        headers = {"Nats-Msg-Id": str(number)}
        await self._client.publish(self._subject, payload, headers=headers)

    async def close(self) -> None:
        await self._client.close()


class _Redis:
    """The same with Redis."""

    def __init__(self, port: int, key: str, data: str) -> None:
        self._client = Redis(host="127.0.0.1", port=port)
        self._key = key
        self._data = data

    async def nudge(self, channel: str) -> None:
        await self._client.publish(channel, b"")

    async def publish(self, number: int, payload: bytes) -> None:
        await self._client.xadd(self._key, {self._data: payload})

    async def close(self) -> None:
        await self._client.aclose()


async def _writing(task: dict[str, Any]) -> _Nats | _Redis:
    if "redis" in task:
        return _Redis(task["redis"], task["stream"], task["data"])
    return _Nats(await nats.connect(task["nats"]), task["publish"])


async def consume(task: dict[str, Any]) -> None:
    """Note when each event arrives, in nanoseconds."""
    async with asyncio.timeout(_DEADLINE_SECONDS + task["events"] / task["rate"]):
        arrived = await (_of_redis(task) if "redis" in task else _of_nats(task))
    print(json.dumps([(json.loads(data)["n"], at) for at, data in arrived]))


async def _of_redis(task: dict[str, Any]) -> list[tuple[int, bytes]]:
    arrived: list[tuple[int, bytes]] = []
    data = task["data"].encode()
    async with Redis(host="127.0.0.1", port=task["redis"]) as client:
        last: bytes | str = "0-0"
        print("listening", flush=True)
        while len(arrived) < task["events"]:
            found: Any = await client.xread({task["stream"]: last}, block=1000)
            at = time.monotonic_ns()
            for _, entries in found:
                arrived += [(at, fields[data]) for _, fields in entries]
                last = entries[-1][0]
    return arrived


async def _of_nats(task: dict[str, Any]) -> list[tuple[int, bytes]]:
    client = await nats.connect(task["nats"])
    arrived: list[tuple[int, bytes]] = []
    everything = asyncio.Event()

    async def take(message: Any) -> None:
        arrived.append((time.monotonic_ns(), message.data))
        if len(arrived) == task["events"]:
            everything.set()

    await client.jetstream().subscribe(
        f"{task['stream']}.>",
        stream=task["stream"],
        cb=take,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.ALL,
    )
    print("listening", flush=True)
    await everything.wait()
    await client.close()
    return arrived


if __name__ == "__main__":
    uvloop.run({"writer": write, "consumer": consume}[sys.argv[1]](json.loads(sys.argv[2])))
