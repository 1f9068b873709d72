"""A handler of batches that writes events as rows of a table, in one statement.

Imported by applications through `outbox_operator.consumer`; standard library only. The server takes
the payloads apart, so that numbers and times become what the columns are without a detour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent
from outbox_operator.errors import SpecError
from outbox_operator.wire.tables import quoted
from outbox_operator.wire.times import format_time

MOST_COLUMNS: Final = 50
_OF_AN_EVENT: Final = ("id", "type", "key", "time", "source", "subject")
_DATA_EXCEPTION: Final = "22"
"""Class of SQLSTATE: a value that is none of its column's, now and for ever."""
_NO_TABLE: Final = ("42P01", "42704", "3F000")
"""SQLSTATEs of a table, its type of rows and its schema that are not there."""
_NO_SUCH_INDEX: Final = "42P10"


class TableSink:
    """Writes events into a table through the connection of the inbox, so each of them once.

        sink = TableSink(
            "reports.orders", {"id": "data.id", "total": "data.total", "at": "event.time"},
            key=["id"], version="at",
        )
        app.batch("order.*", size=500)(sink)

    A batch is one statement. One that the table does not take is written row by row by the
    runtime; a value that is none of its column's is a dead letter then.

    Args:
        table: Its name, with the schema's before a dot if need be.
        columns: Where the value of each column is: `data` is the payload and `data.customer.id` a
            part of it, `event.id`, `event.type`, `event.key`, `event.time`, `event.source` and
            `event.subject` are of the event. What is not there is NULL.
        key: Columns of a unique index: rows with the same are replaced. One that is NULL is the
            same as no other, so that its event is a dead letter. Empty: every event is a row more.
        version: A column that grows with what is newer: with `key`, an older row replaces none.

    Raises:
        SpecError: A name or a place that cannot be meant.
    """

    def __init__(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        key: Sequence[str] = (),
        version: str | None = None,
    ) -> None:
        if not 1 <= len(columns) <= MOST_COLUMNS:
            raise SpecError(f"TableSink: columns: wanted 1 to {MOST_COLUMNS}, found {len(columns)}")
        if not all(table.split(".")) or table.count(".") > 1:
            raise SpecError(f"TableSink: table: wanted schema.table, found {table!r}")
        if isinstance(key, str) or (version is not None and not key):
            raise SpecError("TableSink: key: wanted a list of columns, with a version at least one")
        for one in (*key, *([version] if version is not None else [])):
            if one not in columns:
                raise SpecError(f"TableSink: {one!r} is none of the columns {', '.join(columns)}")
        self._table = table
        self._key = key
        self._statement = _statement(table, columns, key, version)

    needs_inbox: Final = True
    """For who looks at the start whether there is one."""

    async def __call__(
        self, events: list[ReceivedEvent], context: Context
    ) -> list[DeadLetter | None] | None:
        """Write the rows.

        Raises:
            Exception: The database does not take them, or there is no inbox.
        """
        connection: object = context.connection
        if connection is None:
            raise SpecError(
                "TableSink writes through the connection of an inbox, and there is none"
            )
        try:
            found = await context.connection.fetch(
                self._statement,
                [event.data.decode() for event in events],
                [_told(event) for event in events],
            )
        except Exception as error:
            state = getattr(error, "sqlstate", None) or ""
            if state in _NO_TABLE:
                why = f"TableSink: no table {self._table!r} in the database of the inbox: {error}"
                raise SpecError(why) from error
            if state == _NO_SUCH_INDEX:
                why = (
                    f"TableSink: table {self._table!r} has no unique index of exactly the columns "
                    f"of key ({', '.join(self._key)}): make one"
                )
                raise SpecError(why) from error
            never = isinstance(error, UnicodeDecodeError) or state.startswith(_DATA_EXCEPTION)
            if len(events) > 1 or not never:
                raise
            return [DeadLetter(f"no row for the table: {error}")]
        if not found:
            return None
        keyless = {row[0] for row in found}
        dead = DeadLetter(f"no row for the table: NULL in its key ({', '.join(self._key)})")
        return [dead if place in keyless else None for place in range(1, len(events) + 1)]


def _told(event: ReceivedEvent) -> str:
    """What columns may have of an event besides its payload, as JSON."""
    told = {name: getattr(event, name) for name in _OF_AN_EVENT if name != "time"}
    return json.dumps({**told, "time": format_time(event.time)})


def _statement(
    table: str, columns: Mapping[str, str], key: Sequence[str], version: str | None
) -> str:
    target = ".".join(map(quoted, table.split(".")))
    names = {name: quoted(name) for name in columns}
    values = ", ".join(f"{_text(name)}, {_value(name, place)}" for name, place in columns.items())
    row = f"jsonb_populate_record(NULL::{target}, jsonb_build_object({values}))"
    given = "unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (data, event, place)"
    # A place of its own: a column of the table may have any name.
    rows = f"WITH one AS MATERIALIZED (SELECT {row} AS made, given.place FROM {given})"  # noqa: S608 - quoted
    found = ", ".join(map(_made, names.values()))
    head = f"INSERT INTO {target} AS kept ({', '.join(names.values())})"
    if not key:
        return f"{rows} {head} SELECT {found} FROM one ORDER BY one.place"  # noqa: S608
    keys = [_made(names[one]) for one in key]
    newest = "" if version is None else f"{_made(names[version])} DESC NULLS LAST, "
    others = [name for name in columns if name not in key]
    change = "NOTHING"
    if others:
        sets = ", ".join(f"{names[one]} = EXCLUDED.{names[one]}" for one in others)
        change = f"UPDATE SET {sets}"
        if version is not None:
            mine = names[version]
            change += f" WHERE (kept.{mine} <= EXCLUDED.{mine}) IS NOT FALSE"
    shown = ", ".join(keys)
    keyless = " OR ".join(f"{one} IS NULL" for one in keys)
    return (
        f"{rows}, written AS ({head} SELECT DISTINCT ON ({shown}) {found} FROM one "  # noqa: S608
        f"WHERE NOT ({keyless}) ORDER BY {shown}, {newest}one.place DESC "
        f"ON CONFLICT ({', '.join(names[one] for one in key)}) DO {change}) "
        f"SELECT one.place FROM one WHERE {keyless}"
    )


def _made(name: str) -> str:
    return f"(one.made).{name}"


def _value(column: str, place: str) -> str:
    """Where a column's value is, as an expression."""
    root, *path = place.split(".")
    of_event = root == "event" and len(path) == 1 and path[0] in _OF_AN_EVENT
    if not all(path) or not (of_event or root == "data"):
        raise SpecError(
            f"TableSink: column {column!r}: wanted data, data.NAME or event."
            f"{{{'|'.join(_OF_AN_EVENT)}}}, found {place!r}"
        )
    parts = ", ".join(map(_text, path))
    return f"given.{root}::jsonb" + (f" #> ARRAY[{parts}]" if path else "")


def _text(value: str) -> str:
    """A literal."""
    doubled = value.replace("'", "''").replace("\\", "\\\\")
    return f"E'{doubled}'"
