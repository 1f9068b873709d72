"""What a rebase may do, and what it says it will do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan.postgres.rebase import (
    Choice,
    ShardFacts,
    StreamEnd,
    Which,
    check_rebase,
    describe,
)
from outbox_operator.wire.cursors import CursorOrigin

HOME = ShardFacts(
    shard=0, rows=7, chosen=2, first=4, last=9, problem=None,
    oldest=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)  # fmt: skip
FOREIGN = ShardFacts(
    shard=1, rows=7, chosen=0, first=None, last=None, oldest=None, problem="it is from elsewhere"
)
END = StreamEnd(sequence=3, emission=3)


@pytest.mark.parametrize(
    ("which", "shards", "ends", "refusal"),
    [
        ("unpublished", [FOREIGN], None, None),
        ("unpublished", [HOME, FOREIGN], None, None),
        ("unpublished", [HOME], None, "nothing has to be set anew"),
        ("none", [HOME], None, None),
        ("all", [HOME], [END], None),
        ("all", [FOREIGN], None, "give --config"),
        ("from-position", [HOME], None, "give --config"),
        ("created-after", [HOME], None, "give --config"),
    ],
)
def test_refuses_what_cannot_do_what_was_asked_for(
    which: Which, shards: list[ShardFacts], ends: list[StreamEnd] | None, refusal: str | None
) -> None:
    if refusal is None:
        check_rebase(Choice(which=which), shards, ends)
        return
    with pytest.raises(SpecError, match=refusal):
        check_rebase(Choice(which=which), shards, ends)


def test_says_what_it_will_do() -> None:
    text = "\n".join(describe(Choice(), [HOME, FOREIGN], "db:5432/shop schema outbox"))
    assert "2 of 7 rows will be published, positions 4 to 9" in text
    assert "2026-01-02 03:04:05+0000" in text
    assert "shard 1: it is from elsewhere\n    none of 7 rows" in text
    assert "a second time" in describe(Choice(which="all"), [HOME], "db")[-1]


@pytest.mark.parametrize(
    ("system", "seen", "newest", "problem"),
    [
        (None, 5, None, None),
        ("1", 10, 9, None),
        ("2", 5, 3, "its system identifier is 2, this server's is 1"),
        ("1", 11, None, "it has seen transaction 10, this server is at 9"),
        ("1", 5, 10, "transaction 10 wrote an event, this server is at 9"),
    ],
)
def test_a_cursor_of_another_server_is_recognised(
    system: str | None, seen: int, newest: int | None, problem: str | None
) -> None:
    origin = CursorOrigin(
        cursor_system=system, server_system="1", seen_xid=seen, server_xid=10, newest_xid=newest
    )
    assert origin.problem() == problem
