"""`outbox consume` on Redis as processes: killed, frozen, stopped, started by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from outbox_operator.wire.config import InboxConfig
from support.consuming import consumer_process
from support.outbox import migrate_inbox
from support.ports import free_port
from support.redis import RedisServer
from support.redis_consuming import RedisSource
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

HANDLERS = """
import asyncio
import os
import pathlib

async def hang_in_the_first(event, context):
    await context.connection.execute("INSERT INTO effects VALUES ($1, $2)", event.id, os.getpid())
    if os.environ.get("HANGS"):
        pathlib.Path("started").touch()
        await asyncio.sleep(600)

async def finish(event, context):
    pathlib.Path(f"started-{event.id}").touch()
    while not pathlib.Path("finish").exists():
        await asyncio.sleep(0.01)
    with open("finished", "a") as file:
        file.write(f"{event.id}\\n")
"""


async def test_what_one_of_two_had_the_other_handles_and_each_takes_effect_once(
    redis_server: RedisServer, database: str, tmp_path: Path
) -> None:
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (event_id text, pid int)")
    (tmp_path / "url").write_text(database)
    source = await RedisSource.create(redis_server, ack_wait=2.0, concurrency=2)
    config = replace(
        source.python("handlers:hang_in_the_first"),
        inbox=InboxConfig(url_file=str(tmp_path / "url")),
    )
    ids = [await source.publish() for _ in range(2)]
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    other = replace(config, health_port=free_port())
    with consumer_process(config, first, HANDLERS, HANGS="yes") as gone:
        await eventually((first / "started").exists, "handler started")
        await eventually(lambda: _pending(source), "both are given out")
        gone.kill()
        with consumer_process(other, second, HANDLERS) as left:
            ids += [await source.publish() for _ in range(10)]
            await source.settled()
            effects = await owner.fetch("SELECT event_id, pid FROM effects")
            assert sorted(row["event_id"] for row in effects) == sorted(ids)
            assert {row["pid"] for row in effects} == {left.pid}
    await owner.close()


async def _pending(source: RedisSource) -> bool:
    return await source.pending() == 2


async def test_by_hand_a_wrong_group_is_told_those_that_are_there(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    source = await RedisSource.create(redis_server)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", "consume", "handlers:finish",
        "--redis", redis_server.url, "--stream", source.config.stream, "--durable", "bill",
        cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert consumer.stderr is not None
    said = f"; groups of key {source.config.stream}: billing"
    try:
        async with asyncio.timeout(SECONDS):
            while said not in (line := (await consumer.stderr.readline()).decode()):
                assert line, "it ended"
    finally:
        consumer.terminate()
        await asyncio.wait_for(consumer.communicate(), SECONDS)


async def test_started_by_hand_it_drains_and_takes_its_name_out_of_the_group(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    source = await RedisSource.create(redis_server, shards=2)
    ids = [await source.publish(shard=number % 2) for number in range(4)]
    (tmp_path / "handlers.py").write_text(HANDLERS)
    consumer = subprocess.Popen(  # noqa: ASYNC220
        [
            sys.executable, "-m", "outbox_operator.cli.main", "consume", "handlers:finish",
            "--redis", redis_server.url, "--stream", source.config.stream, "--durable", "billing",
        ],
        cwd=tmp_path,
        env={**os.environ, "OUTBOX_KEYS": " ".join(source.keys)},
    )  # fmt: skip
    try:
        begun = [tmp_path / f"started-{event_id}" for event_id in ids]
        await eventually(lambda: all(each.exists() for each in begun), "all are being handled")
        assert len(await source.readers()) == 1
        consumer.send_signal(signal.SIGTERM)
        (tmp_path / "finish").touch()
    finally:
        consumer.terminate()
        consumer.wait(SECONDS)
    assert consumer.returncode == 0
    assert sorted((tmp_path / "finished").read_text().split()) == sorted(ids)
    await source.settled()
    assert await source.readers() == []
