"""From what is asked of an archive to SQL. Pure.

Values are always parameters; names of columns come from the archive's own rules, and are quoted.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.archive import COLUMNS, EXTRACTED_TYPE
from outbox_operator.wire.archive_api import SEARCHED, TEXTS
from outbox_operator.wire.tables import quoted

Format = Literal["ndjson", "csv", "parquet"]
"""Of an export."""
_EXPRESSIONS: Final = {
    "raw": "translate(encode(e.raw, 'base64'), E'\\n', '')",
    "payload_sha256": "encode(e.payload_sha256, 'hex')",
}
"""Of columns that JSON has no value for."""
_SIZES: Final = {
    "payload": "e.payload_bytes",
    "raw": "e.payload_bytes",
    "headers": "octet_length(e.headers::text)",
}
"""Of columns that may be large."""
_FORMULA: Final = r"^([=+@\t\r\n＝＋－＠-])"
"""How a text begins that a spreadsheet would carry out."""
_APOSTROPHE: Final = r"'''\1'"
PLACE: Final = ("stored_at", "sequence", "id")
"""What events are in order by: the stream's time, then its sequence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event is in the order of all.

    Attributes:
        stored_at: When the stream stored it.
        sequence: Its sequence there.
        id: Of the event.
    """

    stored_at: dt.datetime
    sequence: int
    id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events, what of each, in which order.

    Attributes:
        fields: Columns to return.
        equals: Columns and what each has to be.
        words: What has to be in a payload, as PostgreSQL's websearch_to_tsquery reads it.
        types: Types, one of which an event has to have; with the wildcards of NATS.
        since: Not before.
        until: Before.
        newest_first: Else the oldest.
        after: Begin behind this place.
        limit: How many at most. None: all.
        archived_by: None that was archived after this moment.
        skip: Leave out so many at the beginning; of exports.
    """

    fields: tuple[str, ...]
    equals: tuple[tuple[str, str | uuid.UUID], ...] = ()
    words: str | None = None
    types: tuple[str, ...] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    newest_first: bool = True
    after: Place | None = None
    limit: int | None = None
    archived_by: dt.datetime | None = None
    skip: int = 0


@dataclass(slots=True)
class Parameters:
    """Values of a statement, as they come.

    Attributes:
        values: So far.
    """

    values: list[Any] = field(default_factory=list)

    def __call__(self, value: object) -> str:
        """Take a value; its name in the statement."""
        self.values.append(value)
        return f"${len(self.values)}"


def has_wildcards(event_type: str) -> bool:
    """Whether it stands for more than one type."""
    tokens = event_type.split(".")
    return "*" in tokens or tokens[-1] == ">"


def pattern(event_type: str) -> str:
    """The regular expression of PostgreSQL for a type with wildcards."""
    parts = {"*": "[^.]+", ">": ".+"}
    return f"^{'[.]'.join(parts.get(one) or _literal(one) for one in event_type.split('.'))}$"


def _literal(text: str) -> str:
    return re.sub(r"([^\w])", r"\\\1", text, flags=re.ASCII)


def conditions(selection: Selection, parameter: Parameters) -> Iterator[str]:
    """What an event has to fulfil, as SQL."""
    for name, value in selection.equals:
        yield f"e.{quoted(name)} = {parameter(value)}"
    if selection.words is not None:
        words = parameter(selection.words)
        yield f"e.{quoted(TEXTS)} @@ websearch_to_tsquery('simple'::regconfig, {words})"
    exact = [one for one in selection.types if not has_wildcards(one)]
    some = []
    if exact:
        # One type alone has its index in order of time.
        one = len(exact) == 1
        some.append(
            f"e.type = {parameter(exact[0]) if one else f'ANY({parameter(exact)}::text[])'}"
        )
    some += [f"e.type ~ {parameter(pattern(one))}" for one in selection.types if has_wildcards(one)]
    if some:
        yield f"({' OR '.join(some)})"
    if selection.since is not None:
        yield f"e.stored_at >= {parameter(selection.since)}"
    if selection.until is not None:
        yield f"e.stored_at < {parameter(selection.until)}"
    if selection.archived_by is not None:
        yield f"e.archived_at <= {parameter(selection.archived_by)}"
    if selection.after is not None:
        place, less = selection.after, "<" if selection.newest_first else ">"
        moment = parameter(place.stored_at)
        # The first for the partitions, which a comparison of rows leaves all open.
        yield f"e.stored_at {less}= {moment}"
        yield (
            f"(e.stored_at, e.sequence, e.id) {less} "
            f"({moment}, {parameter(place.sequence)}, {parameter(place.id)})"
        )


def select(schema: str, selection: Selection, most_bytes: int) -> tuple[str, list[Any]]:
    """A statement that returns a page of events, and its parameters.

    Args:
        schema: Of the archive.
        selection: Which; it has a limit.
        most_bytes: Of payloads and headers that are returned, but for the last event.
    """
    parameter = Parameters()
    said = list(conditions(selection, parameter))
    direction = "DESC" if selection.newest_first else "ASC"
    sizes = [size for name, size in _SIZES.items() if name in selection.fields]
    columns = dict.fromkeys((*PLACE, "payload_bytes", *selection.fields))
    text = statement(
        "archive_events",
        schema=schema,
        table=_table(selection),
        columns=", ".join(f"e.{quoted(name)}" for name in columns),
        size=" + ".join(dict.fromkeys(sizes)) or "0",
        fields=", ".join(map(_field, selection.fields)),
        conditions=" AND ".join(said) or "true",
        order=", ".join(f"e.{name} {direction}" for name in PLACE),
        limit=parameter(selection.limit),
        bytes=parameter(most_bytes),
    )
    return text, parameter.values


def export(schema: str, selection: Selection, form: Format) -> tuple[str, list[Any]]:
    """A statement that returns each event as a line of JSON, or its fields: as safe texts for CSV,
    as they are for Parquet, moments in microseconds since 1970.

    Spreadsheets take a text for a formula that begins in certain ways: it gets an apostrophe.
    """
    cells = {"csv": _cell, "parquet": _value}.get(form)
    parameter = Parameters()
    said = list(conditions(selection, parameter))
    direction = "DESC" if selection.newest_first else "ASC"
    fields = ", ".join(map(_field, selection.fields))
    text = statement(
        "archive_export",
        schema=schema,
        table=_table(selection),
        columns=", ".join(map(cells, selection.fields)) if cells else "row_to_json(f)::text",
        lateral="" if cells else f"CROSS JOIN LATERAL (SELECT {fields}) f\n",
        conditions=" AND ".join(said) or "true",
        order=", ".join(f"e.{name} {direction}" for name in PLACE),
        bounds=f" OFFSET {parameter(selection.skip)}" if selection.skip else "",
    )
    return text, parameter.values


def _table(selection: Selection) -> str:
    return "events" if selection.words is None else SEARCHED


def _cell(name: str) -> str:
    kind = COLUMNS.get(name, EXTRACTED_TYPE)
    plain = _EXPRESSIONS.get(name, f"e.{quoted(name)}")
    if kind in ("text", "jsonb", "bytea"):
        plain = f"regexp_replace({plain}::text, '{_FORMULA}', {_APOSTROPHE})"
    return f"{plain} AS {quoted(name)}"


def _value(name: str) -> str:
    plain = _EXPRESSIONS.get(name, f"e.{quoted(name)}")
    if is_moment(name):
        # Whole seconds and the rest apart: a double holds no microsecond of the far future.
        plain = (
            f"CASE WHEN isfinite({plain}) THEN "
            f"date_part('epoch', date_trunc('second', {plain}))::bigint * 1000000 "
            f"+ date_part('microseconds', {plain})::bigint % 1000000 END"
        )
    return f"{plain} AS {quoted(name)}"


def is_moment(name: str) -> bool:
    """Whether a column of events is a time."""
    return COLUMNS.get(name) == "timestamp with time zone"


def is_number(name: str) -> bool:
    """Whether it is a whole number."""
    return COLUMNS.get(name) in ("bigint", "integer")


def _field(name: str) -> str:
    return f"{_EXPRESSIONS.get(name, f'e.{quoted(name)}')} AS {quoted(name)}"
