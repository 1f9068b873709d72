"""An inbox whose connection is lost while, or after, the handler runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, DeadLetter, ReceivedEvent
from outbox_operator.wire.config import InboxConfig
from support.consuming import Source, calling, consuming, metric
from support.outbox import migrate_inbox
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

pytestmark = pytest.mark.integration

KILL = "SELECT pg_terminate_backend(pg_backend_pid())"
AT_COMMIT = """
CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hangs_up AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.event_type = 'at-commit') EXECUTE FUNCTION hang_up();
"""


def is_lost(connection: Any) -> bool:
    """Whether the server has ended it."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken it back
        return True


async def lose(event: ReceivedEvent, context: Context) -> None:
    """End the connection in the way that the event's type says."""
    connection = context.connection
    match event.type:
        case "idles":
            await connection.execute("SET idle_in_transaction_session_timeout = '10ms'")
            await eventually(lambda: is_lost(connection), "the server has ended it")
        case "raises":
            await connection.execute(KILL)
        case "swallows":
            try:
                await connection.execute(KILL)
            except asyncpg.PostgresError:
                return
        case "refuses":
            try:
                await connection.execute(KILL)
            except asyncpg.PostgresError:
                raise DeadLetter("never") from None
        case _:
            await connection.execute("INSERT INTO effects VALUES ($1)", event.type)


@pytest.fixture
async def prepared(database: str, tmp_path: Path) -> InboxConfig:
    """An inbox, and a table for effects."""
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE effects (event_type text)")
    await owner.execute(AT_COMMIT)
    await owner.close()
    (tmp_path / "url").write_text(database)
    return InboxConfig(url_file=str(tmp_path / "url"))


@pytest.mark.parametrize("ordering", ["None", "PerKey"])
async def test_the_handler_ran_so_it_was_an_attempt(
    client: Client, stream_prefix: str, prepared: InboxConfig, ordering: str
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=3, ordering=ordering)
    if ordering == "PerKey":
        await source.create_ordered()
    calls: Counter[str] = Counter()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        calls[event.type] += 1
        await lose(event, context)

    kinds = ("idles", "raises", "swallows", "refuses", "at-commit", "good")
    for kind in kinds:
        await source.publish(type=kind, **{"Ce-Partitionkey": kind})
    config = replace(source.python(), inbox=prepared)
    async with consuming(config, calling(handle)) as app:
        await source.settled(len(kinds))
        assert metric(app, "outbox_consumer_circuit_openings_total") == 0
    assert calls == {
        "idles": 3, "raises": 3, "swallows": 3, "refuses": 1, "at-commit": 3, "good": 1,
    }  # fmt: skip
    letters = [letter.headers or {} for letter in await source.dead_letters()]
    assert sorted(letter["Ce-Type"] for letter in letters) == sorted({*kinds} - {"good"})
    said = {letter["Ce-Type"]: letter["Outbox-Dead-Letter-Error"] for letter in letters}
    assert "connection was lost while the handler ran" in said["idles"]
    assert "connection was lost when" in said["at-commit"]
    assert said["refuses"] == "never"


@pytest.mark.parametrize("mode", ["PerEvent", "PerShard"])
async def test_a_commit_whose_answer_is_lost_took_effect_once(
    client: Client,
    stream_prefix: str,
    prepared: InboxConfig,
    database: str,
    tmp_path: Path,
    mode: Literal["PerEvent", "PerShard"],
) -> None:
    """Whether it was committed is asked of the server, not guessed."""
    port = int(database.rpartition(":")[2].partition("/")[0])
    proxy = await TcpProxy(lambda: port).start()
    (tmp_path / "url").write_text(database.replace(f":{port}/", f":{proxy.port}/"))
    source = await Source.create(client, stream_prefix, max_deliver=1, ordering="PerKey")
    await source.create_ordered()
    calls: list[str] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        calls.append(event.id)
        await context.connection.execute("INSERT INTO effects VALUES ($1)", event.type)
        proxy.lose_answer_to = b"COMMIT;"

    event_id = await source.publish(**{"Outbox-Shard": "0", "Outbox-Emission": "1"})
    config = replace(source.python(), inbox=replace(prepared, mode=mode))
    try:
        async with consuming(config, calling(handle)):
            await source.settled(1)
    finally:
        await proxy.close()
    owner = await asyncpg.connect(database)
    assert await owner.fetchval("SELECT count(*) FROM effects") == 1
    remembered = {"PerEvent": "consumer_inbox", "PerShard": "consumer_positions"}[mode]
    assert await owner.fetchval(f"SELECT count(*) FROM outbox.{remembered}") == 1
    await owner.close()
    assert calls == [event_id]
    assert proxy.lost == 1
    assert await source.dead_letters() == []
