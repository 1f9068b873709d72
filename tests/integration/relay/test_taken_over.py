"""A relay publishes the tables of its own pipeline and of no other one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.nats import NatsServer
from support.outbox import OWNER
from support.postgres import PostgresServer, execute, fetch_value
from support.relaying import an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration

MARK = "SELECT obj_description('outbox'::regnamespace)"


def comment(mark: str) -> str:
    return f"COMMENT ON SCHEMA outbox IS '{mark}'"


async def test_a_relay_leaves_tables_that_were_taken_over(
    postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    database = postgres_server.create_database()
    try:
        async with an_outbox(database, nats_server, tmp_path) as outbox:
            ours = await fetch_value(database, MARK)
            theirs = json.loads(ours)
            theirs["owner"] |= {"uid": "another", "cluster": "green"}
            relay = await outbox.relay(owner_uid=OWNER.uid).start().ready()
            await outbox.add("a")
            await outbox.stored(1)
            # The other cluster adopts it: this relay lets go, and says why.
            await execute(database, comment(json.dumps(theirs)))
            await eventually(lambda: "TakenOver" in relay.log, "the relay says so", relay=relay)
            await outbox.add("b")
            other = await outbox.relay(owner_uid="another").start().ready()
            await outbox.stored(2)
            other.terminate()
            # Given back: it goes on by itself.
            await execute(database, comment(ours))
            await outbox.add("c")
            await outbox.stored(3)
            assert relay.terminate() == 0
    finally:
        postgres_server.drop_database(database)


async def test_a_schema_without_a_mark_is_published(
    postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    database = postgres_server.create_database()
    try:
        async with an_outbox(database, nats_server, tmp_path) as outbox:
            await execute(database, "COMMENT ON SCHEMA outbox IS 'somebody wrote over it'")
            relay = await outbox.relay(owner_uid=OWNER.uid).start().ready()
            await outbox.add("a")
            await outbox.stored(1)
            assert relay.terminate() == 0
    finally:
        postgres_server.drop_database(database)
