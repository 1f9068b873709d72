"""Carries out the upkeep of the events table that `plan.postgres.partitions` decides on.

Called by `PostgresAdmin.maintain`. Every lock is asked for with a short timeout and on one
partition only where that is possible: writers come first, upkeep tries again later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres.connection import STANDSTILL_MILLISECONDS, Connection
from outbox_operator.adapters.postgres.cursors import ObservedCursor, read_cursors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.replays import KEPT_SECONDS
from outbox_operator.adapters.postgres.schema_locks import holding
from outbox_operator.plan.postgres import partitions
from outbox_operator.plan.postgres.partitions import Partition, Stamp, parse_stamp
from outbox_operator.plan.postgres.schema import (
    literal,
    partition_bounds,
    partition_name,
    qualify,
)
from outbox_operator.wire import tables
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.tables import POSITION_SEQUENCE

_LOCK_MILLISECONDS: Final = 50
"""Writers may queue behind us for that long."""
_GAP_CHECK: Final = "outbox_gap"
_BATCH: Final = 1000
_BATCHES: Final = 20


@dataclass(kw_only=True)
class MaintenanceResult:
    """What one round of upkeep did.

    Attributes:
        created: Partitions added.
        rotated: The partition that new rows go to from now on.
        truncated: Partitions emptied.
        dropped: Empty partitions removed.
        deleted: Rows deleted from a table without partitions.
        deferred: What a busy table did not allow now.
    """

    created: list[str] = field(default_factory=list)
    rotated: str | None = None
    truncated: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    deleted: int = 0
    deferred: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.created or self.rotated or self.truncated or self.dropped or self.deleted)


async def maintain(connection: Connection, schema: str, retention: float) -> MaintenanceResult:
    """One round of upkeep. Raises the driver's errors, but none for a busy table."""
    result = MaintenanceResult()
    async with holding(connection, schema_lock("upkeep", schema)) as held:
        if held:
            await _Upkeep(connection, schema, retention, result).run()
        else:
            result.deferred.append("another one is at it")
    return result


class _Upkeep:
    def __init__(
        self, connection: Connection, schema: str, retention: float, result: MaintenanceResult
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._retention = retention
        self._result = result
        self._cursors = qualify(schema, tables.CURSORS)
        self._sequence = qualify(schema, POSITION_SEQUENCE)

    @property
    def _busy(self) -> bool:
        return bool(self._result.deferred)

    async def run(self) -> None:
        cursors = await read_cursors(self._connection, self._schema)
        found, default_checked = await self._partitions()
        known = bool(cursors) and not any(cursor.origin.problem() for cursor in cursors)
        if not found:  # adopted as it was, without partitions
            if known:
                await self._delete_published(cursors)
            await self._forget()
            return
        position: int = await self._connection.fetchval(
            statement("upkeep_position", sequence=self._sequence)
        )
        adding = partitions.missing(found, position)
        if adding or default_checked:
            await self._add(adding, _default(found), default_checked)
            found, _ = await self._partitions()
        position = await self._rotate(found, position)
        if known:  # otherwise nobody can tell what is published
            for partition in partitions.closed(found, position):
                await self._prune(partition, cursors)
        await self._forget()

    async def _forget(self) -> None:
        """Forget the notes about rows that are gone."""
        if (self._result.truncated or self._result.deleted) and await self._connection.fetchval(
            statement("session_former_known", schema=self._schema)
        ):
            await self._connection.execute(statement("upkeep_forget_former", schema=self._schema))

    async def _replayed(self) -> range | None:
        """Return the positions that replays have still to copy; None: none."""
        if not await self._connection.fetchval(
            statement("upkeep_replays_known", schema=self._schema)
        ):
            return None
        (row,) = await self._connection.fetch(
            statement("upkeep_replaying", schema=self._schema, kept=KEPT_SECONDS)
        )
        return None if row["after"] is None else range(row["after"] + 1, row["up_to"] + 1)

    async def _partitions(self) -> tuple[list[Partition], bool]:
        """The partitions, and whether a check of an interrupted round is still there."""
        rows = await self._connection.fetch(
            statement("admin_partitions"), self._schema, tables.EVENTS, _GAP_CHECK
        )
        found = [
            Partition(
                name=row["name"],
                low=row["low"],
                high=row["high"],
                stamp=parse_stamp(row["comment"]),
            )
            for row in rows
        ]
        return found, any(row["has_gap_check"] for row in rows)

    @asynccontextmanager
    async def _brief(self, doing: str) -> AsyncIterator[None]:
        """A transaction that gives up soon, to be tried again in the next round."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(
                    statement("upkeep_brief", lock=_LOCK_MILLISECONDS, idle=STANDSTILL_MILLISECONDS)
                )
                yield
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            self._result.deferred.append(doing)

    async def _add(
        self, numbers: Sequence[int], default: Partition | None, default_checked: bool
    ) -> None:
        """Add partitions by ATTACH, which lets writers pass, unlike CREATE … PARTITION OF."""
        occupied = default is not None and (default_checked or await self._has_rows(default.name))
        # ATTACH would scan the default partition under a lock; a valid check spares it that.
        if default is not None and occupied and not await self._check_gap(default.name, numbers):
            return
        for number in numbers:
            name, (low, high) = partition_name(number), partition_bounds(number)
            async with self._brief(f"add partition {name}"):
                await self._connection.execute(
                    self._sql("upkeep_add_partition", name, low=low, high=high)
                )
                self._result.created.append(name)
            if self._busy:
                break
        if default is not None and occupied:
            async with self._brief(f"drop the check of {default.name}"):
                await self._connection.execute(self._sql("upkeep_drop_check", default.name))

    async def _check_gap(self, default: str, numbers: Sequence[int]) -> bool:
        """Prove to the server that no row of the default partition is in the new ranges."""
        done = False
        async with self._brief(f"prepare {default} for new partitions"):
            await self._connection.execute(self._sql("upkeep_drop_check", default))
            if numbers:
                low, high = partition_bounds(numbers[0])[0], partition_bounds(numbers[-1])[1]
                await self._connection.execute(
                    self._sql("upkeep_add_check", default, low=low, high=high)
                )
            done = True
        if done and numbers:
            done = False
            async with self._brief(f"prepare {default} for new partitions"):
                # Reads the whole partition, but under a lock that lets writers and readers pass.
                await self._connection.execute(self._sql("upkeep_validate_check", default))
                done = True
        return done

    async def _rotate(self, found: Sequence[Partition], position: int) -> int:
        """Move the sequence to the next partition when the current one has been filled a while."""
        now = partitions.current(found, position)
        if now is not None:
            age: float | None = await self._connection.fetchval(self._sql("upkeep_age", now.name))
            if age is None or age < partitions.rotation_seconds(self._retention):
                return position
        target = partitions.rotation_target(found, position)
        if target is None:
            return position
        moved: int | None = await self._connection.fetchval(
            statement("upkeep_move_position", sequence=self._sequence),
            self._sequence,
            target,
        )
        if moved is None:
            return position
        into = partitions.current(found, target)
        self._result.rotated = into.name if into else None
        return target

    async def _prune(self, partition: Partition, cursors: Sequence[ObservedCursor]) -> None:
        name = partition.name
        if not await self._has_rows(name):
            if not partition.is_default and not self._busy:
                # This one needs the lock on the whole table, if only for a moment. Who does not
                # get it does not try again at once: writers have waited for that long already.
                async with self._brief(f"drop partition {name}"):
                    await self._connection.execute(self._sql("upkeep_drop_partition", name))
                    self._result.dropped.append(name)
            return
        stamp = _counting(partition.stamp, cursors)
        if stamp is None or await self._outside(name, stamp.snapshots):
            fresh = await self._new_stamp(cursors)
            if not await self._outside(name, fresh.snapshots):
                await self._stamp(name, fresh)
        elif partitions.prunable(stamp, now=await self._clock(), retention=self._retention):
            await self._truncate(partition, stamp.snapshots)

    async def _truncate(self, partition: Partition, snapshots: Mapping[int, str]) -> None:
        """Empty a partition, unless a row has come meanwhile that is not published."""
        name = partition.name
        async with self._brief(f"empty partition {name}"):
            # Waits for writers that have a row in this very partition, and for no others.
            await self._connection.execute(self._sql("upkeep_lock_partition", name))
            if partition.overlaps(await self._replayed()):
                self._result.deferred.append(f"empty partition {name}, which a replay reads")
            elif not await self._outside(name, snapshots):
                await self._connection.execute(self._sql("upkeep_empty_partition", name))
                self._result.truncated.append(name)

    async def _clock(self) -> datetime:
        clock: datetime = await self._connection.fetchval(statement("upkeep_clock"))
        return clock

    async def _new_stamp(self, cursors: Sequence[ObservedCursor]) -> Stamp:
        return Stamp(
            published_at=await self._clock(),
            system=cursors[0].origin.server_system,
            snapshots={cursor.shard: cursor.snapshot for cursor in cursors},
        )

    async def _stamp(self, name: str, stamp: Stamp) -> None:
        """Write a stamp on a table."""
        async with self._brief(f"note that {name} is published"):
            await self._connection.execute(
                self._sql("upkeep_comment", name, comment=literal(stamp.text()))
            )

    async def _has_rows(self, name: str) -> bool:
        found: bool = await self._connection.fetchval(self._sql("upkeep_has_rows", name))
        return found

    async def _outside(self, name: str, snapshots: Mapping[int, str]) -> bool:
        """Whether a partition holds a row that is in none of the snapshots."""
        shards = sorted(snapshots)
        outside: bool = await self._connection.fetchval(
            self._sql("admin_unpublished", name, open=statement("admin_open_xids")),
            [str(shard) for shard in shards],
            [snapshots[shard] for shard in shards],
        )
        return outside

    async def _delete_published(self, cursors: Sequence[ObservedCursor]) -> None:
        """Without partitions rows go one by one; the cursors' table carries the stamp then."""
        comment: str | None = await self._connection.fetchval(
            statement("upkeep_comment_of"), self._cursors
        )
        stamp = _counting(parse_stamp(comment), cursors)
        if stamp is not None:
            # The age of a row says nothing about when it was published, hence both.
            if not partitions.prunable(stamp, now=await self._clock(), retention=0):
                return
            if await self._replayed():
                self._result.deferred.append("delete rows, which a replay reads")
                return
            await self._delete(stamp.snapshots)
        await self._stamp(tables.CURSORS, await self._new_stamp(cursors))

    async def _delete(self, snapshots: Mapping[int, str]) -> None:
        for shard, snapshot in snapshots.items():
            for _ in range(_BATCHES):
                deleted: int = await self._connection.fetchval(
                    statement("admin_delete_published", schema=self._schema),
                    shard, snapshot, self._retention, _BATCH,
                )  # fmt: skip
                self._result.deleted += deleted
                if deleted < _BATCH:
                    break

    def _sql(self, name: str, table: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, table=table, **parts)


def _counting(stamp: Stamp | None, cursors: Sequence[ObservedCursor]) -> Stamp | None:
    """The stamp, if it was made on this server."""
    return stamp if stamp is not None and stamp.counts_for(cursors[0].origin) else None


def _default(found: Sequence[Partition]) -> Partition | None:
    return next((partition for partition in found if partition.is_default), None)
