"""The sequence of positions: whether inserts can go on drawing from it, and putting it right.

Called by the relay every few seconds and by the operator at each pass. A data-only restore, logical
replication and a `setval` by hand leave the sequence before positions that are in use: every
insert of a business transaction then fails with a duplicate key.
"""

from __future__ import annotations

from typing import Final

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.tables import POSITION_SEQUENCE, quoted

_MARGIN: Final = 1_000_000
"""Positions left out: more than writers draw while the sequence is being moved."""
_EXACT: Final = 2**53
"""Up to here positions are exact in JSON; the sequence never gets there by itself."""
_FIRST: Final = "$1::text"


async def mend_positions(connection: Connection, schema: str) -> str | None:
    """Move the sequence behind all positions in use, if it is not there.

    Returns:
        What was found and done, after its reason and a colon; None: all is well, or somebody
        else is at it. The table keeps it for the status.

    Raises the driver's errors.
    """
    name = f"{quoted(schema)}.{quoted(POSITION_SEQUENCE)}"
    if not await connection.fetchval(behind(schema), name):
        return None
    async with holding(connection, schema_lock("upkeep", schema)) as held:
        if not held:
            return None
        done: str | None = await connection.fetchval(
            statement(
                "upkeep_mend_position", schema=schema, used=_used(schema, _FIRST), margin=_MARGIN
            ),
            name,
        )
    return done


def behind(schema: str, named: str = _FIRST) -> str:
    """The statement that says whether the sequence stands before positions in use.

    Args:
        schema: Of the outbox.
        named: SQL for the name of the sequence, as text; by default the first argument.
    """
    return statement("upkeep_position_behind", schema=schema, used=_used(schema, named))


def _used(schema: str, named: str) -> str:
    sequence = f"{quoted(schema)}.{quoted(POSITION_SEQUENCE)}"
    return statement(
        "upkeep_positions_used", schema=schema, sequence=sequence, named=named,
        margin=_MARGIN, exact=_EXACT,
    )  # fmt: skip
