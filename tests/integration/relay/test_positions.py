"""Inserts of applications go on soon after somebody has set the sequence of positions."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.positions import mend_positions
from outbox_operator.adapters.postgres.url import parse_url
from support.outbox import migrate
from support.processes import freeze
from support.relaying import Outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration

SEQUENCE = "outbox.events_position_seq"
END = 2**63 - 1
REFUSED = (asyncpg.UniqueViolationError, asyncpg.SequenceGeneratorLimitExceededError)


async def beyond(outbox: Outbox, top: int) -> bool:
    last: int = await outbox.connection.fetchval(f"SELECT last_value FROM {SEQUENCE}")
    return last > top


async def add(outbox: Outbox) -> bool:
    try:
        await outbox.add("a")
    except REFUSED:
        return False
    return True


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (f"setval('{SEQUENCE}', 5)", "SequenceBehind"),
        (f"setval('{SEQUENCE}', 1, false)", "SequenceBehind"),
        (f"setval('{SEQUENCE}', {END})", "SequenceAtItsEnd"),
    ],
)
async def test_inserts_go_on_and_the_status_says_why(
    outbox: Outbox, call: str, reason: str
) -> None:
    await outbox.fill(100)
    await outbox.add("far", position=2**62)
    relay = await outbox.relay().start().active()
    freeze(relay.pid)  # or it is faster than the application, now and then
    await outbox.connection.execute(f"SELECT {call}")
    assert not await add(outbox)
    relay.signal(signal.SIGCONT)
    await eventually(lambda: relay.metric("position_moves_total") >= 1, "moved", relay=relay)
    for _ in range(10):
        assert await add(outbox)
    await eventually(lambda: f'"{reason}"' in relay.log, "said", relay=relay)
    notice = await outbox.connection.fetchval("SELECT position_notice FROM outbox.cursors")
    assert notice.startswith(f"{reason}: ")
    last = await outbox.connection.fetchval(f"SELECT last_value FROM {SEQUENCE}")
    assert 100 < last < 2**53, "nobody follows a row far away to the end of the sequence"
    committed = await outbox.event_ids()
    check_delivery(await outbox.stored(len(committed)), committed)


async def test_with_the_rights_of_a_relay(outbox: Outbox) -> None:
    """And positions of dead letters count, whose rows may be gone; one far ahead is left alone."""
    await outbox.connection.execute(
        "CREATE ROLE positions_relay LOGIN PASSWORD 'a'; CREATE ROLE positions_writer"
    )
    try:
        await migrate(outbox.url, writers=("positions_writer",), relay_role="positions_relay")
        target = parse_url(outbox.url)
        connection = await connect(target, application_name="test")
        await connection.execute("SET ROLE positions_relay")
        assert await mend_positions(connection, "outbox") is None
        await outbox.connection.execute(f"SELECT setval('{SEQUENCE}', 1000000000000)")
        assert await add(outbox)
        assert await mend_positions(connection, "outbox") is None
        await outbox.connection.execute(
            "DELETE FROM outbox.events;"
            "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key,"
            " payload, headers, created_at, reason)"
            " VALUES (77, gen_random_uuid(), 'a', '', '{}', '{}', now(), 'x');"
            f"SELECT setval('{SEQUENCE}', 76)"
        )
        assert "before position 77" in (await mend_positions(connection, "outbox") or "")
        assert await mend_positions(connection, "outbox") is None
        await connection.close()
    finally:
        await outbox.connection.execute(
            "DROP OWNED BY positions_relay, positions_writer;"
            "DROP ROLE positions_relay, positions_writer"
        )


async def test_many_at_it_take_nothing_back(outbox: Outbox) -> None:
    """Operator, relays and writers at once, over and over: what was drawn stays drawn."""
    await outbox.fill(100)
    stop = asyncio.Event()

    async def mend() -> None:
        connection = await connect(parse_url(outbox.url), application_name="test")
        while not stop.is_set():
            await mend_positions(connection, "outbox")
        await connection.close()

    async def write() -> int:
        async with outbox.session() as session:
            refused = 0
            while not stop.is_set():
                try:
                    await outbox.add("a", on=session)
                except REFUSED:
                    refused += 1
            return refused

    tasks = [asyncio.create_task(work()) for work in (mend, mend, write, write, write)]
    for _ in range(20):
        top = await outbox.connection.fetchval(f"SELECT last_value FROM {SEQUENCE}")
        await outbox.connection.execute(f"SELECT setval('{SEQUENCE}', 5)")
        await eventually(partial(beyond, outbox, top), "moved on")
    stop.set()
    await asyncio.gather(*tasks)
    assert await outbox.connection.fetchval(
        f"SELECT last_value >= max(position) FROM {SEQUENCE}, outbox.events GROUP BY last_value"
    )
