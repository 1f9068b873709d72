"""A database that was restored on another server: nothing moves until somebody says what shall.

Then everything flows once, and with `outbox rebase` also on a server that is at home.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
from outbox_operator.adapters.postgres.rebase import PostgresRebase
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.postgres.rebase import Choice
from support.command import outbox_command
from support.nats import NatsServer
from support.postgres import PostgresServer, newest_binaries, running_server
from support.relaying import WITH_IDS, Outbox, RelayProcess, an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def other_server() -> Iterator[PostgresServer]:
    with running_server(newest_binaries()) as server:
        yield server


async def spend_transactions(url: str, number: int) -> None:
    """Let a server assign transaction ids."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"DO $$ BEGIN FOR i IN 1..{number} LOOP "
        "PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    await connection.close()


async def dump_and_restore(source: str, server: PostgresServer) -> str:
    """Copy a database to another server by way of a dump; returns its URL there."""
    target = server.create_database()
    command = (
        f"{server.program('pg_dump')[0]} --no-owner --no-privileges '{source}' | "
        f"{server.program('psql')[0]} --quiet --set ON_ERROR_STOP=1 '{target}'"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return target


async def ids_in_stream(outbox: Outbox, at_least: int) -> list[str]:
    return [message.event_id for message in await outbox.stored(at_least)]


async def stalled(relay: RelayProcess) -> None:
    await eventually(
        lambda: "belong to another PostgreSQL server" in relay.failing().get("role", ""),
        "the relay says whose cursor it is",
        relay=relay,
    )
    assert "outbox rebase" in relay.failing()["role"]


@pytest.mark.parametrize("ahead", ["source", "target"])
async def test_a_restored_database_goes_on_once_its_cursor_is_set_anew(
    outbox: Outbox, other_server: PostgresServer, ahead: str
) -> None:
    await spend_transactions(outbox.url if ahead == "source" else other_server.url(), 3000)
    relay = await outbox.relay().start().active()
    published = [await outbox.add("k") for _ in range(3)]
    await outbox.published(3)
    assert relay.terminate() == 0
    waiting = [await outbox.add("k") for _ in range(2)]
    target = await dump_and_restore(outbox.url, other_server)
    # The old server lives on for a moment: what waited is published, and one more, which is lost.
    relay.start()
    lost = await outbox.add("k")
    await outbox.published(6)
    assert relay.terminate() == 0

    source, outbox.url = outbox.url, target
    async with outbox.session() as connection:
        moved = outbox.relay().start()
        await stalled(moved)
        written = [await outbox.add("k", on=connection)]
        async with connection.transaction(), connection.transaction():
            written.append(await outbox.add("k", on=connection))
        again = await connection.fetchval("SELECT min(position) FROM outbox.events "
                                          "WHERE event_id = $1", written[0])  # fmt: skip
        assert again == await outbox.connection.fetchval(
            "SELECT position FROM outbox.events WHERE event_id = $1", lost
        ), "the position of the lost event is used again"

        shown = await outbox_command("rebase", "--config", str(moved.config))
        assert (shown.code, "Nothing was changed" in shown.output) == (0, True), shown.output
        assert "4 of 7 rows will be published" in shown.output
        await stalled(moved)
        done = await outbox_command("rebase", "--config", str(moved.config), "--yes")
        assert done.code == 0, done.output
        everything = [*published, *waiting, lost, *written]
        assert sorted(await ids_in_stream(outbox, 8)) == sorted(everything)
        await moved.ready()
        await outbox.add("k", on=connection)
        assert len(await ids_in_stream(outbox, 9)) == 9
        assert moved.terminate() == 0
    outbox.url = source


async def test_old_transactions_on_their_way_are_not_lost_by_it(
    outbox: Outbox, other_server: PostgresServer
) -> None:
    await spend_transactions(outbox.url, 3000)
    waiting = await outbox.add("a")
    target = await dump_and_restore(outbox.url, other_server)
    source, outbox.url = outbox.url, target
    async with outbox.session() as writer:
        moved = outbox.relay().start()
        await stalled(moved)
        transaction = writer.transaction()
        await transaction.start()
        open_one = await outbox.add("b", on=writer)
        done = await outbox_command("rebase", "--config", str(moved.config), "--yes")
        assert done.code == 0, done.output
        assert await ids_in_stream(outbox, 1) == [waiting]
        await transaction.commit()
        assert await ids_in_stream(outbox, 2) == [waiting, open_one]
        assert moved.terminate() == 0
    outbox.url = source


@pytest.mark.parametrize(
    ("choice", "repeated"),
    [(["--all"], [0, 1, 2]), (["--from-position", "2"], [1, 2]), (["--none"], [])],
)
async def test_events_can_be_sent_again_while_the_relay_runs(
    database: str, nats_server: NatsServer, tmp_path: Path, choice: list[str], repeated: list[int]
) -> None:
    # Within the window in which the stream knows the ids (FD-A6).
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        events = [await outbox.add("k") for _ in range(3)]
        await outbox.published(3)
        await outbox.idle(relay)
        refused = await outbox_command("rebase", "--config", str(relay.config), "--yes")
        assert refused.code == 2
        assert "those from a position on" in refused.output
        done = await outbox_command("rebase", "--config", str(relay.config), *choice, "--yes")
        assert done.code == 0, done.output
        added = await outbox.add("k")
        expected = [*events, *(events[number] for number in repeated), added]
        assert await ids_in_stream(outbox, len(expected)) == expected
        await outbox.idle(relay)
        assert len(await ids_in_stream(outbox, 0)) == len(expected)
        assert relay.terminate() == 0


async def test_events_of_a_purged_stream_can_be_sent_again_at_once(outbox: Outbox) -> None:
    """The stream still knows their ids and would drop them, acknowledged (FD-A6)."""
    await outbox.update_stream(**WITH_IDS)
    relay = await outbox.relay().start().active()
    events = [await outbox.add("k") for _ in range(5)]
    await outbox.published(5)
    await outbox.idle(relay)
    for _ in range(2):  # and again
        await outbox.purge_stream()
        done = await outbox_command("rebase", "--config", str(relay.config), "--all", "--yes")
        assert done.code == 0, done.output
        assert await ids_in_stream(outbox, 5) == events
        await outbox.idle(relay)
    added = await outbox.add("k")
    assert await ids_in_stream(outbox, 6) == [*events, added]
    (*_, last) = await outbox.stored(6)
    assert last.headers["Nats-Msg-Id"] == added


async def test_dead_letters_stay_where_they_are(outbox: Outbox) -> None:
    relay = await outbox.relay().start().active()
    await outbox.add("k", headers="[]")
    await eventually(outbox.dead_letters, "a dead letter")
    assert relay.terminate() == 0
    shown = await outbox_command("rebase", "--config", str(relay.config), "--all")
    assert "none of 1 row will be published" in shown.output
    letters = DeadLetterStore(outbox.connection, parse_url(outbox.url), "outbox")
    await outbox.add("l")  # waits
    (position,) = [letter["position"] for letter in await outbox.dead_letters()]
    assert await letters.purge([position]) == [position]
    shown = await outbox_command("rebase", "--config", str(relay.config), "--all")
    assert "1 of 2 rows will be published" in shown.output
    # A dump of before does not know; it can be set anew all the same.
    await outbox.connection.execute("DROP TABLE outbox.former_dead_letters")
    shown = await outbox_command("rebase", "--config", str(relay.config), "--all")
    assert "2 of 2 rows will be published" in shown.output


async def test_sending_again_needs_the_end_of_the_stream(outbox: Outbox) -> None:
    (outbox.directory / "url").write_text(outbox.url)
    url = str(outbox.directory / "url")
    done = await outbox_command("rebase", "--url-file", url, "--all", "--yes")
    assert done.code == 2
    assert "give --config" in done.output
    assert (await outbox_command("rebase", "--url-file", url, "--none", "--yes")).code == 0
    assert (await outbox.cursor())["owner_epoch"] == 1


async def test_nobody_waits_for_who_only_looks(outbox: Outbox) -> None:
    await outbox.relay().start().active()
    target = parse_url(outbox.url)
    connection = await connect(target, application_name="test")
    async with PostgresRebase.open(connection, target, "outbox", looks=True) as rebase:
        assert [shard.rows for shard in await rebase.preview(Choice(which="all"))] == [0]
        await outbox.add("k")
        await outbox.published(1)
    await connection.close()
