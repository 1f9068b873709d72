"""Whatever the columns of a row hold: it is published or poison, and memory is bounded."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from support.nats import NatsServer
from support.outbox import without_checks
from support.postgres import PostgresServer
from support.relaying import Outbox, an_outbox

pytestmark = pytest.mark.integration

MEMORY_KILOBYTES = 192 * 1024
"""A pod has 512Mi; a relay at rest has 60."""

UNFOLDING = {
    "digits": "[{}]".format(", ".join(["1e131071"] * 9000)),
    "negative": "[{}]".format(", ".join(["-1e131071"] * 1000)),
    "places": "[{}]".format(", ".join(["1e-16383"] * 9000)),
    "one": "1e131071",
    "places of one": "1e-16383",
    "nested": '{"a": ' * 100 + "[" + ", ".join(["1e131071"] * 100) + "]" + "}" * 100,
    "control characters": '"' + "\\u0001" * 400_000 + '"',
}
FITTING = {"one", "places of one"}


async def buried(outbox: Outbox) -> list[asyncpg.Record]:
    """Dead letters by position, without what they cannot be read with."""
    return await outbox.connection.fetch(
        "SELECT partition_key, reason, error FROM outbox.dead_letters ORDER BY position"
    )


@pytest.mark.parametrize("waiting", [True, False], ids=["page", "poll"])
@pytest.mark.parametrize("name", UNFOLDING)
async def test_a_payload_that_unfolds(outbox: Outbox, name: str, waiting: bool) -> None:
    """12 bytes in the table can be 131,072 digits as text (FD-B2)."""
    relay = outbox.relay()
    if waiting:
        await outbox.fill(300)
    else:
        await relay.start().active()
    before = await outbox.add("other", value=1)
    await outbox.connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) VALUES ('a', 'bad', $1)",
        UNFOLDING[name],
    )
    after = await outbox.add("other", value=2)
    if waiting:
        relay.start()
    expected = 300 * waiting + 2 + (name in FITTING)
    stored = await outbox.stored(expected)
    await outbox.idle(relay)
    assert len(stored) == expected
    assert [m.event_id for m in stored if m.key == "other"] == [before, after]
    letters = await buried(outbox)
    assert [letter["reason"] for letter in letters] == ["MessageTooLarge"] * (name not in FITTING)
    assert all("at least" in letter["error"] for letter in letters)
    assert relay.peak_kilobytes() < MEMORY_KILOBYTES
    assert relay.failing() == {}


async def test_many_small_rows_that_unfold(outbox: Outbox) -> None:
    """Each of 400 bytes and 3 MB; and as many that fit just so (FD-B2)."""
    for numbers in (20, 7):
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', $1::int || '-' || n, "
            "to_jsonb(array_fill(1e131071::numeric, ARRAY[$1::int])) "
            "FROM generate_series(1, $2::int) n",
            numbers, 80 if numbers == 20 else 30,
        )  # fmt: skip
    relay = outbox.relay().start()
    await outbox.published(30)
    await outbox.idle(relay)
    assert await outbox.count() == 30
    assert [letter["reason"] for letter in await buried(outbox)] == ["MessageTooLarge"] * 80
    assert relay.peak_kilobytes() < MEMORY_KILOBYTES


@pytest.mark.parametrize("column", ["event_type", "partition_key", "routing_key"])
async def test_many_rows_with_a_long_name(outbox: Outbox, column: str) -> None:
    """Of 1 MB each, a hundredth of that in the table (FD-B3)."""
    names = {"event_type": "'created'", "partition_key": "'bad'", "routing_key": "NULL"}
    names[column] = "repeat('x', 1000000)"
    await without_checks(outbox.connection)
    await outbox.connection.execute(
        f"INSERT INTO outbox.events ({', '.join(names)}, payload) "
        f"SELECT {', '.join(names.values())}, '{{}}' FROM generate_series(1, 250)"
    )
    good = await outbox.add("good")
    relay = outbox.relay(on_poison="Skip").start()
    assert [message.event_id for message in await outbox.stored(1)] == [good]
    await outbox.idle(relay)
    counted = await outbox.connection.fetch(
        "SELECT reason, error LIKE $1, count(*) FROM outbox.dead_letters GROUP BY 1, 2",
        f"%{column} may have 1024 bytes, found 1000000",
    )
    assert [tuple(row) for row in counted] == [("ColumnTooLong", True, 250)]
    assert relay.peak_kilobytes() < MEMORY_KILOBYTES
    other = outbox.relay().start()  # reads which keys are blocked
    await other.ready()
    assert other.peak_kilobytes() < MEMORY_KILOBYTES


@pytest.mark.parametrize(
    "headers",
    [
        '{"x": [' + ", ".join(["1e131071"] * 9000) + "]}",
        '{"x": 1e131071}',
        '{"x": "' + "y" * 2_000_000 + '"}',
    ],
    ids=["numbers", "number", "text"],
)
async def test_headers_that_unfold(outbox: Outbox, headers: str) -> None:
    await outbox.add("bad", headers=headers)
    good = await outbox.add("good")
    relay = outbox.relay().start()
    assert [message.event_id for message in await outbox.stored(1)] == [good]
    await outbox.idle(relay)
    (letter,) = await buried(outbox)
    assert letter["reason"] in ("HeadersTooLarge", "Unreadable", "InvalidHeaders")
    assert relay.peak_kilobytes() < MEMORY_KILOBYTES


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_texts_of_another_encoding(
    postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path, encoding: str
) -> None:
    """Bytes that are no UTF-8, and an error with letters that the server has not."""
    url = postgres_server.create_database(encoding=encoding)
    async with an_outbox(url, nats_server, tmp_path) as outbox:
        await outbox.update_stream(subjects=[f"{outbox.prefix}.created"])
        await outbox.connection.execute("SET client_encoding = 'LATIN1'")
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "VALUES ('created', convert_from('\\xfc', 'LATIN1'), '{}'), "
            "('long' || repeat('x', 300), 'a', '{}'), ('created', 'b', '{}')"
        )
        relay = outbox.relay().start()
        stored = await outbox.stored(1)
        await outbox.idle(relay)
        letters = await buried(outbox)
        expected = 1 if encoding == "SQL_ASCII" else 2
        assert len(stored) == expected
        assert len(letters) == 3 - expected


async def test_ordinary_rows_are_measured_a_page_at_a_time(outbox: Outbox) -> None:
    """Behind a row that had to be measured; what the table holds does not make pages small."""
    await outbox.connection.execute(
        "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '1e131071')"
    )
    await outbox.fill(5000)
    relay = outbox.relay().start()
    await outbox.published(5001)
    await outbox.idle(relay)
    assert "rows are measured" in relay.log
    assert relay.metric("batches_total") < 50
