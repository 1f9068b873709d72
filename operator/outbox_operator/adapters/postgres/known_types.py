"""A connection that does not ask what PostgreSQL's own types are, once a server has said it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import asyncpg

_FIRST_ASSIGNED: Final = 10_000
"""Below, a number stands for the same type in every database of every server."""


class _Answered(NamedTuple):
    """In place of the driver's statement, of which it wants to know whether it has a name."""

    name: str = "of another session"


class TypeKnowing(asyncpg.Connection):
    """The driver's, which asks for arrays of PostgreSQL's types once in a process.

    By itself it asks in each session, before the first statement that has one: as long again as it
    takes to connect, on both sides. A version that does not ask in this way asks as it always did.
    """

    _told: Final[dict[frozenset[int], Sequence[Any]]] = {}

    async def _introspect_types(self, typeoids: Collection[int], timeout: float | None) -> Any:
        key = frozenset(typeoids)
        told = self._told.get(key)
        if told is not None:
            return told, _Answered()
        answer: Any = await super()._introspect_types(typeoids, timeout)  # type: ignore[misc] # the driver's
        # Rows of the catalog have other columns in each version.
        if max(key) < _FIRST_ASSIGNED and all(one["attrtypoids"] is None for one in answer[0]):
            self._told[key] = answer[0]
        return answer
