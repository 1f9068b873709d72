"""What sessions find out about real servers, and what the doctor says of it; all is brought about.

One database and one stream, made unwell step by step; the judgement has tables of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect as connect_nats
from outbox_operator.adapters.postgres import diagnose
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api.resource import Meta
from outbox_operator.plan.doctor.findings import Check
from outbox_operator.plan.doctor.logins import check_login
from outbox_operator.plan.doctor.postgres import PostgresFacts, check_postgres
from outbox_operator.plan.doctor.streams import (
    DurableFacts,
    check_account,
    check_durable,
    check_stream,
)
from outbox_operator.plan.jetstream.stream_config import desired_stream
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH
from outbox_operator.plan.state import Owner
from support.jetstream import stream_spec
from support.nats import NatsServer, connected, with_permissions
from support.outbox import migrate
from support.permissions import ROLE, deny
from support.postgres import PostgresServer

pytestmark = pytest.mark.integration
PIPELINE = Meta(
    kind="OutboxPipeline", namespace="shop", name="orders", uid="1", generation=1, created=""
)
OWNER = Owner(uid="1", key="EventStream/shop/orders", cluster="c")


@contextlib.asynccontextmanager
async def admin_of(url: str) -> AsyncIterator[PostgresAdmin]:
    """Administration with the operator's limits."""
    target = parse_url(url)
    connection = await connect(target, application_name="look", guarded=True)
    try:
        yield PostgresAdmin(connection, target)
    finally:
        await connection.close()


def told(facts: PostgresFacts, needs: int = 3) -> dict[Check, str]:
    """What is said."""
    said: dict[Check, str] = {}
    for one in check_postgres(facts, PIPELINE, needs=needs, now=datetime.now(UTC)):
        said[one.check] = f"{said.get(one.check, '')} {one.message}"
    return said


@dataclass
class Database:
    """An outbox with the logins of its two roles."""

    admin: asyncpg.Connection[Any]
    owner: str
    relay: str
    relay_role: str

    async def told(self, needs: int = 3) -> dict[Check, str]:
        """What the owner's session says."""
        roles = [str(urlsplit(self.owner).username), self.relay_role]
        async with admin_of(self.owner) as admin:
            return told(await admin.look.server("outbox", roles), needs)


@pytest.fixture
async def unwell(postgres_server: PostgresServer, database: str) -> AsyncIterator[Database]:
    parts = urlsplit(database)
    name = parts.path.strip("/")
    connection = await asyncpg.connect(database)
    urls = []
    for role in (f"{name}_owner", f"{name}_relay"):
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        place = f"{role}:x@{parts.hostname}:{parts.port}"
        urls.append(urlunsplit((parts.scheme, place, parts.path, "", "")))
    await connection.execute(f"GRANT CREATE ON DATABASE {name} TO {name}_owner")
    await migrate(urls[0], relay_role=f"{name}_relay")
    try:
        yield Database(connection, urls[0], urls[1], f"{name}_relay")
    finally:
        for role in (f"{name}_owner", f"{name}_relay"):
            await connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        await connection.close()


async def test_a_database_that_is_made_unwell(
    unwell: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The servers of tests do not sync, and sessions of others are hidden.
    assert set(await unwell.told()) <= {Check.LONG_TRANSACTION, Check.COMMITS_NOT_DURABLE}
    name = urlsplit(unwell.owner).path.strip("/")
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    await unwell.admin.execute(f"ALTER ROLE {unwell.relay_role} CONNECTION LIMIT 2")
    await unwell.admin.execute(f"ALTER ROLE {name}_owner VALID UNTIL '{soon}'")
    await unwell.admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await unwell.admin.execute(
        f"SELECT setval('outbox.events_position_seq', {50 * PARTITION_WIDTH})"
    )
    await unwell.admin.execute("INSERT INTO outbox.events (event_type, payload) VALUES ('x', '1')")
    monkeypatch.setattr(diagnose, "LONG_SECONDS", 0.0)

    async with admin_of(unwell.relay) as relay, open_transaction(unwell.relay):
        await relay.ping()
        found = await unwell.told()

    assert "ends in 2 d" in found[Check.LOGIN_EXPIRES]
    assert "may have 2 sessions and has 2" in found[Check.CONNECTIONS]
    assert "synchronous_commit is off" in found[Check.COMMITS_NOT_DURABLE]
    assert "holds rows (1)" in found[Check.DEFAULT_PARTITION]
    assert "no partition is ready" in found[Check.PARTITIONS_AHEAD]
    assert "sessions of other roles" in found[Check.LONG_TRANSACTION]
    await unwell.admin.execute(f"GRANT pg_read_all_stats TO {name}_owner")
    async with open_transaction(unwell.relay):
        found = await unwell.told()
    assert f"of {unwell.relay_role} (asleep) has been in one" in found[Check.LONG_TRANSACTION]


@contextlib.asynccontextmanager
async def open_transaction(url: str) -> AsyncIterator[None]:
    """Somebody's transaction that stays open."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "asleep"})
    async with connection.transaction():
        await connection.execute("SELECT 1")
        yield
    await connection.close()


async def test_what_is_left_behind_on_a_server(
    two_phase_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnose, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(diagnose, "SLOT_BYTES", 0)
    url = two_phase_server.create_database()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'forgotten'")
        await connection.execute("SELECT pg_create_physical_replication_slot('unread', true)")
        async with admin_of(url) as admin:
            found = told(await admin.look.server("outbox", ["postgres"]))
    finally:
        await connection.execute("ROLLBACK PREPARED 'forgotten'")
        await connection.execute("SELECT pg_drop_replication_slot('unread')")
        await connection.close()
        two_phase_server.drop_database(url)

    assert "'forgotten' of postgres" in found[Check.PREPARED_TRANSACTION]
    assert "slot unread" in found[Check.REPLICATION_SLOT]


async def test_how_a_session_stands(database: str) -> None:
    async with admin_of(database) as admin:
        facts = await admin.look.login()

    assert facts.clock is not None
    assert abs(facts.clock.ahead) <= facts.clock.doubt + 1
    assert [one.check for one in check_login(facts, datetime.now(UTC))] == [Check.CLEAR_TEXT]


async def test_a_stream_and_those_who_read_it(
    nats_server: NatsServer, stream_prefix: str, tmp_path: Path
) -> None:
    async with connected(nats_server) as client:
        admin = JetStreamAdmin(client, nats_server.auth)
        look = admin.look
        await admin.create_stream(
            desired_stream(
                stream_spec(stream_prefix, maxAge="1h", discard="New", maxMessages=10), OWNER
            )
        )
        for _ in range(9):
            await client.request(f"{stream_prefix}.x", b"1")
        for name, metadata in (("declared", {"outbox.dev/owner": "2"}), ("by-hand", {})):
            await admin.create_consumer(
                stream_prefix,
                {"name": name, "durable_name": name, "ack_policy": "explicit",
                 "metadata": metadata, "filter_subject": f"{stream_prefix}.x"},
            )  # fmt: skip

        seen = await look.stream(stream_prefix)
        durables = {one.facts.name: one for one in await look.durables(stream_prefix)}

        assert seen is not None
        assert seen.mark == OWNER
        assert seen.clock is not None
        assert abs(seen.clock.ahead) <= seen.clock.doubt + 1
        assert seen.facts.max_age == 3600
        assert [one.check for one in check_stream(seen.facts)] == [Check.STREAM_FILLS]
        assert (seen.facts.messages, seen.facts.first_sequence) == (9, 1)
        assert seen.facts.first_at is not None
        assert set(durables) == {"declared", "by-hand"}
        assert durables["declared"].filters == (f"{stream_prefix}.x",)
        by_hand = list(check_durable(durables["by-hand"].facts, seen.facts, datetime.now(UTC)))
        assert [one.check for one in by_hand] == [Check.DURABLE_OF_NOBODY]
        one = await look.durable(stream_prefix, "declared")
        assert one is not None
        assert one.facts.pending == 9
        assert stream_prefix in await look.stream_names()
        assert await look.stream("no-such-stream") is None
        assert await look.durable(stream_prefix, "nobody") is None
        facts = look.login()
        assert [one.check for one in check_login(facts, datetime.now(UTC))] == [Check.CLEAR_TEXT]
        assert list(check_account(await look.account())) == []
        assert isinstance(one.facts, DurableFacts)


async def test_what_the_user_may_not_ask_of_jetstream(tmp_path: Path) -> None:
    with NatsServer(with_permissions(role=deny(publish=["$JS.API.STREAM.UPDATE.X"]))) as server:
        auth = NatsAuth(url=server.url, username=ROLE, password=ROLE)
        client = await connect_nats(auth, name="look")
        try:
            admin = JetStreamAdmin(client, auth)
            await admin.create_stream(desired_stream(stream_spec("X"), OWNER))
            verbs = ["STREAM.CREATE.X", "STREAM.UPDATE.X", "STREAM.MSG.GET.X", "STREAM.CREATE.Y",
                     "CONSUMER.CREATE.X.d"]  # fmt: skip
            [denied] = await admin.look.refused(verbs)
            assert "$JS.API.STREAM.UPDATE.X" in denied
            # Nothing has come of the questions.
            assert await admin.look.stream_names() == ["X"]
            assert await admin.look.durables("X") == []
        finally:
            await client.close()
