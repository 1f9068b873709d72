"""What an event costs at the inbox's database, and what fails among statements sent together."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.postgres import pipelined_begin
from outbox_operator.adapters.postgres.inbox import InboxStore, Record
from outbox_operator.adapters.postgres.inbox_errors import CommitRefusedError
from outbox_operator.adapters.postgres.inbox_records import Claim, InboxRecords
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import HandlerUnavailableError, PostgresError
from support.outbox import migrate_inbox
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration


@pytest.fixture
async def counting(database: str) -> AsyncIterator[TcpProxy]:
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (event_id uuid)")
    await owner.close()
    port = int(database.rpartition(":")[2].partition("/")[0])
    proxy = await TcpProxy(lambda: port).start()
    yield proxy
    await proxy.close()


@contextlib.asynccontextmanager
async def an_inbox(
    database: str, port: int | None = None, **more: Any
) -> AsyncIterator[InboxStore]:
    url = database
    if port is not None:
        url = database.replace(database.rpartition(":")[2].partition("/")[0], str(port))
    store = InboxStore(
        parse_url(url), consumer_name="shop/billing", schema="outbox", mode="PerEvent", size=1,
        **more,
    )  # fmt: skip
    yield store
    await store.close()


def a_record() -> Record:
    return Record(
        event_id=uuid.uuid4(), source_topic="s", event_type="t", payload=b"", source="/s",
        shard=None, emission=None, stored=dt.datetime.now(dt.UTC),
    )  # fmt: skip


async def effects(database: str) -> tuple[int, int]:
    """How many effects there are, and how many events are remembered."""
    owner = await asyncpg.connect(database)
    try:
        return (
            await owner.fetchval("SELECT count(*) FROM effects"),
            await owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox"),
        )
    finally:
        await owner.close()


async def insert(connection: Any, new: Sequence[int]) -> bool:
    await connection.executemany("INSERT INTO effects VALUES ($1)", [(uuid.uuid4(),) for _ in new])
    return True


async def test_an_event_costs_three_round_trips_and_a_duplicate_two(
    counting: TcpProxy, database: str
) -> None:
    """Those of the driver's transactions are what `lent_connection` is written against."""
    first, record = a_record(), a_record()
    async with an_inbox(database, counting.port) as store:
        assert await store.process([first], insert)  # the statements are prepared
        before = counting.turns
        assert await store.process([record], insert)
        handled = counting.turns
        assert await store.process([record], insert)
    assert (handled - before, counting.turns - handled) == (3, 2)
    assert await effects(database) == (2, 2)


async def test_without_begin_no_event_is_remembered(
    counting: TcpProxy, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would be, by itself, whatever its handler says."""
    begin = pipelined_begin.message_of
    async with an_inbox(database) as store:
        for _ in range(2):  # the second claim is prepared
            with monkeypatch.context() as patch:
                patch.setattr(pipelined_begin, "message_of", lambda _: begin("BEGUN"))
                with pytest.raises(PostgresError, match="BEGUN"):
                    await store.process([a_record()], insert)
            assert await store.process([a_record()], insert)
    assert await effects(database) == (2, 2)


async def test_what_fails_behind_the_commit_does_not_undo_it(
    counting: TcpProxy, database: str
) -> None:
    """A handler in a role that may not undo what sessions keep."""
    owner = await asyncpg.connect(database)
    name = f"clerk_{uuid.uuid4().hex}"
    await owner.execute(
        f"CREATE ROLE {name}; GRANT INSERT ON effects TO {name}; GRANT USAGE ON SCHEMA outbox "
        f"TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA outbox TO {name}; "
        "REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC"
    )

    async def as_clerk(connection: Any, new: Sequence[int]) -> bool:
        await connection.execute(f"SET ROLE {name}")
        return await insert(connection, new)

    try:
        async with an_inbox(database) as store:
            assert await store.process([a_record()], as_clerk)
            assert await store.process([a_record()], insert)
    finally:
        await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await owner.close()
    assert await effects(database) == (2, 2)


async def test_a_handler_that_throws_prepared_statements_away_has_a_new_session_next(
    counting: TcpProxy, database: str
) -> None:
    async def deallocate(connection: Any, new: Sequence[int]) -> bool:
        await connection.execute("DEALLOCATE ALL")
        return True

    async with an_inbox(database) as store:
        for _ in range(2):
            with pytest.raises(CommitRefusedError, match="not exist"):
                await store.process([a_record()], deallocate)
            assert await store.process([a_record()], insert)
    assert await effects(database) == (2, 2)


async def test_a_handler_that_hides_an_error_loses_its_writes_and_not_its_session(
    counting: TcpProxy, database: str
) -> None:
    seen: list[int] = []

    async def swallow(connection: Any, new: Sequence[int]) -> bool:
        await insert(connection, new)
        with contextlib.suppress(asyncpg.PostgresError):
            await connection.execute("SELECT 1/0")
        return True

    async def look(connection: Any, new: Sequence[int]) -> bool:
        seen.append(connection.get_server_pid())
        return await insert(connection, new)

    async with an_inbox(database) as store:
        assert await store.process([a_record()], look)
        with pytest.raises(CommitRefusedError, match="aborted"):
            await store.process([a_record()], swallow)
        assert await store.process([a_record()], look)
    assert len(set(seen)) == 1
    assert await effects(database) == (2, 2)


@pytest.mark.parametrize("end", ["COMMIT; BEGIN", "ROLLBACK; BEGIN"])
async def test_what_follows_a_transaction_that_a_handler_has_ended(
    end: str, counting: TcpProxy, database: str
) -> None:
    """Of one that it committed, what it wrote afterwards stays as well; of the other nothing."""
    said: list[str] = []

    async def anew(connection: Any, new: Sequence[int]) -> bool:
        await insert(connection, new)
        await connection.execute(end)
        return await insert(connection, new)

    async with an_inbox(database, on_ended=said.append) as store:
        if end.startswith("COMMIT"):
            assert await store.process([a_record()], anew)
        else:
            with pytest.raises(CommitRefusedError, match="rolled back the transaction"):
                await store.process([a_record()], anew)
    committed = end.startswith("COMMIT")
    assert await effects(database) == ((2, 1) if committed else (0, 0))
    assert len(said) == committed


@pytest.mark.parametrize("events", [1, 50])
async def test_an_event_costs_no_more_in_an_inbox_that_has_grown(
    events: int, database: str
) -> None:
    """A session keeps its plans: from an empty inbox, and until somebody analyses it."""
    await migrate_inbox(database)
    session = await asyncpg.connect(database)
    records = InboxRecords("shop/billing", "outbox", by_shard=False)
    await records.prepare(session)

    async def finish(how: str = "") -> str:
        claim = Claim(rows=[uuid.uuid4() for _ in range(events)])
        async with session.transaction():
            claim.transaction = await session.fetchval(_REMEMBER, claim.rows)
            one, several = records.endings(claim)[0].split(";", 1)
            found = await session.fetch(how + (several if events > 1 else one).rstrip("; \n"))
            return "\n".join(str(row[0]) for row in found)

    try:
        for _ in range(7):  # by then a plan is kept, if one is
            await finish()
        await session.execute(
            "INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type) "
            "SELECT 'shop/billing', gen_random_uuid(), 's', 't' FROM generate_series(1, 30000)"
        )
        plan = await finish("EXPLAIN ")
    finally:
        await session.close()
    assert "using consumer_inbox_pkey" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "consumer_inbox_pruning_idx" not in plan, plan


_REMEMBER = """
WITH remembered AS (
    INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type)
    SELECT 'shop/billing', id, 's', 't' FROM unnest($1::uuid[]) AS e (id) RETURNING 1
)
SELECT pg_current_xact_id()::text FROM (SELECT count(*) FROM remembered) AS counted
"""


async def test_a_hook_that_leaves_out_an_await_is_told_of_it(
    counting: TcpProxy, database: str
) -> None:
    async def prepare(connection: Any) -> None:
        connection.execute("SET search_path = billing")

    async with an_inbox(database, counting.port, prepare=prepare) as inbox:
        with pytest.raises(HandlerUnavailableError, match=r"on_connect of .* never awaited what"):
            await inbox.process([a_record()], insert)
    assert await effects(database) == (0, 0)


@pytest.mark.parametrize("events", [1, 2, 50])
async def test_no_row_of_a_table_of_the_same_family_is_written(events: int, database: str) -> None:
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute(
        "CREATE TABLE effects (event_id uuid);"
        "CREATE TABLE outbox.inbox_2024 (PRIMARY KEY (consumer_name, event_id)) "
        "INHERITS (outbox.consumer_inbox);"
        "INSERT INTO outbox.inbox_2024 (consumer_name, event_id, source_topic, event_type) "
        "SELECT 'another', gen_random_uuid(), 's', 't' FROM generate_series(1, 200)"
    )
    async with an_inbox(database) as inbox:
        assert await inbox.process([a_record() for _ in range(events)], insert)
    found = await owner.fetch(
        "SELECT consumer_name, count(processing_duration_ms) AS finished "
        "FROM outbox.consumer_inbox GROUP BY 1 ORDER BY 1"
    )
    await owner.close()
    assert [tuple(row) for row in found] == [("another", 0), ("shop/billing", events)]
