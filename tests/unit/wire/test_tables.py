"""The one list of columns."""

from __future__ import annotations

import pytest

from outbox_operator.wire import tables


def test_writable_columns_are_columns_without_what_the_database_decides() -> None:
    assert set(tables.WRITABLE_COLUMNS) == set(tables.EVENT_COLUMNS) - {
        "position",
        "xid",
        "shard",
        "created_at",
    }


@pytest.mark.parametrize(
    ("name", "quoted"), [("outbox", '"outbox"'), ('a"b', '"a""b"'), ("A b", '"A b"')]
)
def test_quote_identifier(name: str, quoted: str) -> None:
    assert tables.quoted(name) == quoted
