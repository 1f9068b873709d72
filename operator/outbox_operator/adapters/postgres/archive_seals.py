"""Seals what an archive holds: lists of rows with their hashes, and a chain over these.

Used by `archive_admin`, within a round of upkeep. What writes events knows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres.connection import Connection, bounded_transaction
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.signing import Signer
from outbox_operator.counted import counted
from outbox_operator.errors import ConflictError
from outbox_operator.plan.postgres.archive_schema import Leaf
from outbox_operator.plan.postgres.archive_seals import (
    BEGINNING,
    ENTRY_BYTES,
    IN_TIME,
    MOST_ROWS,
    NOTHING,
    ROW_SETTINGS,
    SLOT_SECONDS,
    Head,
    Kind,
    Seal,
    root_of,
    row_sql,
    shorter,
)
from outbox_operator.reasons import Reason
from outbox_operator.wire.advisory_locks import schema_lock
from outbox_operator.wire.archive import SEAL_AFTER_SECONDS, SEAL_EVERY_SECONDS
from outbox_operator.wire.tables import quoted

_PIECE_ROWS: Final = 2000
"""Of a list of rows that one record holds: some 100 kB."""
_STATEMENT_SECONDS: Final = 600.0
_LOCK_MILLISECONDS: Final = 5000
"""Batches of those who write go first."""
_LEAST: Final = timedelta(seconds=1)
_SHORT: Final = timedelta(minutes=1)
"""Of what was archived one round holds as much, however often there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """How an archive is sealed.

    Attributes:
        every: At most so often; and what is archived within so long is one round.
        after: What is as fresh is left for the next round: so far a server's clock may go back.
        seconds: After so long the rest is left for the next time.
        key: Fingerprint of the public key of `sign`; None: seals are not signed.
        sign: Signs a hash.
        verify: Whether a signature, the second, is of a hash, the first, by this key.
        known: The last seal, as it is known from outside of the database.
    """

    every: timedelta = timedelta(seconds=SEAL_EVERY_SECONDS)
    after: timedelta = timedelta(seconds=SEAL_AFTER_SECONDS)
    seconds: float = 60.0
    key: str | None = None
    sign: Callable[[bytes], bytes] | None = None
    verify: Callable[[bytes, bytes], bool] | None = None
    known: Head | None = None


def signed(how: Sealing, signer: Signer) -> Sealing:
    """The same, with seals that are signed."""
    public = signer.public
    return replace(how, key=public.fingerprint, sign=signer.sign, verify=public.verifies)


def seal_of(row: asyncpg.Record) -> Seal:
    """A row of the table of seals."""
    values = dict(row)
    return Seal(**{"class_" if name == "class" else name: values[name] for name in values})


class Sealer:
    """Adds to the chain of one archive. Raises the driver's errors, and ours.

    Args:
        connection: Of the role that owns the tables, in no transaction, which alone does upkeep.
        schema: Of the archive.
        sealing: How.
    """

    def __init__(self, connection: Connection, schema: str, sealing: Sealing) -> None:
        self._connection = connection
        self._schema = schema
        self._sealing = sealing
        self._last: Seal | None = None

    @property
    def head(self) -> Head | None:
        """The last seal; None: there is none."""
        last = self._last
        return None if last is None else Head(number=last.number, hash=last.hash)

    @property
    def may_go_on(self) -> bool:
        """Whether what is added is signed if what is there is."""
        last = self._last
        return last is None or last.key is None or self._sealing.sign is not None

    async def begin(self) -> None:
        """Find the end of the chain, and see that it is the one that was there.

        Raises:
            ConflictError: It is not; nothing is to be added to it.
        """
        found = await self._connection.fetchrow(self._sql("archive_seal_last"))
        last = None if found is None else seal_of(found)
        known = self._sealing.known
        if known is not None:
            there = await self._connection.fetchval(self._sql("archive_seal_number"), known.number)
            if there != known.hash:
                what = "is gone" if there is None else "is another one"
                raise self._broken(f"seal {known.number}, which is known from before, {what}")
        if last is not None:
            if last.closed().hash != last.hash:
                raise self._broken(f"{last.name}, the last one, was changed")
            verify = self._sealing.verify
            ours = last.key is not None and last.key == self._sealing.key
            if ours and verify and not verify(last.hash, last.signature or b""):
                raise self._broken(f"{last.name}, the last one, was forged")
        self._last = last

    async def seal(self) -> int:
        """Seal what was archived since the last time; how many seals are new."""
        sealing = self._sealing
        end = await self._settled() - sealing.after
        start = await self._connection.fetchval(self._sql("archive_seal_end")) or BEGINNING
        if end - start < sealing.every:
            return 0
        before = self._last.number if self._last else 0
        deadline = time.monotonic() + sealing.seconds
        length = max(sealing.every, _SHORT)
        until = start
        while start < end and time.monotonic() < deadline:
            rows, first = await self._count(start, until)
            if first is None:  # a pause: up to the next row
                _, first = await self._count(until, end)
                if first is None:
                    idle = self._link(self._last, await self._now(), "idle", low=start, high=end)
                    await self._write([idle])
                    self._last = idle
                    break
                until = min(end, first + length)
            elif rows > MOST_ROWS and until - first > _LEAST:
                until = shorter(first, until, rows)
                length = until - first
            else:
                await self._seal_rows(start, until)
                start, until = until, min(end, until + length)
                length = min(max(sealing.every, _SHORT), 2 * length)
        return (self._last.number if self._last else 0) - before

    async def held(self, leaf: Leaf) -> int:
        """How many rows of a partition that is about to go are sealed, in the same transaction."""
        if self._last is None:
            return 0
        counted: int = await self._connection.fetchval(
            self._sql("archive_seal_held", leaf=quoted(leaf.name)), timeout=_STATEMENT_SECONDS
        )
        return counted

    async def dropped(self, class_: str, leaf: Leaf, keep: float, held: int) -> str | None:
        """Write down that a partition went, at the end of the transaction that dropped it.

        Args:
            class_: Of its rows.
            leaf: The partition.
            keep: Seconds for which rows of the class are kept.
            held: What `held` said.

        Returns:
            What was missing of the rows that were sealed; None: nothing.
        """
        assert leaf.low is not None  # noqa: S101 - a default partition is never dropped
        assert leaf.high is not None  # noqa: S101
        if self._last is None:
            return None
        rows = await self._connection.fetchval(
            self._sql("archive_seal_forget", entry=ENTRY_BYTES), class_, leaf.low, leaf.high
        )
        if not rows and not held:
            return None
        link = self._link(
            self._last, await self._now(), "dropped", class_=class_, low=leaf.low, high=leaf.high,
            rows=held, due_at=leaf.high + timedelta(seconds=keep),
        )  # fmt: skip
        await self._write([link])
        self._last = link
        if rows == held:
            return None
        return (
            f"partition {leaf.name}, which retention dropped, had "
            f"{counted(held, 'row')} older than the last seal, and {counted(rows, 'was', 'were')} "
            "sealed: somebody deleted or inserted some. The chain "
            f"has that in {link.name}"
        )

    async def _settled(self) -> datetime:
        """A moment up to which all that was archived is committed."""
        async with self._transaction():
            await self._connection.execute(
                statement("archive_alone"), schema_lock("archive", self._schema)
            )
            return await self._now()

    async def _count(self, start: datetime, end: datetime) -> tuple[int, datetime | None]:
        """How many rows were archived between two moments, and when the first."""
        async with self._transaction():
            [row] = await self._connection.fetch(
                self._sql("archive_seal_count", in_time=IN_TIME),
                start,
                end,
                timeout=_STATEMENT_SECONDS,
            )
        return row["rows"], row["first"]

    async def _seal_rows(self, start: datetime, end: datetime) -> None:
        """Seals of what was archived between two moments; all or none."""
        columns = await self._connection.fetch(self._sql("archive_columns"), self._schema)
        text = self._sql(
            "archive_seal_rows",
            row=row_sql([row["name"] for row in columns], "e"),
            slot=SLOT_SECONDS,
            piece=_PIECE_ROWS,
            in_time=IN_TIME,
        )
        last = self._last
        async with self._transaction():
            for name, value in ROW_SETTINGS.items():
                await self._connection.execute(statement("session_set_local"), name, value)
            pieces = await self._connection.fetch(
                text, start, end, last.number if last else 0, timeout=_STATEMENT_SECONDS
            )
            now = await self._now()
            links: list[Seal] = []
            for _, group in groupby(pieces, lambda piece: piece["seal"]):
                found = list(group)
                low: datetime = found[0]["low"]
                last = self._link(
                    last, now, "rows", class_=found[0]["class"], low=low,
                    high=low + timedelta(seconds=SLOT_SECONDS), archived=(start, end),
                    rows=sum(piece["rows"] for piece in found),
                    root=root_of(piece["hash"] for piece in found),
                )  # fmt: skip
                links.append(last)
            await self._write(links)
        self._last = last

    def _link(
        self,
        last: Seal | None,
        now: datetime,
        kind: Kind,
        *,
        low: datetime,
        high: datetime,
        class_: str = "",
        archived: tuple[datetime, datetime] | None = None,
        rows: int = 0,
        root: bytes = NOTHING,
        due_at: datetime | None = None,
    ) -> Seal:
        """The seal behind another one."""
        archived_from, archived_to = archived or (low, high)
        link = Seal(
            number=last.number + 1 if last else 1, kind=kind, class_=class_, low=low, high=high,
            archived_from=archived_from, archived_to=archived_to, rows=rows, root=root,
            previous=last.hash if last else NOTHING, sealed_at=now, key=self._sealing.key,
            due_at=due_at,
        ).closed()  # fmt: skip
        sign = self._sealing.sign
        return link if sign is None else replace(link, signature=sign(link.hash))

    async def _write(self, links: Sequence[Seal]) -> None:
        await self._connection.executemany(self._sql("archive_seal_add"), map(astuple, links))

    async def _now(self) -> datetime:
        now: datetime = await self._connection.fetchval(statement("upkeep_clock"))
        return now

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """One that may take as long as reading what is to be sealed does."""
        async with bounded_transaction(
            self._connection,
            lock_milliseconds=_LOCK_MILLISECONDS,
            milliseconds=round(_STATEMENT_SECONDS * 1000),
        ):
            yield

    def _broken(self, what: str) -> ConflictError:
        return ConflictError(
            f"archive {self._schema}: {what}; nothing is sealed, and no partition dropped, until "
            "somebody has looked: outbox archive verify",
            reason=Reason.SEAL_BROKEN,
        )

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)
