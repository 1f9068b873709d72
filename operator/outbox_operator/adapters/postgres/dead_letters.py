"""The dead letters of an outbox: list, show, replay, purge. For people, by way of the CLI.

Replay writes new events. A key that has dead letters is blocked, so all of its dead letters go
together, oldest first, and only when nothing of the key is on its way: order is kept, or the
replay is refused. Needs the rights of the role that owns the tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import LONGEST_NAME_READ, MAX_NAME_BYTES

PAGE: Final = 100
_LOCK_MILLISECONDS: Final = 50
"""Writers may queue behind us for that long."""
_HELD_MILLISECONDS: Final = 1000
"""No statement of ours takes longer while they do."""
_PAUSE_SECONDS: Final = 0.1
_WAITING: Final = "events of the key wait for the relay"
_PAYLOAD: Final = {"jsonb": "convert_to(payload::text, 'UTF8')", "bytea": "payload"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters; None takes all.

    Attributes:
        positions: Of the events in the outbox.
        keys: Partition keys.
        event_types: Exact types.
        reasons: Why they are dead.
    """

    positions: tuple[int, ...] | None = None
    keys: tuple[str, ...] | None = None
    event_types: tuple[str, ...] | None = None
    reasons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter, without its payload.

    Attributes:
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

    async def find(
        self, wanted: DeadLetterFilter, *, after: int = 0, limit: int = PAGE
    ) -> list[DeadLetter]:
        """A page of them by position, behind position `after`."""
        with errors(self._target):
            rows = await self._connection.fetch(
                self._sql("dead_letters_list", longest_name=LONGEST_NAME_READ),
                wanted.positions, wanted.keys, wanted.event_types, wanted.reasons, after, limit,
            )  # fmt: skip
        return [DeadLetter(**dict(row)) for row in rows]

    async def show(self, position: int) -> WholeDeadLetter | None:
        """One of them; None: there is no dead letter at that position."""
        sql = self._sql("dead_letters_show", payload=_PAYLOAD[self._payload_type])
        with errors(self._target):
            row = await self._connection.fetchrow(sql, position)
        return None if row is None else WholeDeadLetter(**dict(row))

    async def purge(self, wanted: DeadLetterFilter) -> Sequence[int]:
        """Give them up; returns their positions. A key without any flows again."""
        positions = [letter.position for letter in await self._all(wanted)]
        with errors(self._target):
            rows = await self._connection.fetch(self._sql("dead_letters_purge"), positions)
        return sorted(row[0] for row in rows)

    async def replay(self, wanted: DeadLetterFilter, *, patience: float = 10.0) -> dict[int, str]:
        """Write them as new events, and with them all other dead letters of their keys.

        Args:
            patience: Seconds to wait for a moment in which nothing of a key is on its way.

        Returns:
            The new event id by old position.

        Raises:
            ConflictError: Events of a key keep waiting or being written, or the table of events
                does not take one of them. What was replayed until then, of other keys, is.
        """
        chosen = await self._all(wanted)
        replayed = await self._release([d.position for d in chosen if not d.partition_key])
        for key in dict.fromkeys(d.partition_key for d in chosen if d.partition_key):
            replayed |= await self._release_key(key, patience)
        return replayed

    async def _all(self, wanted: DeadLetterFilter) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        while True:
            after = found[-1].position if found else 0
            page = await self.find(wanted, after=after, limit=1000)
            if not page:
                return found
            found += page

    async def _release_key(self, key: str, patience: float) -> dict[int, str]:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            released, waiting_for = await self._try_key(key)
            if waiting_for is None:
                return released
            if asyncio.get_running_loop().time() >= deadline:
                raise ConflictError(
                    f"dead letters of key {key!r} in {self._target.address} schema "
                    f"{self._schema}: {waiting_for}; nothing of this key was replayed, because "
                    "its order would change; try again later"
                )
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _try_key(self, key: str) -> tuple[dict[int, str], str | None]:
        """Replay a key now; the second part says what is in the way, if anything is."""
        if await self._waits(key):
            return {}, _WAITING
        try:
            with errors(self._target):
                async with self._connection.transaction():
                    await self._connection.execute(self._lock_sql())
                    if await self._waits(key):
                        return {}, _WAITING
                    letters = await self._all(DeadLetterFilter(keys=(key,)))
                    return await self._release([letter.position for letter in letters]), None
        except PostgresError as error:
            if error.reason not in (Reason.LOCK_TIMEOUT, Reason.STATEMENT_TIMEOUT):
                raise
            return {}, "a transaction that writes events has been open for a while"

    def _lock_sql(self) -> str:
        """For the transaction: no writer has a position that is not committed, and no relay
        writes dead letters."""
        return statement(
            "dead_letters_lock",
            schema=self._schema,
            lock=_LOCK_MILLISECONDS,
            held=_HELD_MILLISECONDS,
        )

    async def _waits(self, key: str) -> bool:
        """Whether events of the key wait that the relay has not accounted for."""
        with errors(self._target):
            found: bool = await self._connection.fetchval(self._sql("dead_letters_pending"), key)
        return found

    async def _release(self, positions: list[int]) -> dict[int, str]:
        if not positions:
            return {}
        with errors(self._target):
            unfit = await self._connection.fetch(
                self._sql("dead_letters_unfit"), positions, MAX_NAME_BYTES
            )
            if unfit:
                raise ConflictError(
                    f"dead letter {unfit[0]['position']} in {self._target.address} schema "
                    f"{self._schema}: {unfit[0]['name']} has {unfit[0]['bytes']} bytes, the table "
                    f"of events takes {MAX_NAME_BYTES}; it can only be purged, and nothing that "
                    "goes with it was replayed"
                )
            rows = await self._connection.fetch(self._sql("dead_letters_replay"), positions)
        return {row["was"]: row["id"] for row in rows}

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)
