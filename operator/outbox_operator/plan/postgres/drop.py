"""What goes when a pipeline goes: its tables (Delete) or only its mark (Retain). Pure."""

from __future__ import annotations

from outbox_operator.plan.postgres.functions import NAMES, arguments
from outbox_operator.plan.postgres.mark import Mark, parse_mark
from outbox_operator.plan.postgres.schema import literal, qualify
from outbox_operator.plan.postgres.state import ObservedDatabase, Statement
from outbox_operator.plan.postgres.wakeup import FUNCTION
from outbox_operator.plan.state import Owner
from outbox_operator.wire import tables
from outbox_operator.wire.tables import POSITION_SEQUENCE, quoted


def _own_mark(observed: ObservedDatabase, owner: Owner) -> Mark | None:
    mark = parse_mark(observed.schema.comment) if observed.schema else None
    return mark if mark is not None and mark.owner.uid == owner.uid else None


def drop_statements(schema: str, observed: ObservedDatabase, owner: Owner) -> tuple[Statement, ...]:
    """Drop every object of ours; empty when the schema does not carry this owner's mark.

    Without CASCADE: a view that somebody built on our tables makes it fail, and is not lost.
    """
    if _own_mark(observed, owner) is None:
        return ()
    texts = [f"TABLE IF EXISTS {qualify(schema, table)}" for table in tables.OUTBOX_TABLES]
    texts += [
        f"FUNCTION IF EXISTS {quoted(schema)}.{name}({arguments(payload_type)})"
        for name in NAMES
        for payload_type in ("jsonb", "bytea")
    ]
    texts.append(f"FUNCTION IF EXISTS {qualify(schema, FUNCTION)}()")
    texts.append(f"SEQUENCE IF EXISTS {qualify(schema, POSITION_SEQUENCE)}")
    return tuple(
        Statement(sql=f"DROP {text}", reason=f"drop {text}", destructive=True) for text in texts
    )


def release_statements(
    schema: str, observed: ObservedDatabase, owner: Owner
) -> tuple[Statement, ...]:
    """Put the schema's former comment back; empty when the mark is not this owner's."""
    mark = _own_mark(observed, owner)
    if mark is None:
        return ()
    comment = literal(mark.comment) if mark.comment is not None else "NULL"
    return (
        Statement(
            sql=f"COMMENT ON SCHEMA {quoted(schema)} IS {comment}",
            reason=f"release schema {schema}",
        ),
    )
