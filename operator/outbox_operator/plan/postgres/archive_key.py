"""How the events of an archive get another key while they are written and read. Pure.

The key of version 1 began with the id alone. Whoever stores an event asks whether it is there, by
id and source: of an id under many sources it read them all, for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from outbox_operator.plan.postgres.archive_schema import EVENTS_KEY, leaf_index
from outbox_operator.plan.postgres.schema import Index, Table, columns_sql, literal, qualify
from outbox_operator.plan.postgres.state import Statement
from outbox_operator.wire.tables import quoted

FORMER_KEY: Final = ("id", "stored_at", "class")
"""Of version 1."""


def key_statements(events: Table, leaves: Iterable[str], *, drift: bool) -> Iterator[Statement]:
    """What gives the events of version 1 their key.

    First each leaf gets its index, while rows are written; the last steps, in the transaction, only
    tie these together. What one attempt has built the next one finds: the plan stays the same, and
    so does what a person has approved. Programs of version 1 write and read with either key.

    Args:
        events: The table of all events, with the key that is wanted.
        leaves: Names of the tables with rows.
        drift: Whether the former key came back by hand.
    """
    schema = events.schema
    indexes = {leaf: leaf_index(leaf, Index(name="", columns=EVENTS_KEY)) for leaf in leaves}
    for leaf, index in indexes.items():
        yield _drop_unfinished(schema, index)
        yield Statement(
            sql=f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} "
            f"ON {qualify(schema, leaf)} ({columns_sql(EVENTS_KEY)})",
            reason=f"build the key of {leaf}, which holds the source of an event",
            drift=drift,
            concurrent=True,
        )
    key = quoted(events.primary_key_name)
    alter = f"ALTER TABLE {events.qualified}"
    yield Statement(
        sql=f"{alter} DROP CONSTRAINT {key}", reason="drop the key of version 1", drift=drift
    )
    for leaf, index in indexes.items():
        yield Statement(
            sql=f"ALTER TABLE {qualify(schema, leaf)} ADD CONSTRAINT {quoted(f'{leaf}_pkey')} "
            f"PRIMARY KEY USING INDEX {quoted(index)}",
            reason=f"use the key of {leaf}",
            drift=drift,
        )
    yield Statement(
        sql=f"{alter} ADD CONSTRAINT {key} {events.primary_key_sql()}",
        reason="make them the key of all events",
        drift=drift,
    )


def _drop_unfinished(schema: str, index: str) -> Statement:
    """What is left of an index whose build was cut off takes room, and is of no use."""
    name = qualify(schema, index)
    return Statement(
        sql=f"DO $unfinished$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_index "
        f"WHERE indexrelid = to_regclass({literal(name)}) AND NOT indisvalid) "
        f"THEN DROP INDEX {name}; END IF; END $unfinished$",
        reason=f"drop what is left of index {index}",
        concurrent=True,
    )
