"""What the statements of the data plane have in common: columns, their sizes, and their output.

`sql/relay_*.sql` are filled in with it. How much a row is as text is not what it takes in the
table: a number of 12 bytes can be 131,072 digits. Ordinary pages are judged by what is stored,
rendered once, and no row comes that is out of proportion to that; only where one was met, or a
page could not be read, the rows are measured before they are rendered (`rows.Way`).
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

from outbox_operator.adapters.postgres import queries
from outbox_operator.adapters.postgres.rows import COPY_MARK, Way
from outbox_operator.wire.tables import LONGEST_NAME_READ

PayloadType = Literal["jsonb", "bytea"]

_COLUMNS: Final = (
    "position, event_id, event_type, partition_key, routing_key, payload, headers, created_at, "
    "replay"
)
_OF_COPY: Final = (
    f"'{COPY_MARK}' || coalesce(m.replay ->> 'name', '') || ' ' "
    "|| jsonb_build_array(m.replay, m.headers)::text"
)
"""What `Row.headers` is of a copy that a replay has written."""
_FIRST_TIME: Final = "-62135596800e6"
_LAST_TIME: Final = "253402300799e6"
"""Years 1 and 9999: a column may hold infinity, and header values may not."""
_CREATED_AT: Final = (
    f"least(greatest(date_part('epoch', r.created_at) * 1e6, {_FIRST_TIME}), {_LAST_TIME})::bigint "
    "AS created_at"
)
_COMMITTED_AT: Final = (
    "least(greatest(date_part('epoch', coalesce("
    "pg_xact_commit_timestamp(nullif(r.xid::xid, '0'::xid)), r.created_at)) * 1e6, "
    f"{_FIRST_TIME}), {_LAST_TIME})::bigint AS committed_at"
)
"""Not all are kept: of transactions from before the setting, and of long ago. No server gives out a
transaction of the number 0, and who writes it by hand must not stop the reading."""
_LARGEST: Final = {"relay_poll": "$5", "relay_page": "$10", "relay_page_at": "$3"}
_BYTES: Final = {"relay_page": "$9", "relay_page_at": "$2"}
_SHARE: Final = {
    "relay_page": "$9::integer / $8::integer",
    "relay_page_at": "$2::integer / greatest(cardinality($1), 1)",
}
"""Of a row, in the bytes of its page."""
_RANGES: Final = ("relay_span", "relay_span_end", "relay_span_whole", "relay_positions")
_LARGEST_TO_MESSAGE: Final = 8
"""`relay.paging.largest_row` has so many times the bytes of a message."""
_PAYLOAD: Final = {"jsonb": "convert_to(m.payload::text, 'UTF8')", "bytea": "m.payload"}
_NOTHING: Final = {"jsonb": "'null'::jsonb", "bytea": "''::bytea"}
_ROW_OVERHEAD_BYTES: Final = 300
"""Columns and headers of an ordinary row."""
_UNFOLDED: Final = 4
"""Text that takes more than so many times what is stored is out of proportion."""
_HARMLESS_BYTES: Final = 2048
"""A jsonb value of fewer cannot unfold to more than 22 MB, whatever numbers are in it."""
_OUT_OF_ALL: Final = (
    "strict $.** ? (@ > 1e100 || @ < -1e100 || (@ > -1e-100 && @ < 1e-100 && @ != 0))"
)
_NUMBERS: Final = 'strict $.** ? (@.type() == "number")'
_NAMES: Final = "octet_length(event_type) + octet_length(partition_key) " \
    "+ coalesce(octet_length(routing_key), 0)"  # fmt: skip
_SIZE: Final = f"(payload_bytes + headers_bytes + names + {_ROW_OVERHEAD_BYTES})"
"""An integer, because its sum is a bigint; that of a bigint is a numeric, which is slow."""
_MANY: Final = 500_000_000
"""Bytes are not told apart beyond, so that sums stay integers."""


@cache
def relay_statement(
    name: str,
    schema: str,
    payload_type: PayloadType,
    modern: bool,
    *,
    late: bool = False,
    between: bool = False,
    way: Way = "plain",
    commit_times: bool = False,
) -> str:
    """The text of a statement.

    Args:
        name: Of its file.
        modern: Whether the server is PostgreSQL 14 or newer.
        late: Whether a poll is to look for rows of transactions that were open before.
        between: Whether it is to pass over the rows of transactions that are under way.
        way: How rows are read.
        commit_times: Whether rows come with `committed_at`; a server that does not keep the times
            of commits refuses to be asked for them.
    """
    largest = _LARGEST.get(name, "")
    if way == "even":
        largest = f"least({largest}::integer, {_SHARE[name]})"
    parts = {
        place: text.replace("{largest}", largest)
        for place, text in _parts(payload_type, modern, way).items()
    }
    if commit_times:
        parts["columns"] += ", xid"
        parts["output"] += f", {_COMMITTED_AT}"
    parts["longest_name"] = str(LONGEST_NAME_READ)
    parts["nothing"] = _NOTHING[payload_type]
    if name == "relay_poll":
        parts["now"] = queries.statement("relay_snapshot", schema=schema)
        fresh = "relay_poll_between" if between else "relay_poll_fresh"
        parts["fresh"] = queries.statement(fresh, schema=schema, **parts)
        parts["late"] = queries.statement("relay_poll_late", schema=schema, **parts) if late else ""
    elif name in _RANGES:
        parts["ranges"] = queries.statement("relay_ranges")
        parts["walk"] = queries.statement("relay_walk", schema=schema)
    elif name in _BYTES:
        parts["rows"] = queries.statement(name, schema=schema, **parts)
        if way == "even":
            return queries.statement("relay_page_even", **parts)
        return queries.statement("relay_page_cut", bytes=_BYTES[name], **parts)
    return queries.statement(name, schema=schema, **parts)


def _parts(payload_type: PayloadType, modern: bool, way: Way) -> dict[str, str]:
    """SQL for columns and sizes, texts of the rows that fit, and the output: as `Row` has it.

    Text and integers are what costs the driver least.
    """
    if way in ("even", "plain"):
        return _plain(payload_type, modern)
    if way == "measured":
        return _measured(payload_type, modern)
    named = way == "named"
    return {
        # Every statement has all of its parameters.
        "columns": f"{_COLUMNS}, 0 * {{largest}} AS payload_bytes, 0 AS headers_bytes, 0 AS names",
        "size": _SIZE,
        "texts": "NULL::bytea AS body, NULL::text AS own",
        "output": _output(
            event_type=_cut("event_type") if named else "''",
            partition_key=_whole_or_none("partition_key") if named else "''",
            routing_key="NULL::text",
        ),
    }


def _plain(payload_type: PayloadType, modern: bool) -> dict[str, str]:
    fits = f"{_SIZE} <= {{largest}} AND m.names <= {LONGEST_NAME_READ} AND {_harmless('headers')}"
    if payload_type == "jsonb":
        fits += f" AND {_harmless('payload')}"
    in_proportion = (
        f"octet_length(r.body) + coalesce(octet_length(r.own), 0) <= {_UNFOLDED}::bigint * {_SIZE}"
    )
    short = f"CASE WHEN r.names <= {LONGEST_NAME_READ} THEN r.{{}} ELSE '' END"
    return {
        "columns": f"{_COLUMNS}, {_stored('payload', payload_type, modern)} AS payload_bytes, "
        f"{_stored('headers', 'jsonb', modern)} AS headers_bytes, {_NAMES} AS names",
        "size": _SIZE,
        "texts": f"CASE WHEN {fits} THEN {_PAYLOAD[payload_type]} END AS body, "
        f"CASE WHEN m.replay IS NOT NULL AND {fits} THEN {_OF_COPY} "
        f"WHEN m.headers <> '{{}}' AND {fits} THEN m.headers::text END AS own",
        "output": _output(
            event_type=short.format("event_type"),
            partition_key=short.format("partition_key"),
            routing_key=short.format("routing_key"),
            payload=f"CASE WHEN {in_proportion} THEN r.body END",
            headers=f"CASE WHEN {in_proportion} THEN r.own END",
        ),
    }


def _measured(payload_type: PayloadType, modern: bool) -> dict[str, str]:
    columns = ("partition_key", "event_type", "routing_key")
    names = " + ".join(f"least(coalesce(octet_length({name}), 0), {_MANY})" for name in columns)
    most = f"({{largest}} / {_LARGEST_TO_MESSAGE})"
    long = [f"octet_length({name}) > {LONGEST_NAME_READ}" for name in columns]
    found = " ".join(
        f"WHEN {is_long} THEN '{name} ' || octet_length({name})"
        for name, is_long in zip(columns, long, strict=True)
    )
    unfit = (
        f"CASE {found} WHEN payload_bytes > {most} THEN 'payload ' || payload_bytes "
        f"WHEN headers_bytes > {most} THEN 'headers ' || headers_bytes END"
    )
    stored = f"least(pg_column_size(payload), {_MANY}) + least(pg_column_size(headers), {_MANY})"
    return {
        "columns": f"{_COLUMNS}, {_text_bytes('payload', payload_type, most)} AS payload_bytes, "
        f"{_text_bytes('headers', 'jsonb', most)} AS headers_bytes, {names} AS names",
        # What is not sent counts as what it takes in the table: it is copied there, once.
        "size": f"(CASE WHEN {unfit} IS NULL THEN {_SIZE} ELSE {stored} END)",
        "texts": f"CASE WHEN {unfit} IS NULL THEN {_PAYLOAD[payload_type]} END AS body, "
        f"CASE WHEN {unfit} IS NOT NULL THEN {unfit} "
        f"WHEN m.replay IS NOT NULL THEN {_OF_COPY} "
        "WHEN m.headers <> '{}' THEN m.headers::text END AS own",
        "output": _output(
            event_type=_cut("event_type"),
            partition_key=_whole_or_none("partition_key"),
            routing_key=_cut("routing_key"),
            payload="r.body",
            headers="r.own",
        ),
    }


def _output(
    *,
    event_type: str,
    partition_key: str,
    routing_key: str,
    payload: str = "r.body",
    headers: str = "r.own",
) -> str:
    return (
        f"r.position, r.event_id::text, {event_type} AS event_type, {partition_key} AS "
        f"partition_key, {routing_key} AS routing_key, {payload} AS payload, "
        f"{headers} AS headers, {_CREATED_AT}"
    )


def _cut(column: str) -> str:
    """The text, or the beginning of one that no message can hold."""
    return (
        f"CASE WHEN octet_length(r.{column}) <= {LONGEST_NAME_READ} THEN r.{column} "
        f"ELSE left(r.{column}, 100) END"
    )


def _whole_or_none(column: str) -> str:
    """The key: what is cut would stand for others as well, and all events of it are poison."""
    return f"CASE WHEN octet_length(r.{column}) <= {LONGEST_NAME_READ} THEN r.{column} ELSE '' END"


def _stored(column: str, column_type: PayloadType, modern: bool) -> str:
    """What a value takes in the table, uncompressed: about the bytes of most as text.

    Whether one is compressed is known from version 14 on. An empty path leads to the value
    itself, unpacked.
    """
    if column_type == "bytea":
        return f"octet_length({column})"
    unpacked = f"pg_column_size({column} #> '{{}}')"
    if not modern:
        return unpacked
    return (
        f"CASE WHEN pg_column_compression({column}) IS NULL THEN pg_column_size({column}) "
        f"ELSE {unpacked} END"
    )


def _harmless(column: str) -> str:
    """Whether the server may render a jsonb value without knowing what comes."""
    return (
        f"(m.{column}_bytes <= {_HARMLESS_BYTES} OR NOT jsonb_path_exists(m.{column}, "
        f"'{_OUT_OF_ALL}'))"
    )


def _text_bytes(column: str, column_type: PayloadType, most: str) -> str:
    """Bytes of a value as text; of one that cannot fit, as many as surely are too many.

    Digits are estimated before anything is rendered: what is rendered is ten messages at most.
    """
    if column_type == "bytea":
        return f"least(octet_length({column}), {_MANY})"
    unpacked = f"pg_column_size({column} #> '{{}}')"
    powers = (100_000, 30_000, 10_000, 3_000, 1_000, 300, 100, 30)
    digits = " ".join(f"WHEN abs(v::numeric) >= 1e{power} THEN {power}" for power in powers)
    least = (
        f"(SELECT coalesce(sum(scale(v::numeric) + CASE {digits} ELSE 1 END), 0) "  # noqa: S608
        f"FROM jsonb_path_query({column}, '{_NUMBERS}') v)"
    )
    return (
        f"least(CASE WHEN {unpacked} > {{largest}} THEN {unpacked} "
        f"ELSE CASE WHEN {unpacked} > 64 AND {least} > {most} THEN {least} "
        f"ELSE octet_length({column}::text) END END, {_MANY})::integer"
    )
