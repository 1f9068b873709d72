"""What a page of events costs at the database, and whose it is when something of that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres import pipelined_begin
from outbox_operator.adapters.postgres.archive_reader import (
    Access,
    ArchiveReader,
    QuestionTooCostlyError,
    Viewer,
)
from outbox_operator.adapters.postgres.archive_select import Place, Selection, select
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import OutboxError
from outbox_operator.wire.archive import ArchiveDatabase
from support.archive_api import EVENTS, EXTRACT, FilledArchive
from support.archiving import ArchivePlace
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration

PAGE = Selection(fields=("id", "headers", "payload", "tenant"), limit=100)
ACME, GLOBEX = Viewer("acme"), Viewer("globex")
MINE = EVENTS * 4 // 5
"""Events of tenant acme."""
ASKED = Access(
    subject="eve", tenant="acme", token_id=None, client=None, action="events", question="{}",
    outcome="ok",
)  # fmt: skip
ROOM = 1_050_000
LEFT = "SELECT current_setting('outbox.tenant', true), current_setting('outbox.all_tenants', true)"
COUNT = "SELECT count(*) FROM archive.events"
LARGE = """
INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, tenant)
SELECT 'default', now(), gen_random_uuid(), 'a', '/s', 'a', n, now(),
       jsonb_build_object('h', repeat('h', $2)), jsonb_build_object('p', repeat('p', $3)), $3 + 10,
       'acme'
FROM generate_series(1, $1) n
"""


@asynccontextmanager
async def a_reader(database: ArchiveDatabase, proxy: int = 0) -> AsyncIterator[ArchiveReader]:
    """With one connection, by way of the port of a proxy."""
    url = url_of(database)
    if proxy:
        url = url.replace(f":{port_of(database)}/", f":{proxy}/")
    reader = ArchiveReader(
        lambda: parse_url(url),
        schema="archive", columns=("id",), tenants=True, size=1, application_name="t",
    )  # fmt: skip
    try:
        yield reader
    finally:
        await reader.close()


def url_of(database: ArchiveDatabase) -> str:
    assert database.url_file is not None
    return Path(database.url_file).read_text()


def port_of(database: ArchiveDatabase) -> int:
    return int(url_of(database).rpartition(":")[2].partition("/")[0])


async def seen(reader: ArchiveReader, viewer: Viewer, most_bytes: int = 2**20) -> int:
    """How many events are in a page, all of which are of this tenant."""
    found = await reader.events(PAGE, viewer, seconds=5.0, most_bytes=most_bytes)
    assert all(f'"tenant":"{viewer.tenant}"' in line for line in found.lines)
    return len(found.lines)


async def left_behind(reader: ArchiveReader) -> None:
    """In the session that comes next there is nobody's tenant."""
    async with reader.writing() as connection:
        row = await connection.fetchrow(LEFT)
        assert row is not None
        assert not any(row)
        assert await connection.fetchval(COUNT) == 0


async def test_a_page_takes_three_round_trips_and_its_entry_in_the_log_one(
    archive: FilledArchive,
) -> None:
    """Begin with the settings, the events, the end. Once its statement is prepared."""
    database = archive.config.database
    proxy = await TcpProxy(lambda: port_of(database)).start()
    try:
        async with a_reader(database, proxy.port) as reader:
            assert await seen(reader, ACME) == 100
            await reader.log(ASKED)
            begun = proxy.turns
            assert await seen(reader, ACME) == 100
            page = proxy.turns
            await reader.log(ASKED)
            logged = proxy.turns
            assert await seen(reader, GLOBEX) == EVENTS - MINE
            other = proxy.turns
    finally:
        await proxy.close()
    assert (page - begun, logged - page, other - logged) == (3, 1, 3)


async def test_settings_that_are_refused_leave_nobodys_behind(archive: FilledArchive) -> None:
    async with a_reader(archive.config.database) as reader:
        assert await seen(reader, GLOBEX) == EVENTS - MINE
        with pytest.raises(OutboxError, match="statement_timeout"):
            async with reader.reading(GLOBEX, -1.0):
                pytest.fail("nothing is read without them")
        await left_behind(reader)
        assert await seen(reader, ACME) == 100


async def test_a_question_that_took_too_long_leaves_nobodys_behind(archive: FilledArchive) -> None:
    """Its session is used again."""
    servers: list[int] = []

    async def asleep(reader: ArchiveReader, seconds: float) -> None:
        async with reader.reading(GLOBEX, seconds) as connection:
            servers.append(connection.get_server_pid())
            await connection.execute("SELECT pg_sleep(60)")

    async with a_reader(archive.config.database) as reader:
        with pytest.raises(QuestionTooCostlyError):
            await asleep(reader, 0.05)
        await left_behind(reader)
        async with reader.reading(ACME, 5.0) as connection:
            assert [connection.get_server_pid()] == servers
            assert await connection.fetchval(COUNT) == MINE


async def test_without_a_begin_nothing_is_seen(
    archive: FilledArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings outside of a transaction would be for the session, or for nobody."""
    begin = pipelined_begin.message_of
    async with a_reader(archive.config.database) as reader:
        for _ in range(2):  # the second time its statements are prepared
            with monkeypatch.context() as patch:
                patch.setattr(pipelined_begin, "message_of", lambda _: begin("BEGUN"))
                with pytest.raises(OutboxError, match="BEGUN"):
                    await seen(reader, GLOBEX)
            await left_behind(reader)
            with monkeypatch.context() as patch:
                patch.setattr(pipelined_begin, "message_of", lambda _: b"")
                assert await seen(reader, GLOBEX) == 0
            await left_behind(reader)
            assert await seen(reader, ACME) == 100


@pytest.mark.parametrize(
    ("fields", "header", "payload", "most"),
    [
        (("id", "headers", "payload"), 10, 100_000, 11),
        (("id", "headers", "payload"), 100_000, 10, 11),
        (("id", "payload"), 100_000, 100_000, 11),
        (("id",), 100_000, 100_000, 30),
    ],
)
async def test_of_large_events_no_more_are_fetched_than_there_is_room_for(
    place: ArchivePlace, fields: tuple[str, ...], header: int, payload: int, most: int
) -> None:
    place.rules(extract=EXTRACT)
    database = place.with_api("tenant")
    await place.migrate()
    await place.root.execute(LARGE, 30, header, payload)
    selection = Selection(fields=fields, limit=100)
    pages: list[int] = []
    lines: set[str] = set()
    text, values = select("archive", selection, ROOM)
    assert len(await place.root.fetch(text, *values)) == most
    async with a_reader(database) as reader:
        after: Place | None = None
        while after is not None or not pages:
            asked = dataclasses.replace(selection, after=after)
            found = await reader.events(asked, ACME, seconds=5.0, most_bytes=ROOM)
            assert found.size <= ROOM
            pages.append(len(found.lines))
            lines |= {*found.lines}
            after = found.last
    assert max(pages) <= most
    assert len(lines) == 30
