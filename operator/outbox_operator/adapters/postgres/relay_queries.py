"""What the statements of the data plane have in common: columns, their sizes, and their output.

`sql/relay_*.sql` are filled in with it.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

from outbox_operator.adapters.postgres import queries

PayloadType = Literal["jsonb", "bytea"]

_COLUMNS: Final = (
    "position, event_id, event_type, partition_key, routing_key, payload, headers, created_at"
)
_FIRST_TIME: Final = "-62135596800e6"
_LAST_TIME: Final = "253402300799e6"
"""Years 1 and 9999: a column may hold infinity, and header values may not."""
_OUTPUT: Final = (
    "m.position, m.event_id::text, m.event_type, m.partition_key, m.routing_key, "
    "CASE WHEN m.size <= {largest} THEN {payload} END AS payload, "
    "CASE WHEN m.size <= {largest} AND m.headers <> '{}' THEN m.headers::text END AS headers, "
    f"least(greatest(date_part('epoch', m.created_at) * 1e6, {_FIRST_TIME}), {_LAST_TIME})::bigint "
    "AS created_at"
)
"""In the order of `Row`. Text and integers are what costs the driver least."""
_LARGEST: Final = {"relay_poll": "$5", "relay_page": "$10", "relay_late": "$3"}
_PAYLOAD: Final = {"jsonb": "convert_to(m.payload::text, 'UTF8')", "bytea": "m.payload"}
_ROW_OVERHEAD_BYTES: Final = 300
"""Columns and headers of an ordinary row."""


@cache
def relay_statement(
    name: str,
    schema: str,
    payload_type: PayloadType,
    modern: bool,
    *,
    late: bool = False,
    between: bool = False,
) -> str:
    """The text of a statement.

    Args:
        name: Of its file.
        modern: Whether the server is PostgreSQL 14 or newer.
        late: Whether a poll is to look for rows of transactions that were open before.
        between: Whether it is to pass over the rows of transactions that are under way.
    """
    parts: dict[str, str] = {
        "columns": _COLUMNS,
        "size": _size(payload_type, modern),
        "output": _OUTPUT.replace("{payload}", _PAYLOAD[payload_type]).replace(
            "{largest}", _LARGEST.get(name, "")
        ),
    }
    if name == "relay_poll":
        fresh = "relay_poll_between" if between else "relay_poll_fresh"
        parts["fresh"] = queries.statement(fresh, schema=schema, **parts)
        parts["late"] = queries.statement("relay_poll_late", schema=schema, **parts) if late else ""
    elif name in ("relay_span", "relay_span_end"):
        parts["ranges"] = queries.statement("relay_ranges")
    return queries.statement(name, schema=schema, **parts)


def _size(payload_type: PayloadType, modern: bool) -> str:
    """SQL for the bytes a row will take once fetched, computed without fetching it."""
    payload = "octet_length(payload)" if payload_type == "bytea" else _text_size("payload", modern)
    # An integer, because its sum is a bigint; that of a bigint is a numeric, which is slow.
    return f"({payload} + {_text_size('headers', modern)} + {_ROW_OVERHEAD_BYTES})"


def _text_size(column: str, modern: bool) -> str:
    """About the bytes of a jsonb value as text.

    A compressed value must be unpacked to know its length as text; a plain one need not, and
    whether it is compressed is known from version 14 on.
    """
    unpacked = f"octet_length({column}::text)"
    if not modern:
        return unpacked
    return (
        f"CASE WHEN pg_column_compression({column}) IS NULL THEN pg_column_size({column}) "
        f"ELSE {unpacked} END"
    )
