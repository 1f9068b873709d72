"""Reads the rows of a range of an outbox, for a comparison with its stream.

Called by the controller for a `verify` task. Reads positions and ids, never a payload. Needs the
rights of the role that owns the tables, or of the relay's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.plan.doctor.delivery import Copy, LeftRow

_PAGE: Final = 10_000
_DETAILS: Final = 1000


@dataclass(frozen=True, slots=True)
class RowAt:
    """Where a row is.

    Dead letters and replays are written once more with the time of the first one, so that times do
    not grow with positions.
    """

    position: int
    created_at: datetime


class RowsRange:
    """Rows of one outbox by position. Every method raises the errors of `adapters.postgres.errors`.

    Args:
        connection: Of the role that owns the tables.
        target: For messages.
        schema: Of the tables.
    """

    def __init__(self, connection: Connection, target: PostgresTarget, schema: str) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema

    async def first_at(self, position: int) -> RowAt | None:
        """The first row at a position or behind it; None: there is none."""
        return await self._one("verify_next", position)

    async def last(self) -> RowAt | None:
        """The last row; None: there is none."""
        return await self._one("verify_last")

    async def rows(self, low: int, high: int) -> AsyncGenerator[tuple[RowAt, bool], None]:
        """All rows of a range, and whether the relay says that they are published."""
        while low < high:
            with errors(self._target):
                page = await self._connection.fetch(self._sql("verify_rows"), low, high, _PAGE)
            for row in page:
                yield RowAt(row["position"], row["created_at"]), row["due"]
            if len(page) < _PAGE:
                return
            low = page[-1]["position"] + 1

    async def left(self, positions: Sequence[int]) -> list[LeftRow]:
        """What tells why these rows, a page of them at most, have no message."""
        texts = [str(position) for position in positions[:_DETAILS]]
        with errors(self._target):
            found = await self._connection.fetch(self._sql("verify_rows_of"), texts)
            doubtful = [
                str(row["position"]) for row in found if not row["dead"] and row["released"] is None
            ]
            again = (
                await self._connection.fetch(self._sql("verify_again"), doubtful)
                if doubtful
                else []
            )
        renewed = {row["position"] for row in again if row["renewed"]}
        copies = defaultdict[int, list[Copy]](list)
        for row in again:
            if row["copied"]:
                copies[row["position"]].append(Copy(row["again"], row["consumer"]))
        return [
            LeftRow(
                position=row["position"],
                shard=row["shard"],
                event_id=str(row["event_id"]),
                created_at=row["created_at"],
                dead=row["dead"],
                renewed=bool(row["released"]) or row["position"] in renewed,
                given_up=row["released"] is False and not row["dead"],
                of=row["of"],
                to=row["consumer"],
                copies=tuple(copies.get(row["position"], ())),
            )
            for row in found
        ]

    async def noted_since(self) -> datetime | None:
        """Since when dead letters that are given up leave a trace; None: always."""
        with errors(self._target):
            found: datetime | None = await self._connection.fetchval(
                self._sql("session_noted_since")
            )
        return found

    async def _one(self, name: str, *arguments: object) -> RowAt | None:
        with errors(self._target):
            row = await self._connection.fetchrow(self._sql(name), *arguments)
        return None if row is None else RowAt(row["position"], row["created_at"])

    def _sql(self, name: str) -> str:
        return statement(name, schema=self._schema)
