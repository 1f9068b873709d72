"""Snapshots, page sizes, and cursors that belong elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outbox_operator.adapters.postgres.rows import Bound, Cursor, StoredCursor
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.relay.paging import (
    PAGE_BYTES,
    PAGE_ROWS,
    PageSizer,
    Snapshot,
    check_cursor,
)

AT = Cursor(
    snapshot_from="100:105:100,103",
    snapshot_to=None,
    last_position=7,
    emission=7,
    emission_gaps=0,
    stream_sequence=9,
    remark=None,
    stream_created=None,
    notice=None,
)
CURSOR = StoredCursor(
    cursor=AT,
    checkpoints="[]",
    resent_to=0,
    resent_epoch=0,
    cursor_system="42",
    server_system="42",
    server_snapshot="200:210:",
    newest_xid="209",
    commit_times=False,
)


def test_unseen_transactions_are_the_open_ones_and_all_from_xmax_on() -> None:
    assert Snapshot.parse("100:105:100,103").bound() == Bound("105", ("100", "103"))
    assert Snapshot.parse("1:1:").bound() == Bound("1", ())


@pytest.mark.parametrize("text", ["", "1:2", "a:b:", "1:2:x", "1:2:3:4"])
def test_rubbish_in_the_cursor_is_an_error(text: str) -> None:
    with pytest.raises(PostgresError, match="not a snapshot"):
        Snapshot.parse(text)


@pytest.mark.parametrize(
    "cursor",
    [
        CURSOR,
        replace(CURSOR, cursor_system=None),
        replace(CURSOR, cursor=replace(AT, snapshot_to="150:210:")),
        replace(CURSOR, cursor=replace(AT, snapshot_from="1:1:")),
        replace(CURSOR, newest_xid=None),
    ],
)
def test_a_cursor_of_this_server_is_accepted(cursor: StoredCursor) -> None:
    check_cursor(cursor, "db:5432/shop schema outbox")


@pytest.mark.parametrize(
    ("cursor", "found"),
    [
        (replace(CURSOR, server_system="43"), "43"),
        (replace(CURSOR, newest_xid="210"), "transaction 210 wrote an event"),
        (replace(CURSOR, server_snapshot="50:60:"), "transaction 104"),
        (replace(CURSOR, cursor=replace(AT, snapshot_to="300:305:")), "transaction 304"),
        (replace(CURSOR, cursor_system=None, server_snapshot="50:60:"), "transaction 104"),
    ],
)
def test_a_cursor_of_another_server_is_refused(cursor: StoredCursor, found: str) -> None:
    with pytest.raises(ConflictError, match=found) as caught:
        check_cursor(cursor, "db:5432/shop schema outbox")
    assert caught.value.reason == "CursorFromOtherServer"
    assert "db:5432/shop" in caught.value.message


def test_pages_shrink_at_once_and_grow_gently() -> None:
    sizer = PageSizer()
    assert sizer.rows < PAGE_ROWS
    sizer.learn(rows=4, size=PAGE_BYTES)
    assert sizer.rows == 8
    sizer.learn(rows=8, size=8 * 300)
    assert sizer.rows == 16
    for _ in range(10):
        sizer.learn(rows=sizer.rows, size=sizer.rows * 300)
    assert sizer.rows == PAGE_ROWS


def test_rows_are_even_while_they_are_small() -> None:
    sizer = PageSizer()
    found = [sizer.even]  # nothing is known yet
    for size in (512, PAGE_BYTES // PAGE_ROWS):
        for _ in range(10):
            sizer.learn(rows=sizer.rows, size=sizer.rows * size)
        found.append(sizer.even)
    assert found == [False, True, False]


def test_a_page_never_asks_for_nothing() -> None:
    sizer = PageSizer()
    sizer.learn(rows=1, size=100 * PAGE_BYTES)
    assert sizer.rows >= 1
    sizer.learn(rows=0, size=0)
    assert sizer.rows >= 1


def test_many_shards_of_a_process_share_the_memory_of_a_few_pages() -> None:
    parts = 1
    sizer = PageSizer(lambda: parts)
    for _ in range(20):
        sizer.learn(100, 100 * 500)
    whole = (sizer.rows, sizer.size)
    parts = 16
    assert (sizer.rows, sizer.size) == (whole[0] // 16, whole[1] // 16)
