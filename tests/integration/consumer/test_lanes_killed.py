"""Lanes while their pods are killed: nothing lost, done twice by effect, or overtaken within a key.

`LANES` and `LANES_SECONDS` make it longer, as in `LANES=5 LANES_SECONDS=180`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.wire.config import InboxConfig
from support.consuming import Source, consumer_process
from support.outbox import migrate_inbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

LANES = int(os.environ.get("LANES", "3"))
ROUND_SECONDS = float(os.environ.get("LANES_SECONDS", "0"))
KEYS_OF_A_LANE = 4

HANDLERS = """
import asyncio

async def handle(event, context):
    await asyncio.sleep(0.005)
    seen = event.json()
    await context.connection.execute(
        "INSERT INTO effects (key, n) VALUES ($1, $2)", seen["key"], seen["n"]
    )
"""


class Pods:
    """One process a lane, as the operator makes them of `lanes`; each in a folder of its own."""

    def __init__(self, sources: Sequence[Source], folder: Path, stack: ExitStack) -> None:
        self._sources = sources
        self._folder = folder
        self._stack = stack
        self._running: dict[int, subprocess.Popen[str]] = {}

    def start(self, *lanes: int) -> None:
        """Those that do not run."""
        for lane in lanes:
            if lane in self._running:
                continue
            folder = self._folder / f"lane-{lane}"
            folder.mkdir(exist_ok=True)
            config = replace(
                self._sources[lane].python("handlers:handle"),
                inbox=InboxConfig(url_file=str(self._folder / "url")),
                health_port=0,
            )
            self._running[lane] = self._stack.enter_context(
                consumer_process(config, folder, HANDLERS)
            )

    def kill(self, *lanes: int) -> None:
        """With SIGKILL."""
        for lane in lanes:
            process = self._running.pop(lane)
            process.kill()
            process.wait(SECONDS)

    def stop(self, *lanes: int) -> None:
        """With SIGTERM, as a Deployment that is scaled down."""
        for lane in lanes:
            process = self._running.pop(lane)
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


async def test_pods_of_lanes_are_killed_under_load(
    client: Client, stream_prefix: str, database: str, tmp_path: Path
) -> None:
    """From one pod to all to two, with a pod killed at each step."""
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (at bigserial, key int, n int)")
    (tmp_path / "url").write_text(database)
    source = await Source.create(
        client, stream_prefix, ordering="PerKey", concurrency=4, ack_wait=1.0
    )
    lanes = []
    for number in range(LANES):
        one = replace(source, config=replace(source.config, durable=f"lane-{number}"))
        await one.create_durable(
            filter_subject=f"{stream_prefix}.evt.{number}.>",
            priority_policy="pinned_client", priority_groups=["outbox"],
            priority_timeout=1_000_000_000,
        )  # fmt: skip
        lanes.append(one)
    written: dict[int, int] = defaultdict(int)
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            for key in range(LANES * KEYS_OF_A_LANE):
                await source.publish(
                    {"key": key, "n": written[key]},
                    type=f"{key % LANES}.order.created",
                    **{"Ce-Partitionkey": f"key-{key}"},
                )
                written[key] += 1
            await asyncio.sleep(0.05)

    async def more(*wanted: int) -> None:
        """Each of these lanes has done something since now."""
        counted = "SELECT count(*) FROM effects WHERE key % $1 = $2"
        for lane in wanted:
            before = await owner.fetchval(counted, LANES, lane)

            async def went_on(lane: int = lane, before: int = before) -> bool:
                return bool(await owner.fetchval(counted, LANES, lane) >= before + 8)

            await eventually(went_on, f"lane {lane} goes on", pause=0.1)

    everyone = range(LANES)
    with ExitStack() as stack:
        pods = Pods(lanes, tmp_path, stack)
        writing = asyncio.create_task(write())
        end = asyncio.get_running_loop().time() + ROUND_SECONDS
        while True:
            pods.start(0)
            await more(0)
            pods.start(*everyone)
            await more(*everyone)
            victim = random.choice(everyone)
            pods.kill(victim)
            pods.start(victim)
            await more(victim)
            pods.stop(*everyone[2:])
            pods.kill(1)
            pods.start(1)
            await more(0, 1)
            if asyncio.get_running_loop().time() >= end:
                break
        done.set()
        await writing
        pods.start(*everyone)
        total = sum(written.values())

        async def all_done() -> bool:
            return bool(await owner.fetchval("SELECT count(*) FROM effects") >= total)

        await eventually(all_done, "all are handled", pause=0.1)
        pods.stop(*everyone)
    rows = await owner.fetch("SELECT key, n FROM effects ORDER BY at")
    await owner.close()
    by_key: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_key[row["key"]].append(row["n"])
    assert by_key == {key: list(range(count)) for key, count in written.items()}
