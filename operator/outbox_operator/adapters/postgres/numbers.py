"""Live numbers of outboxes: of one, or of many in one statement.

Used by the operator. Of an outbox that is well and idle nothing but these can change, so that many
of them are looked at together (`glances`) between two passes over each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

import asyncpg

from outbox_operator.adapters.json_memory import decoded_within
from outbox_operator.adapters.postgres import catalog
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.cursors import foreign_problem
from outbox_operator.adapters.postgres.positions import behind
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.plan.postgres.schema import literal
from outbox_operator.plan.postgres.state import BACKLOG_CAP, DesiredDatabase, OutboxNumbers
from outbox_operator.wire import schema_mark
from outbox_operator.wire.tables import POSITION_SEQUENCE, quoted
from outbox_operator.wire.times import latest

TOGETHER: Final = 16
"""Outboxes in one statement: it locks some twenty relations of each, and the server has room for
64 locks a connection, which all share."""


async def sample(connection: Connection, schema: str, cap: int = BACKLOG_CAP) -> OutboxNumbers:
    """Live numbers of one outbox, counted up to a cap. Raises the driver's errors."""
    (row,) = await connection.fetch(_sample(schema), cap + 1)
    return _numbers(row, cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An outbox as a pass over it sees it.

    Attributes:
        numbers: Live numbers.
        behind: Whether its positions have to be put right.
        foreign: Why its cursors are those of another server; None: they are at home.
    """

    numbers: OutboxNumbers
    behind: bool
    foreign: str | None


async def read(connection: Connection, schema: str) -> Reading:
    """What a pass reads of one outbox, in one statement. Raises the driver's errors."""
    (row,) = await connection.fetch(_glance(0, schema), BACKLOG_CAP + 1)
    return _reading(row)


async def glances(
    connection: Connection, wanted: Sequence[tuple[DesiredDatabase, str]], identity: str
) -> list[OutboxNumbers | None]:
    """Live numbers of some outboxes of a database; at most `TOGETHER`. Raises the driver's errors.

    Args:
        connection: Of the role that owns the tables.
        wanted: What each is to be like, and the UID of the resource whose it is.
        identity: Of the database where they are.

    Returns:
        In their order; None: it has somebody else's mark or cursors of another server, a right is
        missing, or its positions have to be put right; or this is another database.
    """
    here, rights = await catalog.have_rights(connection, [desired for desired, _ in wanted])
    if here != identity:
        return [None] * len(wanted)
    parts = (_glance(number, desired.schema) for number, (desired, _) in enumerate(wanted))
    rows = await connection.fetch(" UNION ALL ".join(parts), BACKLOG_CAP + 1)
    found = {row["number"]: (_reading(row), schema_mark.owner_uid(row["comment"])) for row in rows}
    return [
        reading.numbers
        if granted and not reading.behind and not reading.foreign and owner in (None, uid)
        else None
        for (_, uid), granted, (reading, owner) in zip(
            wanted, rights, (found[number] for number in range(len(wanted))), strict=True
        )
    ]


def _reading(row: asyncpg.Record) -> Reading:
    return Reading(
        numbers=_numbers(row, BACKLOG_CAP),
        behind=row["behind"],
        foreign=foreign_problem(decoded_within(row["cursors"] or "[]")),
    )


def _sample(schema: str) -> str:
    return statement("admin_sample", schema=schema, open=statement("admin_open_xids"))


def _glance(number: int, schema: str) -> str:
    sequence = f"{quoted(schema)}.{quoted(POSITION_SEQUENCE)}"
    text = _glance_of_any()
    for place, value in (
        (_NUMBER, str(number)),
        (_NAMED, literal(schema)),
        (_SEQUENCE, literal(sequence)),
        (quoted(_ANY), quoted(schema)),
    ):
        text = text.replace(place, value)
    return text


_NUMBER, _NAMED, _SEQUENCE, _ANY = "\0number\0", "\0named\0", "\0sequence\0", "\0schema\0"
"""No name holds a NUL."""


@cache
def _glance_of_any() -> str:
    """Made once: there may be thousands of schemas, which are looked at in turn."""
    return statement(
        "admin_glance",
        number=_NUMBER,
        named=_NAMED,
        behind=behind(_ANY, _SEQUENCE),
        cursors=statement("admin_cursors", schema=_ANY),
        sample=_sample(_ANY),
    )


def _numbers(row: asyncpg.Record, cap: int) -> OutboxNumbers:
    return OutboxNumbers(
        backlog_rows=min(row["backlog_rows"], cap),
        backlog_is_estimate=row["backlog_rows"] > cap,
        oldest_age_seconds=row["oldest_age_seconds"] or 0.0,
        dead_letters=min(row["dead_letters"], cap),
        published_total=row["published_total"],
        last_published_at=row["last_published_at"],
        last_position=row["last_position"],
        remark=row["remark"],
        notice=row["notice"],
        position_notice=row["position_notice"],
        stream_created=latest((row["streams_created"] or "").split()),
        taken_at=datetime.now(UTC),
    )
