"""`outbox consume` as a process: killed, stopped, misconfigured."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from support.consuming import Source, consumer_process
from support.nats import NatsServer, connected
from support.outbox import migrate_inbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

HANDLERS = """
import asyncio
import os
import pathlib
import time

def stick(event, context):
    pathlib.Path("started").touch()
    time.sleep(600)

async def hang_once(event, context):
    await context.connection.execute("INSERT INTO effects VALUES ($1)", event.id)
    marker = pathlib.Path("started")
    if not marker.exists():
        marker.touch()
        await asyncio.sleep(600)

async def clings(event, context):
    pathlib.Path("started").touch()
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

from dataclasses import dataclass
from outbox_operator.consumer import Handlers

app = Handlers()

@dataclass
class Order:
    total: int

@app.on_startup
def note_start():
    pathlib.Path("by-hand").write_text("started ")

@app.handler("order.*")
async def note(order: Order):
    with open("by-hand", "a") as file:
        file.write(f"{order.total} ")

@app.on_shutdown
def note_stop():
    with open("by-hand", "a") as file:
        file.write("stopped")

async def finish(event, context):
    pathlib.Path("started").touch()
    while not pathlib.Path("finish").exists():
        await asyncio.sleep(0.01)
    pathlib.Path("finished").touch()
"""


def process(config: ConsumerConfig, folder: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """A consumer process whose working directory holds the handlers."""
    return consumer_process(config, folder, HANDLERS)


async def test_killed_in_the_middle_the_event_takes_effect_once(
    client: Client, stream_prefix: str, database: str, tmp_path: Path
) -> None:
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (event_id text)")
    (tmp_path / "url").write_text(database)
    source = await Source.create(client, stream_prefix, ack_wait=1.0)
    config = replace(
        source.python("handlers:hang_once"),
        inbox=InboxConfig(url_file=str(tmp_path / "url")),
    )
    event_id = await source.publish()
    with process(config, tmp_path) as consumer:
        await eventually((tmp_path / "started").exists, "handler started")
        consumer.kill()
        consumer.wait(SECONDS)
    with process(config, tmp_path):
        await source.settled(1)
    effects = [row["event_id"] for row in await owner.fetch("SELECT event_id FROM effects")]
    await owner.close()
    assert effects == [event_id]


async def test_sigterm_drains_and_exits_with_0(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish()
    with process(source.python("handlers:finish"), tmp_path) as consumer:
        await eventually((tmp_path / "started").exists, "handler started")
        consumer.send_signal(signal.SIGTERM)
        (tmp_path / "finish").touch()
        _, logs = consumer.communicate(timeout=SECONDS)
    assert consumer.returncode == 0
    assert (tmp_path / "finished").exists()
    await source.settled(1)
    lines = [json.loads(line) for line in logs.splitlines()]
    assert lines[-1]["message"] == "stopped"
    assert {line["role"] for line in lines} == {"consumer"}
    assert not any("handled" in line["message"] for line in lines), "a pod has metrics for that"


async def test_a_stuck_thread_does_not_keep_the_process_from_ending(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish()
    config = replace(source.python("handlers:stick"), drain_seconds=0.5)
    with process(config, tmp_path) as consumer:
        await eventually((tmp_path / "started").exists, "handler started")
        consumer.send_signal(signal.SIGTERM)
        consumer.communicate(timeout=SECONDS)
    assert consumer.returncode == 0

    async def given_back() -> bool:
        return bool((await source.info()).num_redelivered or (await source.info()).num_ack_pending)

    await eventually(given_back, "the event stays")


async def test_a_handler_that_swallows_its_cancellation_does_not_keep_it_from_ending_either(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish()
    config = replace(source.python("handlers:clings"), drain_seconds=0.1)
    with process(config, tmp_path) as consumer:
        await eventually((tmp_path / "started").exists, "handler started")
        consumer.send_signal(signal.SIGTERM)
        _, logs = consumer.communicate(timeout=SECONDS)
    assert consumer.returncode == 1
    said = [json.loads(line)["message"] for line in logs.splitlines()]
    named = [text for text in said if "clings (" in text]
    assert named
    assert named[-1].startswith("a handler goes on although it was cancelled twice")


async def test_a_handler_that_cannot_be_loaded_ends_the_process_with_2(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    with process(source.python("handlers:absent"), tmp_path) as consumer:
        _, logs = consumer.communicate(timeout=SECONDS)
    assert consumer.returncode == 2
    assert "module handlers has no 'absent'" in logs


async def test_runs_the_same_by_hand(client: Client, stream_prefix: str, tmp_path: Path) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish({"total": 3})
    (tmp_path / "handlers.py").write_text(HANDLERS)
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", "consume", "handlers:app",
        "--nats", source.config.jetstream.url, "--stream", stream_prefix, "--ordering", "PerKey",
        cwd=tmp_path, env={**os.environ, "OUTBOX_CONSUMER": source.config.durable},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert consumer.stderr is not None
    said = list[str]()
    try:
        async with asyncio.timeout(SECONDS):  # the first of a type is said at once
            while not (said and said[-1].startswith("handled: 1 event (")):
                said.append(json.loads(await consumer.stderr.readline())["message"])
    finally:
        consumer.terminate()
        _, rest = await asyncio.wait_for(consumer.communicate(), SECONDS)
    assert consumer.returncode == 0
    assert (tmp_path / "by-hand").read_text() == "started 3 stopped"
    assert json.loads(rest.splitlines()[-1])["message"] == f"since the start: {said[-1]}"


@pytest.mark.parametrize("wrong", ["durable", "durable of many", "stream"])
async def test_by_hand_a_wrong_name_is_told_those_that_are_there(
    client: Client, stream_prefix: str, tmp_path: Path, wrong: str
) -> None:
    source = await Source.create(client, stream_prefix)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    stream, durable = stream_prefix, source.config.durable
    said = f"; durable consumers of {stream}: {durable}"
    if wrong == "stream":
        said, stream = f"; streams: {stream}", f"{stream}_"
    if wrong == "durable of many":  # the server tells 1024 at once, in the order of names
        stream = f"{stream_prefix}-many"
        await client.jetstream().add_stream(
            name=stream, subjects=[f"{stream}.>"], max_consumers=2000
        )
        many = dataclasses.replace(source, prefix=stream)
        for first in range(0, 1100, 100):
            names = [f"a-{number:04}" for number in range(first, first + 100)]
            await asyncio.gather(*(many.create_durable(durable_name=name) for name in names))
        await many.create_durable()
        said = f"; durable consumers of {stream}: {durable}"
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", "consume", "handlers:app",
        "--nats", source.config.jetstream.url, "--stream", stream,
        "--durable", durable if wrong == "stream" else f"orders-{durable}",
        cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert consumer.stderr is not None
    try:
        async with asyncio.timeout(SECONDS):
            while said not in (line := (await consumer.stderr.readline()).decode()):
                assert line, "it ended"
    finally:
        consumer.terminate()
        await asyncio.wait_for(consumer.communicate(), SECONDS)
    assert "does not exist" in line


async def test_stops_in_good_order_while_nats_is_away(tmp_path: Path) -> None:
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T")
            await source.publish()
            with process(source.python("handlers:finish"), tmp_path) as consumer:
                await eventually((tmp_path / "started").exists, "handler started")
                server.kill()
                (tmp_path / "finish").touch()
                await eventually((tmp_path / "finished").exists, "handler ended")
                consumer.terminate()
                assert await asyncio.to_thread(consumer.wait, SECONDS) == 0
