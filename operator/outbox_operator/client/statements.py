"""The SQL of the library, in the spelling of each driver; that which writes events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator.client.rows import PayloadType, Row
from outbox_operator.errors import SpecError
from outbox_operator.wire import tables
from outbox_operator.wire.advisory_locks import key_lock_sql

_IDENTIFIER: Final = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_PLACEHOLDER: Final = re.compile(r"\{(\d+)\}")
_ROWS_EACH: Final = 1000
_BYTES_EACH: Final = 4_000_000
"""Where statements for many rows are cut. Larger ones are no faster and need more memory."""

_SETTING: Final = "outbox.to_send"
"""Of the transaction: ids of the events to publish after the commit. A rollback to a savepoint
takes back what was added after it, which nobody else could tell us."""
_TYPES: Final = {"event_id": "uuid", "headers": "jsonb"}


def table(schema: str, name: str) -> str:
    """The quoted name of a table.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier.
    """
    if not isinstance(schema, str):
        raise SpecError(f"schema: wanted a str, found {type(schema).__name__}")
    if not _IDENTIFIER.fullmatch(schema):
        shown = "URL" if "://" in schema else repr(schema[:100])  # which may hold a password
        raise SpecError(
            f"schema {shown}: wanted lower-case letters, digits and _, at most 63 characters"
        )
    return f"{tables.quoted(schema)}.{tables.quoted(name)}"


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in the spelling of each driver.

    Values are always cast in the SQL (`CAST({1} AS text)`), because drivers guess the types of
    parameters differently and applications register codecs of their own.
    """

    dollar: str
    percent: str
    colon: str

    @classmethod
    def of(cls, template: str) -> Statement:
        """From SQL with `{1}`, `{2}`, … in order, each once, for the values."""
        return cls(
            dollar=_PLACEHOLDER.sub(r"$\1", template),
            percent=_PLACEHOLDER.sub("%s", template),
            colon=_PLACEHOLDER.sub(r":p\1", template),
        )


PROBE: Final = Statement.of("SELECT 1")
"""Fails if the transaction has failed."""
RECORDED: Final = Statement.of(f"SELECT current_setting('{_SETTING}', true)")
"""Reads the ids, separated by spaces."""


class Inserts:
    """Statements to write events.

    Attributes:
        one: A row; its values are a `Row`'s.
        recorded: The same, and records the event's id for `RECORDED`, which is the last value.
        many: Rows; its values are an array per column.
        copy: COPY of rows.
        lock: Takes the turn of keys; its value is an array of keys.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier.
    """

    def __init__(self, schema: str, payload_type: PayloadType) -> None:
        columns = tables.WRITABLE_COLUMNS
        types = {**_TYPES, "payload": payload_type}
        place = table(schema, tables.EVENTS)
        into = f"INSERT INTO {place} ({', '.join(columns)}) "
        values = ", ".join(
            _cast(f"{{{number}}}", types.get(column, "text"))
            for number, column in enumerate(columns, 1)
        )
        # Defaults are computed on top of FROM, row by row in its order. So rows get positions
        # in the order of the arrays.
        arrays = ", ".join(
            f"CAST({{{number}}} AS {_transport(types.get(column, 'text'))}[])"
            for number, column in enumerate(columns, 1)
        )
        fields = ", ".join(
            f"CAST(e.{column} AS {types[column]})" if column in types else f"e.{column}"
            for column in columns
        )
        self.one = Statement.of(f"{into}VALUES ({values})")
        self.recorded = Statement.of(
            f"{into}SELECT {values} FROM (SELECT set_config('{_SETTING}', "  # noqa: S608 - checked
            f"concat(current_setting('{_SETTING}', true), ' ', "
            f"CAST({{{len(columns) + 1}}} AS text)), true)) AS recorded"
        )
        self.many = Statement.of(
            f"{into}SELECT {fields} "  # noqa: S608 - checked identifiers
            f"FROM unnest({arrays}) AS e ({', '.join(columns)})"
        )
        self.copy = f"COPY {place} ({', '.join(columns)}) FROM STDIN"
        self.lock = Statement.of(
            f"SELECT {key_lock_sql(schema, 'k.key')} "  # noqa: S608 - checked identifier
            "FROM unnest(CAST({1} AS text[])) AS k (key)"
        )


def _transport(kind: str) -> str:
    """The type a value is handed over as: drivers and applications differ on all others."""
    return "bytea" if kind == "bytea" else "text"


def _cast(placeholder: str, kind: str) -> str:
    inner = f"CAST({placeholder} AS {_transport(kind)})"
    return inner if kind == _transport(kind) else f"CAST({inner} AS {kind})"


def keys_of(rows: Sequence[Row]) -> list[str]:
    """Keys whose turn to take, in the order in which everybody takes them."""
    return sorted({row.partition_key for row in rows} - {""})


def chunks(rows: Sequence[Row]) -> Iterator[list[list[str | bytes | None]]]:
    """Arrays per column, of so many rows as one statement shall write."""
    start = size = 0
    for index, row in enumerate(rows):
        if index > start and (index - start == _ROWS_EACH or size + row.size > _BYTES_EACH):
            yield _columns(rows[start:index])
            start, size = index, 0
        size += row.size
    if start < len(rows):
        yield _columns(rows[start:])


def _columns(rows: Sequence[Row]) -> list[list[str | bytes | None]]:
    return [list(values) for values in zip(*rows, strict=True)]
