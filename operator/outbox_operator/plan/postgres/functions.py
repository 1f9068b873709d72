"""The functions that write an event from plain SQL: as values, and the SQL that creates them.

`emit` inserts; `emit_strict` takes the lock of the event's key first, for writers that do not
lock their aggregate themselves. Both make up the id: RETURNING would need the right to read. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outbox_operator.plan.postgres.state import DesiredDatabase
from outbox_operator.wire import tables
from outbox_operator.wire.advisory_locks import key_lock_sql
from outbox_operator.wire.tables import quoted

EMIT: Final = "emit"
EMIT_STRICT: Final = "emit_strict"
NAMES: Final = (EMIT, EMIT_STRICT)
_SINCE: Final = {EMIT: 1, EMIT_STRICT: 2}

_BODY: Final = """
DECLARE
  id uuid := gen_random_uuid();
BEGIN{lock}
  INSERT INTO {events} (event_id, event_type, partition_key, payload, headers)
  VALUES (id, event_type, coalesce(key, ''), payload, coalesce(headers, '{{}}'));
  RETURN id;
END
"""
# A statement of its own: the lock must be held before the INSERT draws a position.
_LOCK: Final = """
  IF key <> '' THEN
    PERFORM {lock};
  END IF;"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as wanted.

    Attributes:
        since: Schema version that brought it.
    """

    schema: str
    name: str
    payload_type: str
    body: str
    since: int

    @property
    def arguments(self) -> str:
        """Types of the arguments, as the catalog prints them."""
        return arguments(self.payload_type)

    @property
    def signature(self) -> str:
        """Name and types of the arguments."""
        return f"{self.name}({self.arguments})"

    def create_sql(self) -> str:
        """CREATE OR REPLACE FUNCTION."""
        # The argument names are part of the interface; columns of the same name are no conflict,
        # because an INSERT's column list and VALUES are told apart.
        return (
            f"CREATE OR REPLACE FUNCTION {quoted(self.schema)}.{self.name}("
            f"event_type text, key text, payload {self.payload_type}, "
            "headers jsonb DEFAULT '{}'::jsonb) RETURNS uuid LANGUAGE plpgsql AS "
            f"$emit${self.body}$emit$"
        )


def arguments(payload_type: str) -> str:
    """Types of the arguments of these functions, as the catalog prints them."""
    return f"text, text, {payload_type}, jsonb"


def outbox_functions(desired: DesiredDatabase) -> tuple[Function, ...]:
    """The functions of a pipeline."""
    return tuple(
        Function(
            schema=desired.schema,
            name=name,
            payload_type=desired.payload_type,
            body=_body(desired.schema, strict=name == EMIT_STRICT),
            since=_SINCE[name],
        )
        for name in NAMES
    )


def _body(schema: str, *, strict: bool) -> str:
    lock = _LOCK.format(lock=key_lock_sql(schema, "key")) if strict else ""
    return _BODY.format(events=f"{quoted(schema)}.{quoted(tables.EVENTS)}", lock=lock)
