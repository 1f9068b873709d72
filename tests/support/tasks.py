"""One-shot tasks in tests: made, followed to their end, and what they are about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg

from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters
from support.dying_operator import VARIABLE
from support.nats import connected
from support.operator import OperatorProcess
from support.waiting import SECONDS, wait_until
from support.world import World

TASK = "OutboxTask"
PIPELINE = ("OutboxPipeline", "orders")
DURABLE = "orders-billing"


def task(world: World, name: str, **spec: Any) -> dict[str, Any]:
    """A task."""
    return world.resource(TASK, name, spec)


def ended(
    world: World, name: str, how: Literal["Complete", "Failed"] = "Complete", reason: str = ""
) -> dict[str, Any]:
    """The status of a task once it is at its end."""
    world.wait_condition(TASK, name, how, "True", reason or None)
    body = world.get(TASK, name)
    assert body is not None
    return dict(body["status"])


async def bury(world: World, *letters: tuple[str, str, str]) -> list[str]:
    """Rows among the dead letters of a relay: key, reason, payload. Their event ids."""
    connection = await asyncpg.connect(world.database)
    try:
        return [
            await connection.fetchval(
                """INSERT INTO outbox.dead_letters
                   (position, event_id, event_type, partition_key, payload, headers, created_at,
                    reason, blocked)
                   VALUES (nextval(pg_get_serial_sequence('outbox.events', 'position')),
                           gen_random_uuid(), 'placed', $1, $3::jsonb, '{}', now(), $2,
                           $2 = 'KeyBlocked')
                   RETURNING event_id::text""",
                *letter,
            )
            for letter in letters
        ]
    finally:
        await connection.close()


async def fetch(world: World, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    connection = await asyncpg.connect(world.database)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def copied(url: str) -> str:
    """A copy of a database on its server, made while nobody is connected to it; its URL."""
    parts = urlsplit(url)
    name = parts.path[1:]
    connection = await asyncpg.connect(parts._replace(path="/postgres").geturl())
    try:
        await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        await connection.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
        await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        await connection.close()
    return parts._replace(path=f"/{name}_copy").geturl()


async def send_letters(
    world: World, *letters: tuple[str, str, str], subject: str | None = None
) -> None:
    """Dead letters of the consumer: event id, key, reason; as its runtime stores them."""
    stream = f"{world.prefix}-orders"
    async with connected(world.nats) as client:
        for number, (event_id, key, reason) in enumerate(letters, start=1):
            headers = dead_letters.headers(
                {"Ce-Id": event_id, "Ce-Type": "placed", "Ce-Partitionkey": key},
                reason=Reason(reason),  # type: ignore[arg-type]
                error="no", deliveries=3, stream=stream, sequence=number,
                stored=dt.datetime.now(dt.UTC), consumer=DURABLE, now=dt.datetime.now(dt.UTC),
                subject=subject or f"{world.prefix}.orders.placed",
            )  # fmt: skip
            await client.jetstream().publish(
                f"dlq.{stream}.{DURABLE}", event_id.encode(), headers=headers
            )


async def messages(world: World, stream: str) -> list[str]:
    """Event ids of what a stream holds, in order."""
    async with connected(world.nats) as client:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(stream)).state
        reader = await jetstream.subscribe(">", stream=stream, ordered_consumer=True)
        found = [await reader.next_msg(timeout=SECONDS) for _ in range(state.messages)]
        await reader.unsubscribe()
        return [(one.headers or {})["Ce-Id"] for one in found]


async def stored(world: World) -> list[str]:
    """Event ids in the pipeline's stream."""
    return await messages(world, f"{world.prefix}-orders")


async def letters_of(world: World) -> list[str]:
    """Event ids in its dead-letter stream."""
    return await messages(world, f"{world.prefix}-orders_DLQ")


@contextmanager
def operator_killed(world: World) -> Iterator[Callable[[str], None]]:
    """Another operator each time, which ends at a place; then the usual one goes on.

    Yields:
        Starts one, and returns when it has ended there.
    """

    def die(place: str) -> None:
        dying = OperatorProcess(
            world.operator.kubeconfig,
            world.operator.log,
            identity=world.operator.identity,
            variables={VARIABLE: place, "PYTHONPATH": "tests"},
            module="support.dying_operator",
        )
        dying.start()
        process = dying.process
        assert process is not None
        try:
            wait_until(
                lambda: process.poll() is not None,
                f"it ends when {place}", detail=dying.tail,
            )  # fmt: skip
            assert process.returncode == -9, dying.tail()
        finally:
            dying.kill()

    world.operator.stop()
    try:
        yield die
    finally:
        world.operator.start()
        world.operator.wait_ready()
