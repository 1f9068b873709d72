"""The dead letters of an outbox: list, show, count, release, purge.

Called by tasks of the operator, and by the command line to list and show. A release writes new rows
of the same events. A key that has dead letters is blocked, so all of its dead letters go together,
oldest first, and only when nothing of the key is on its way: order is kept, or nothing is done.
Release and purge need the rights of the role that owns the tables.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.dead_letter_release import DeadLetterRelease
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.wire.tables import LONGEST_NAME_READ

PAGE: Final = 100
_PAYLOAD: Final = {"jsonb": "convert_to(payload::text, 'UTF8')", "bytea": "payload"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters; None takes all.

    Attributes:
        positions: Of the events in the outbox.
        event_ids: As text.
        keys: Partition keys.
        event_types: Exact types.
        reasons: Why they are dead.
        since: Dead since then.
        before: Dead before that.
        up_to: Up to this position, which is included.
        dead_until: Dead until then, which is included, by the clock of the database.
    """

    positions: tuple[int, ...] | None = None
    event_ids: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    event_types: tuple[str, ...] | None = None
    reasons: tuple[str, ...] | None = None
    since: datetime | None = None
    before: datetime | None = None
    up_to: int | None = None
    dead_until: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Of `dead_letters_which.sql`."""
        lists = (self.positions, self.event_ids, self.keys, self.event_types, self.reasons)
        return (
            *(None if one is None else _list(one) for one in lists),
            self.since, self.before, self.up_to, self.dead_until,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter, without its payload.

    Attributes:
        partition_key: Empty also when it is longer than the table of events takes.
        blocked: It is fine itself; an earlier event of its key is not.
    """

    position: int
    shard: int
    event_id: str
    event_type: str
    partition_key: str
    reason: str
    error: str
    blocked: bool
    created_at: datetime
    dead_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeDeadLetter(DeadLetter):
    """One dead letter with all it holds.

    Attributes:
        payload: JSON text or the bytes.
        headers: JSON text.
    """

    routing_key: str | None
    payload: bytes
    headers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many dead letters there are of some.

    Attributes:
        chosen: Those that were asked for.
        others_of_keys: Those of the same keys that were not.
        last_position: Of the last one chosen; 0: there is none.
        taken_at: When, by the clock of the database.
    """

    chosen: int
    others_of_keys: int
    last_position: int
    taken_at: datetime


class DeadLetterStore:
    """The table of one outbox.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: Of the role that owns the tables.
        target: For messages.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        payload_type: Literal["jsonb", "bytea"] = "jsonb",
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._payload_type = payload_type
        self._release = DeadLetterRelease(connection, target, schema)

    async def find(
        self, wanted: DeadLetterFilter, *, after: int = 0, limit: int = PAGE
    ) -> list[DeadLetter]:
        """A page of them by position, behind position `after`."""
        sql = self._sql("dead_letters_list", longest_name=LONGEST_NAME_READ, which=_which())
        with errors(self._target):
            rows = await self._connection.fetch(sql, *wanted.arguments(), after, limit)
        return [DeadLetter(**dict(row)) for row in rows]

    async def show(self, position: int) -> WholeDeadLetter | None:
        """One of them; None: there is no dead letter at that position."""
        sql = self._sql("dead_letters_show", payload=_PAYLOAD[self._payload_type])
        with errors(self._target):
            row = await self._connection.fetchrow(sql, position)
        return None if row is None else WholeDeadLetter(**dict(row))

    async def count(self, wanted: DeadLetterFilter, *, limit: int | None = None) -> Counted:
        """How many there are now, of the oldest `limit`."""
        sql = self._sql("dead_letters_count", which=_which())
        with errors(self._target):
            (row,) = await self._connection.fetch(sql, *wanted.arguments(), limit)
        return Counted(**dict(row))

    async def ids(self, wanted: Sequence[str]) -> frozenset[str]:
        """Which of some event ids are dead letters."""
        with errors(self._target):
            rows = await self._connection.fetch(self._sql("dead_letters_ids"), _list(wanted))
        return frozenset(row["event_id"] for row in rows)

    async def of_keys(self, keys: Collection[str], dead_until: datetime) -> Mapping[str, int]:
        """How many letters each key has that were dead by then; keys without any are left out."""
        sql = self._sql("dead_letters_of_keys")
        with errors(self._target):
            rows = await self._connection.fetch(sql, _list(keys), dead_until)
        return {row["partition_key"]: row["letters"] for row in rows}

    async def purge(self, positions: Sequence[int]) -> list[int]:
        """Give them up; returns those that were there. A key without any flows again."""
        with errors(self._target):
            rows = await self._connection.fetch(self._sql("dead_letters_purge"), _list(positions))
        return sorted(row[0] for row in rows)

    async def fates(self, positions: Sequence[int]) -> Mapping[int, bool]:
        """Which of these were dead letters, and whether they were released, or given up."""
        if not positions:
            return {}
        with errors(self._target):
            rows = await self._connection.fetch(self._sql("dead_letters_fates"), _list(positions))
        return {row["position"]: row["released"] for row in rows}

    async def release(self, positions: Sequence[int]) -> list[int]:
        """Write dead letters without a key as new rows; returns those that were there.

        Raises:
            ConflictError: The table of events does not take one of them; none was written.
            UnreadableRowsError: What one of them holds cannot be copied; none was written.
        """
        return await self._release.at(positions) if positions else []

    async def release_key(self, key: str, *, within: float | None = None) -> int | str | None:
        """Write all dead letters of a key as new rows, if nothing of the key is on its way.

        However many there are: nobody waits for it while they are moved.

        Args:
            within: Seconds that it may take; None: as long as it takes.

        Returns:
            How many there were; or what is in the way, or None when it takes longer, and nothing
            was done.

        Raises:
            ConflictError: The table of events does not take one of them; none was written.
            UnreadableRowsError: What one of them holds cannot be copied; none was written.
        """
        return await self._release.of_key(key, within)

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)


def _list(values: Iterable[int | str]) -> str:
    """As JSON that the server takes: no text of its tables holds a null byte or half a pair."""
    return json.dumps(
        [
            one.encode(errors="replace").decode() if isinstance(one, str) else one
            for one in values
            if not (isinstance(one, str) and "\0" in one)
        ]
    )


def _which() -> str:
    return statement("dead_letters_which")
