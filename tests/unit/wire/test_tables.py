"""The one list of columns."""

from __future__ import annotations

import pytest

from outbox_operator.wire import tables


@pytest.mark.parametrize(
    ("name", "quoted"), [("outbox", '"outbox"'), ('a"b', '"a""b"'), ("A b", '"A b"')]
)
def test_quote_identifier(name: str, quoted: str) -> None:
    assert tables.quoted(name) == quoted
