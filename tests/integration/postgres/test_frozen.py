"""A process of ours that stands still at any statement keeps no application from its table."""

from __future__ import annotations

import contextlib
from typing import Literal

import pytest
from asyncpg.exceptions import (
    InterfaceError,
    InternalClientError,
    LockNotAvailableError,
    PostgresConnectionError,
)

from outbox_operator.adapters.postgres import connection as connections
from outbox_operator.adapters.postgres import maintenance, replays, schema_locks
from outbox_operator.adapters.postgres import rebase as rebases
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.rebase import PostgresRebase
from outbox_operator.adapters.postgres.replays import ReplayStore, Selection
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.migrations import DesiredDatabase, plan_migrations
from outbox_operator.plan.postgres.rebase import Choice
from outbox_operator.wire.advisory_locks import schema_lock
from support.frozen import frozen_at_each
from support.outbox import OWNER, let_time_pass, publish_all
from support.owned import OwnedDatabase
from support.waiting import eventually

pytestmark = pytest.mark.integration

OUTBOX = DesiredDatabase(schema="outbox")
WRITE = "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '1')"
DAY = 86_400.0
READ = "SELECT count(*) FROM outbox.events"
SAVE = "UPDATE outbox.cursors SET notice = notice"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has less patience with us than it really has."""
    for module in (connections, maintenance, replays):
        monkeypatch.setattr(module, "STANDSTILL_MILLISECONDS", 500)
    monkeypatch.setattr(rebases, "IDLE_MILLISECONDS", 500)


async def others(place: OwnedDatabase, stood_at: str, *statements: str) -> None:
    """What applications and relays do meanwhile: they wait for locks, but not for long."""
    other, _ = await place.second_owner()
    await other.execute("SET lock_timeout = '20s'")
    for statement in statements:
        try:
            await other.execute(statement)
        except LockNotAvailableError:
            raise AssertionError(f"{statement} waits for: {stood_at}") from None
    await other.close()


async def test_upkeep(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        "VALUES ('old', '{}', now() - interval '3 days')"
    )
    assert (await owned.admin.maintain("outbox", DAY)).rotated == "events_p1"
    await publish_all(owned.connection, "outbox")
    await owned.admin.maintain("outbox", 0)
    await let_time_pass(owned.connection, "events_p0")

    async def round_of(connection: Connection) -> None:
        await PostgresAdmin(connection, parse_url(owned.url)).maintain("outbox", DAY)

    async def meanwhile(stood_at: str) -> None:
        await others(owned, stood_at, WRITE, READ)

    # In one round the partition is emptied, in a later one it is dropped.
    assert await frozen_at_each(owned.url, round_of, meanwhile) > 10
    await frozen_at_each(owned.url, round_of, meanwhile)
    there = "SELECT to_regclass('outbox.events_p0') IS NOT NULL"
    assert not await owned.connection.fetchval(there)


async def test_migrations(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    drift = "ALTER TABLE outbox.events ALTER payload DROP NOT NULL, ALTER headers DROP NOT NULL"
    await owned.connection.execute(drift)
    claim = Claim(owner=OWNER)

    async def migrate(connection: Connection) -> None:
        owner = PostgresAdmin(connection, parse_url(owned.url))
        plan = plan_migrations(OUTBOX, await owner.observe(OUTBOX), claim)
        await owner.apply(plan, OUTBOX, claim, lock_timeout=5, operator_version="x")

    async def meanwhile(stood_at: str) -> None:
        await others(owned, stood_at, WRITE, READ)

    assert await frozen_at_each(owned.url, migrate, meanwhile) > 5


async def test_a_rebase(owned: OwnedDatabase) -> None:
    await owned.migrate(OUTBOX)
    await owned.connection.execute(WRITE)
    choice = Choice(which="all")

    async def rebase(connection: Connection) -> None:
        target = parse_url(owned.url)
        async with PostgresRebase.open(connection, target, "outbox") as rebase:
            await rebase.preview(choice)
            await rebase.apply(choice, None)

    async def meanwhile(stood_at: str) -> None:
        await others(owned, stood_at, WRITE, SAVE)

    assert await frozen_at_each(owned.url, rebase, meanwhile) > 5


async def test_a_replay(owned: OwnedDatabase) -> None:
    """Another operator goes on with it."""
    await owned.migrate(OUTBOX)
    await owned.connection.execute(WRITE)

    async def replay(connection: Connection) -> None:
        target = parse_url(owned.url)
        store = ReplayStore(connection, target, "outbox", name="again", selection=Selection())
        bounds = await store.settle()
        await store.begin(bounds)
        assert (await store.copy(bounds)).all

    async def meanwhile(stood_at: str) -> None:
        await others(owned, stood_at, WRITE, SAVE, "UPDATE outbox.replays SET moved_at = now()")

    assert await frozen_at_each(owned.url, replay, meanwhile) > 5


async def test_who_comes_after_one_with_a_lock_of_its_session(
    owned: OwnedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends sessions that say nothing from 14 on."""
    if owned.connection.get_server_version().major < 14:
        pytest.skip("the server knows no idle_session_timeout")
    await owned.migrate(OUTBOX)
    monkeypatch.setattr(schema_locks, "IDLE_SECONDS", 0.5)
    frozen, _ = await owned.second_owner()
    purposes: tuple[Literal["upkeep", "migrations"], ...] = ("upkeep", "migrations")
    for purpose in purposes:
        with contextlib.suppress(PostgresConnectionError, InterfaceError, InternalClientError):
            async with holding(frozen, schema_lock(purpose, "outbox")) as held:
                assert held

                async def free(purpose: Literal["upkeep", "migrations"] = purpose) -> bool:
                    async with holding(owned.connection, schema_lock(purpose, "outbox")) as found:
                        return found

                assert not await free()
                await eventually(free, f"somebody else does {purpose}")
        frozen, _ = await owned.second_owner()
    limits = "SELECT current_setting('idle_in_transaction_session_timeout')"
    assert await owned.connection.fetchval(limits) == "0"
