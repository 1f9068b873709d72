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

_DEADLINE_SECONDS = 120.0
_INSERT = "INSERT INTO outbox.events (event_type, partition_key, payload) VALUES ($1, $2, $3)"
_PAD = "x" * 470


async def write(task: dict[str, Any]) -> None:
    """Commit events at a steady rate, each a transaction; times in nanoseconds."""
    connection = await asyncpg.connect(task["database"])
    client = await nats.connect(task["nats"])
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
            await client.publish(task["nudge"])
        if task["publish"]:
            await client.publish(
                task["publish"], payload.encode(), headers={"Nats-Msg-Id": str(number)}
            )
        times.append((number, sent, done))
    await client.close()
    await connection.close()
    print(json.dumps(times))


async def consume(task: dict[str, Any]) -> None:
    """Note when each event arrives, in nanoseconds."""
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
    async with asyncio.timeout(_DEADLINE_SECONDS + task["events"] / task["rate"]):
        await everything.wait()
    await client.close()
    print(json.dumps([(json.loads(data)["n"], at) for at, data in arrived]))


if __name__ == "__main__":
    uvloop.run({"writer": write, "consumer": consume}[sys.argv[1]](json.loads(sys.argv[2])))
