"""From a committed row to a handler's own table, with both processes killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

import asyncpg
import pytest
from nats.js.api import AckPolicy
from nats.js.api import ConsumerConfig as DurableConfig

from outbox_operator.wire.config import (
    ConsumerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    encode,
)
from support.nats import NatsServer, connected
from support.outbox import migrate_inbox
from support.relaying import Outbox, an_outbox, check_delivery, per_key
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration
log = logging.getLogger(__name__)

HANDLER = """
async def handle(event, context):
    await context.connection.execute(
        "INSERT INTO handled (event_id, number) VALUES ($1, $2)", event.id, event.json()
    )
"""
WRITERS = 4
KILLS = 6
ACK_WAIT_SECONDS = 2.0


class ConsumerProcess:
    """`outbox consume` with the handler above, killed and started again at will."""

    def __init__(self, outbox: Outbox) -> None:
        self._folder = outbox.directory / "consumer"
        self._folder.mkdir()
        (self._folder / "shop.py").write_text(HANDLER)
        (self._folder / "url").write_text(outbox.url)
        self._config = self._folder / "config.json"
        config = ConsumerConfig(
            namespace="shop",
            consumer="billing",
            nats=NatsConfig(url=outbox.nats.auth.url),
            stream=outbox.prefix,
            durable="billing",
            python=PythonHandlerConfig(module="shop:handle"),
            inbox=InboxConfig(url_file=str(self._folder / "url")),
            ack_wait_seconds=ACK_WAIT_SECONDS,
            max_deliver=-1,
            health_port=0,
        )
        self._config.write_text(encode(config))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything it ever logged."""
        return (self._folder / "log").read_text()

    def start(self) -> Self:
        """Start (again)."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "outbox_operator.cli.main", "consume"],
                cwd=self._folder,
                env={**os.environ, "OUTBOX_CONFIG": str(self._config)},
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)


@contextlib.contextmanager
def consumer_of(outbox: Outbox) -> Iterator[ConsumerProcess]:
    consumer = ConsumerProcess(outbox)
    try:
        yield consumer.start()
    finally:
        consumer.kill()


async def create_durable(outbox: Outbox) -> None:
    """The durable consumer, as the operator makes it."""
    async with connected(outbox.nats) as client:
        await client.jetstream().add_consumer(
            outbox.prefix,
            DurableConfig(
                durable_name="billing",
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliver=-1,
            ),
        )


async def write(outbox: Outbox, key: str, done: asyncio.Event, draw: random.Random) -> None:
    """Transactions of one aggregate: some of several events, some undone whole or in part."""
    number = 0
    async with outbox.session() as connection:
        while not done.is_set():
            transaction = connection.transaction()
            await transaction.start()
            for _ in range(draw.randint(1, 3)):
                await outbox.add(key, value=number, on=connection)
                number += 1
            if draw.random() < 0.3:
                with contextlib.suppress(ZeroDivisionError):
                    async with connection.transaction():
                        await outbox.add(key, value=number, on=connection)
                        number += 1
                        raise ZeroDivisionError  # to the savepoint
            await (transaction.rollback() if draw.random() < 0.2 else transaction.commit())
            await asyncio.sleep(0.003)


@contextlib.asynccontextmanager
async def writing(outbox: Outbox, draw: random.Random) -> AsyncIterator[None]:
    done = asyncio.Event()
    writers = [
        asyncio.create_task(write(outbox, f"k{n}", done, random.Random(draw.random())))
        for n in range(WRITERS)
    ]
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(*writers)


async def test_every_committed_event_takes_effect_once_whatever_is_killed(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    log.info("seed %d", seed)
    draw = random.Random(seed)
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        await migrate_inbox(database)
        # No unique key: an event handled twice would be seen.
        await outbox.connection.execute("CREATE TABLE handled (event_id text, number integer)")
        await create_durable(outbox)
        relay = outbox.relay(publish_window=64).start()
        with consumer_of(outbox) as consumer:
            async with writing(outbox, draw):
                for victim in [*draw.choices((relay, consumer), k=KILLS - 2), relay, consumer]:
                    goal = await handled(outbox.connection) + draw.randint(20, 200)

                    async def goes_on(goal: int = goal) -> bool:
                        return await handled(outbox.connection) >= goal

                    await eventually(goes_on, f"{goal} events handled", relay=relay)
                    victim.kill()
                    victim.start()
            committed = await outbox.event_ids()

            async def all_handled() -> bool:
                return await handled(outbox.connection) >= len(committed)

            await eventually(all_handled, f"{len(committed)} events handled", relay=relay)
            await outbox.idle(relay)
            stored = await outbox.stored(len(committed))
            rows = await outbox.connection.fetch("SELECT event_id FROM handled")
            inbox = await outbox.connection.fetch("SELECT event_id FROM outbox.consumer_inbox")
    check_delivery(stored, committed)
    for key, messages in per_key(stored):
        numbers = [json.loads(message.data) for message in messages]
        assert numbers == sorted(numbers), f"key {key} out of order"
    assert Counter(row[0] for row in rows) == Counter(committed)
    assert {str(row[0]) for row in inbox} == set(committed)


async def handled(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    """Number of rows that the handler committed."""
    found: int = await connection.fetchval("SELECT count(*) FROM handled")
    return found
