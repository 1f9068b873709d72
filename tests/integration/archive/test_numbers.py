"""What an archive says of itself, read from a real server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from outbox_operator.adapters.postgres.archive_admin import ArchiveAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import Login, resolve
from support.archiving import ArchivePlace

pytestmark = pytest.mark.integration

LEDGER = """
INSERT INTO archive.ledger (source, shard, low, high, low_at, high_at, low_sequence, high_sequence)
VALUES ($1, $2, $3, $4, $5, $6, $3, $4)
"""
ADD = """
INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, occurred_at,
                            headers, payload_bytes)
VALUES ('default', $1, gen_random_uuid(), 'a.b', '/s', 'a', 1, $1, '{}', 0)
"""


def at(minute: int) -> datetime:
    return datetime(2026, 11, 29, 12, minute, tzinfo=UTC)


async def test_what_is_there_and_what_is_missing(place: ArchivePlace) -> None:
    await place.migrate()
    target = resolve(Login.from_files(place.config.migration or place.config.database))
    connection = await connect(target, application_name="test")
    try:
        admin = ArchiveAdmin(connection, target)
        empty = await admin.numbers("archive")
        assert (empty.rows, empty.shards, empty.gaps, empty.first_gaps) == (0, 0, 0, ())
        assert (empty.oldest, empty.newest, empty.complete_to) == (None, None, None)
        assert empty.partitions == 10, "four ahead and a default one of each class"
        assert empty.bytes > 0
        for moment in (at(1), at(9)):
            await place.root.execute(ADD, moment)
        await place.root.execute(LEDGER, "/s", 0, 1, 7, at(1), at(3))
        await place.root.execute(LEDGER, "/s", 1, 1, 4, at(1), at(9))
        whole = await admin.numbers("archive")
        assert (whole.oldest, whole.newest) == (at(1), at(9))
        assert (whole.shards, whole.gaps, whole.complete_to) == (2, 0, at(9))
        await place.root.execute(LEDGER, "/s", 0, 9, 12, at(5), at(8))
        torn = await admin.numbers("archive")
        assert (torn.gaps, torn.complete_to) == (1, at(3))
        [gap] = torn.first_gaps
        assert (gap.source, gap.shard, gap.first, gap.last) == ("/s", 0, 8, 8)
        assert (gap.sent_after, gap.sent_before) == (at(3), at(5))
        # A server that crashes forgets what it has counted, and holds its rows all the same.
        await place.root.execute(ADD, datetime.now(UTC))
        await place.root.execute("VACUUM ANALYZE archive.events")
        await place.root.execute("SELECT pg_stat_reset()")
        assert (await admin.numbers("archive")).rows > 0
    finally:
        await connection.close()
