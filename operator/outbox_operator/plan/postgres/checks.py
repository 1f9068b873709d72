"""What the database itself refuses of a row of `events`: what could never be published. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outbox_operator.wire.tables import MAX_NAME_BYTES, NAME_COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What must be true of the rows of a table, as wanted.

    Attributes:
        name: Of the constraint: what a refused writer is told.
        condition: As PostgreSQL prints it, alone or as a part.
        since: Schema version that brought it.
        exempts: Whether the rows that a table holds when it gets one are let be for ever, and not
            only while nothing writes to them.
    """

    name: str
    condition: str
    since: int
    exempts: bool = True


_OWNED: Final = Check(
    name="no_negative_position_without_key", condition="(shard >= 0)", since=4, exempts=False
)
"""A row without a key goes by its position, and the shard of a negative one would be nobody's."""


def event_checks() -> tuple[Check, ...]:
    """Return the checks of `events`.

    Of names that are too long the rows of before are let be: they are published or poison, and a
    rebase must be able to write their transaction.
    """
    names = (
        Check(
            name=f"{column}_up_to_{MAX_NAME_BYTES}_bytes",
            condition=f"(octet_length({column}) <= {MAX_NAME_BYTES})",
            since=4,
        )
        for column in NAME_COLUMNS
    )
    return (*names, _OWNED)
