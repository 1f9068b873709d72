"""Who owns which shard: session locks in PostgreSQL, held by one connection per relay process.

Called by `relay.ownership`. A relay that is there holds the lock of its member number; an owner
holds the lock of its shard besides. Nothing is written: members and owners are read from the
lock table. The locks live exactly as long as the connection, and the server ends that when it
hears nothing for `IDLE_SECONDS`, so a frozen process loses its shards.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres import positions
from outbox_operator.adapters.postgres.errors import transaction_pooler
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.rows import Bound
from outbox_operator.adapters.postgres.session import Session
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire import schema_mark
from outbox_operator.wire.advisory_locks import shard_lock_class
from outbox_operator.wire.tables import POSITION_SEQUENCE, quoted

IDLE_SECONDS: Final = 10.0
"""Silence after which the server ends the session (from PostgreSQL 14 on); a relay that is alive
asks every second."""
STATEMENT_SECONDS: Final = 5.0
_NEAR: Final = 1_000_000
"""Positions around the newest that news are looked for in: what a transaction commits elsewhere,
because it began before a rotation, its shard finds by itself, a little later."""
_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LocksView:
    """The lock table as far as it is about us.

    Attributes:
        members: Numbers of the relays that are there.
        holders: The member that holds a shard; None: a relay that is leaving. Free ones are absent.
    """

    members: frozenset[int]
    holders: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class News:
    """What became visible since a snapshot.

    Attributes:
        snapshot: Of now.
        position: The newest that was given out.
        shards: Those that have such events.
    """

    snapshot: str
    position: int
    shards: Sequence[int]


class ShardLocks(Session):
    """One connection that holds locks, and asks what concerns all shards.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: From `adapters.postgres.connection.connect`; used by nobody else.
        target: For messages.
        schema: Of the pipeline's tables; relays of other schemas do not meet ours.

    Attributes:
        member: Our number; 0 before `join`.
    """

    def __init__(
        self, connection: postgres.Connection, target: PostgresTarget, *, schema: str
    ) -> None:
        super().__init__(connection, target)
        self._schema = schema
        self._members = shard_lock_class("member", schema)
        self._shards = shard_lock_class("shard", schema)
        self._channel = f"outbox_relay_{self._shards}"
        self._turn = asyncio.Lock()
        self.member = 0

    @property
    def address(self) -> str:
        """Where the locks are, safe to show."""
        return self._target.address

    async def join(self, on_change: Callable[[], None]) -> None:
        """Be there for the other relays.

        Args:
            on_change: Called when some relay has let go of something.
        """
        async with self._statement():
            await postgres.end_when_idle(self._connection, IDLE_SECONDS)
            await self._plan_as_walks()
            await self._connection.add_listener(self._channel, lambda *_: on_change())
            while not self.member:
                number = 1 + secrets.randbelow(2**31 - 1)
                if await self._lock(self._members, number):
                    self.member = number

    async def leave(self) -> None:
        """No longer count as one who could own shards; those held stay ours until `release`."""
        async with self._statement():
            await self._unlock(self._members, self.member)

    async def view(self) -> LocksView:
        """Who is there, and who holds what.

        Raises:
            UnsupportedServerError: We joined, but this session does not hold our lock: a pooler
                hands our statements to changing sessions (reason TransactionPooler).
        """
        async with self._statement():
            rows = await self._connection.fetch(
                statement("relay_shard_locks"), self._members, self._shards
            )
        members = {row["pid"]: row["number"] for row in rows if row["is_member"]}
        if not any(row["ours"] and row["number"] == self.member for row in rows):
            raise transaction_pooler(self._target)
        return LocksView(
            members=frozenset(members.values()),
            holders={
                row["number"]: members.get(row["pid"]) for row in rows if not row["is_member"]
            },
        )

    async def may_be_notified(self) -> bool:
        """Whether the trigger of the table notifies: not where transactions may be prepared."""
        async with self._statement():
            prepares: bool = await self._connection.fetchval(statement("session_prepares"))
        return not prepares

    async def check_mark(self, owner_uid: str | None) -> None:
        """Whether the tables are those of our pipeline.

        Args:
            owner_uid: Its UID; None: whoever's.

        Raises:
            ConflictError: They carry the mark of another one, whose relay is to publish them.
        """
        if owner_uid is None:
            return
        async with self._statement():
            comment = await self._connection.fetchval(statement("session_mark"), self._schema)
        found = schema_mark.owner_uid(comment)
        if found not in (None, owner_uid):
            raise ConflictError(
                f"PostgreSQL at {self.address}: schema {self._schema} belongs to another pipeline "
                "now; nothing of it is published here (see SchemaApplied of both)",
                reason=Reason.TAKEN_OVER,
            )

    async def mend_positions(self) -> str | None:
        """Let inserts go on that fail because the sequence of positions stands before some in use.

        Returns:
            What was found and done, after its reason and a colon; None: all is well.
        """
        async with self._statement():
            return await positions.mend_positions(self._connection, self._schema)

    async def news(self, shards: Sequence[int], since: Bound, near: int | None) -> News:
        """Which of some shards have events that became visible since a snapshot.

        Args:
            shards: Their numbers.
            since: Transactions that the snapshot did not see.
            near: Position that was newest then; only events around it are looked for. None: all.
        """
        sequence = f"{quoted(self._schema)}.{quoted(POSITION_SEQUENCE)}"
        sql = statement("relay_news", schema=self._schema, sequence=sequence)
        low, high = (0, _LAST)
        if near is not None:
            low, high = max(near - _NEAR, 0), min(near + _NEAR, _LAST)
        async with self._statement():
            (row,) = await self._connection.fetch(
                sql, shards, since.from_xid, since.open_xids, low, high
            )
        everywhere = row["position"] > high  # the sequence was moved, to another partition
        return News(row["snapshot"], row["position"], shards if everywhere else row["shards"])

    async def take(self, shard: int) -> bool:
        """Try to get a shard's lock; the answer comes at once."""
        async with self._statement():
            return await self._lock(self._shards, shard)

    async def release(self, shard: int) -> None:
        """Let go of a shard, and tell the other relays."""
        async with self._statement():
            await self._unlock(self._shards, shard)

    @asynccontextmanager
    async def _statement(self) -> AsyncIterator[None]:
        async with self._turn:
            with self._asking():
                yield

    async def _lock(self, kind: int, number: int) -> bool:
        return bool(await self._connection.fetchval(statement("lock_try_two"), kind, number))

    async def _unlock(self, kind: int, number: int) -> None:
        held = await self._connection.fetchval(
            statement("lock_release_two"), kind, number, self._channel
        )
        if not held:
            raise PostgresError(
                f"PostgreSQL at {self.address}: this session does not hold advisory lock "
                f"({kind}, {number}), which it took; something ran pg_advisory_unlock_all() in it",
                reason=Reason.LOCK_LOST,
            )
