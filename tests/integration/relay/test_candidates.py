"""Rows that may have been published: which these are, and whether they are all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import Bound
from outbox_operator.adapters.postgres.url import parse_url
from support.outbox import migrate

pytestmark = pytest.mark.integration

START = Bound("1", ())
MANY = 1_000


@pytest.fixture
async def store(database: str) -> AsyncIterator[OutboxStore]:
    """Of an outbox with five rows, a transaction each."""
    await migrate(database)
    target = parse_url(database)
    connection = await connect(target, application_name="test-candidates")
    for _ in range(5):
        await connection.execute(
            "INSERT INTO outbox.events (event_type, payload) VALUES ('created', '{}')"
        )
    yield OutboxStore(connection, target, schema="outbox", payload_type="jsonb", shard=0)
    await connection.close()


@pytest.mark.parametrize(
    ("most", "looked_at", "found", "complete"),
    [(MANY, MANY, 5, True), (5, MANY, 5, False), (4, MANY, 4, False), (MANY, 5, 5, False),
     (MANY, 3, 3, False), (MANY, 6, 5, True)],
)  # fmt: skip
async def test_it_is_known_whether_these_are_all(
    store: OutboxStore, most: int, looked_at: int, found: int, complete: bool
) -> None:
    rows, all_ = await store.candidates(
        START, None, done=0, last=2**63 - 1, most=most, looked_at=looked_at
    )
    assert ([row.position for row in rows], all_) == (list(range(1, found + 1)), complete)


async def test_it_is_known_too_where_none_of_those_looked_at_is_one(store: OutboxStore) -> None:
    assert await store.candidates(
        START, None, done=0, last=-5, most=MANY, looked_at=3
    ) == ([], False)  # fmt: skip


async def test_rows_up_to_a_position_are_looked_for(store: OutboxStore) -> None:
    rows, complete = await store.candidates(START, None, done=0, last=2, most=MANY)
    assert ({row.position for row in rows}, complete) == ({1, 2}, True)
    assert await store.candidates(START, None, done=0, last=-5, most=MANY) == ([], True)
