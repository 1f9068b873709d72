"""The API's own questions on 20,000 rows: by index, in the partitions of their time, by tenant."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from outbox_operator.adapters.postgres.archive_reader import ArchiveReader, Viewer
from outbox_operator.adapters.postgres.archive_select import Place, Selection, select
from outbox_operator.adapters.postgres.url import parse_url
from support.archive_api import FilledArchive, fill
from support.archiving import days_opened, noon_of_yesterday
from support.postgres import PostgresServer

pytestmark = pytest.mark.integration
MANY = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, actor, tenant)
SELECT 'default', $1::timestamptz - n * interval '40 seconds', gen_random_uuid(), 'a.' || n % 100,
       'k' || n % 5000, '/s', 'a', n, now(), '{}',
       jsonb_build_object('note', 'w' || n % 400), 20, 'a' || n % 1000, 't' || n % 50
FROM generate_series(1, 20000, $2) n
"""
NOW = noon_of_yesterday()
HOUR = NOW - dt.timedelta(hours=1)
BASE = Selection(fields=("id", "type"), limit=100)
MINE = (("tenant", "t7"),)
ALL = Viewer(None)
ONE = Viewer("t7")
QUESTIONS: dict[str, tuple[Selection, Viewer]] = {
    "the newest of all": (dataclasses.replace(BASE, since=HOUR), ALL),
    "the newest of a tenant": (dataclasses.replace(BASE, equals=MINE), ONE),
    "of a key": (dataclasses.replace(BASE, equals=(("key", "k7"),)), ALL),
    "of a key of a tenant": (dataclasses.replace(BASE, equals=(("key", "k7"), *MINE)), ONE),
    "of a type": (dataclasses.replace(BASE, types=("a.7",), since=HOUR), ALL),
    "of an actor, the oldest first": (
        dataclasses.replace(BASE, equals=(("actor", "a7"),), newest_first=False), ALL),
    "the next page": (
        dataclasses.replace(BASE, since=NOW - dt.timedelta(days=1), after=Place(
            HOUR, 1000, uuid.UUID(int=7))), ALL),
    "of a word": (dataclasses.replace(BASE, words="w7"), ALL),
    "of a word of a tenant": (dataclasses.replace(BASE, words="w7", equals=MINE), ONE),
    "of a tenant, by a filter of types": (
        dataclasses.replace(BASE, equals=MINE, types=("a.*",)), ONE),
}  # fmt: skip


@pytest.fixture(scope="module")
def large(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledArchive]:
    """An archive with 20,000 events of nine days."""
    url = postgres_server.create_database()
    archive = fill(postgres_server, url, tmp_path_factory.mktemp("large"), events=0)

    async def filled() -> None:
        async with archive.place as place:
            await place.root.execute(MANY, NOW, 1000)  # so that there are partitions for the rest
            await place.upkeep()
            await place.root.execute(MANY, NOW, 1)
            await place.root.execute("ANALYZE archive.events")

    asyncio.run(filled())
    yield archive
    postgres_server.drop_database(url)


@pytest.mark.parametrize("name", QUESTIONS)
async def test_by_index_and_in_the_partitions_of_their_time(
    large: FilledArchive, name: str
) -> None:
    selection, viewer = QUESTIONS[name]
    url_file = large.config.database.url_file
    assert url_file is not None
    reader = ArchiveReader(
        lambda: parse_url(Path(url_file).read_text()),
        schema="archive", columns=("id",), tenants=True, size=1, application_name="plans",
    )  # fmt: skip
    text, values = select("archive", selection, 2**20)
    try:
        async with reader.reading(viewer, 30.0) as connection:
            lines = await connection.fetch(f"EXPLAIN {text}", *values)
            rows: list[asyncpg.Record] = await connection.fetch(text, *values)
    finally:
        await reader.close()
    assert rows, "there is something to be found"
    plan = "\n".join(line[0] for line in lines)
    # Partitions that are empty still may be read as a whole: there is nothing in them.
    read = re.findall(r"Seq Scan on \S+.*?\.\.(\d+)", plan)
    assert all(int(cost) < 10 for cost in read), plan
    # As the server calls the index of an expression.
    assert (selection.words is not None) == bool(re.search(r"Index Scan on \S+_case_idx", plan)), (
        plan
    )
    if selection.since == HOUR:
        opened = days_opened(plan, "default")
        assert min(opened) == HOUR.date(), plan
