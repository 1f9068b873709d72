"""What the inbox writes and reads in a transaction: a row for each event, or one for each shard."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import asyncpg

from outbox_operator.adapters.postgres.inbox_marks import Mark, Place, sort_out
from outbox_operator.adapters.postgres.lent_connection import Borrowed
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.durable import Durable

_ROLLED_BACK: Final = "outbox: the transaction is"
_COMMITTED: Final = "outbox: the transaction was committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the inbox keeps of an event."""

    event_id: uuid.UUID
    source_topic: str
    event_type: str
    payload: bytes
    source: str
    shard: str | None
    emission: int | None
    """Number of the event in its shard; None: it comes from no outbox of ours."""
    stored: dt.datetime
    sequence: int = 0
    durable: Durable | None = None
    """What it came through."""


class Fate(NamedTuple):
    """What is known of a transaction that has ended.

    Attributes:
        committed: The server says so of its number.
        finished: Its events are remembered as handled.
        marked: It moved the mark last, if it had one to move.
    """

    committed: bool
    finished: bool
    marked: bool


@dataclass(slots=True)
class Claim:
    """What a transaction has to do with events.

    Attributes:
        new: Which of them are not handled.
        rows: Ids for which it wrote rows.
        mark: How far their shard is handled once they are; None: that does not change.
        place: Source and shard of that mark.
        transaction: Its number; None: nothing is new.
        seconds: How long they took the handler.
        committing: Whether it is being committed by us: from then on its fate may not be known.
        server_started: When the server that it runs on was started.
    """

    new: list[int] = field(default_factory=list)
    rows: list[uuid.UUID] = field(default_factory=list)
    mark: Mark | None = None
    place: tuple[str, str | None] | None = None
    transaction: str | None = None
    seconds: float = 0.0
    committing: bool = False
    server_started: dt.datetime | None = None


class InboxRecords:
    """The statements of one consumer. All raise the driver's errors.

    Args:
        consumer: Whose inbox.
        schema: Schema of the inbox tables.
        by_shard: Whether a row for each shard is kept.
    """

    def __init__(self, consumer: str, schema: str, *, by_shard: bool) -> None:
        self._consumer = consumer
        self._by_shard = by_shard
        self._claim_sql = statement("inbox_claim", schema=schema)
        self._claim_one_sql = statement("inbox_claim_one", schema=schema)
        self._prepare_sql = statement("inbox_prepare", schema=schema, rolled_back=_ROLLED_BACK)
        self._finish_one_sql = statement("inbox_finish")
        self._finish_sql = ""  # a session says it
        self._finished_sql = statement("inbox_finished", committed=_COMMITTED)
        self._position_sql = statement("inbox_position", schema=schema)
        self._begin_sql = statement("inbox_begin", schema=schema)
        self._advance_sql = statement("inbox_advance", schema=schema)
        self._fate_sql = statement("inbox_fate", schema=schema)
        self._forget_sql = statement("inbox_forget", schema=schema)

    async def claim(self, connection: Borrowed, records: Sequence[Record], claim: Claim) -> None:
        """Find out what is new, and remember what gets rows of its own; fill `claim` in."""
        if self._by_shard and records[0].shard is not None:
            await self._claim_in_shard(connection, records, claim)
        else:
            claim.new = await self._claim_rows(connection, records, range(len(records)), claim)
        if not claim.new and claim.mark is not None:
            await self._advance(connection, records[0], claim.mark, claim.transaction)

    async def prepare(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Make a session ready for `endings`."""
        [texts] = await connection.fetch(self._prepare_sql, self._consumer)
        await connection.execute(texts["one"])
        self._finish_sql = texts["several"]

    async def advance(self, connection: Borrowed, records: Sequence[Record], claim: Claim) -> bool:
        """Remember how far the shard is handled; False: in vain, the transaction is another one."""
        return claim.mark is None or await self._advance(
            connection, records[0], claim.mark, claim.transaction
        )

    def endings(self, claim: Claim) -> tuple[str, str]:
        """Statements before and behind the commit, which remember that events are handled.

        Their errors are `is_rolled_back` and `is_committed_before` when a handler ended the
        transaction. What is put into them are numbers and UUIDs, never anybody's text.
        """
        if not claim.rows or claim.transaction is None:
            return "", ""
        events = [str(uuid.UUID(int=row.int)) for row in claim.rows]
        values = {
            "event": events[0],
            "events": ",".join(events),
            "milliseconds": round(claim.seconds * 1000),
            "transaction": int(claim.transaction),
        }
        # What was prepared is asked for in any case: a handler may have thrown it away, and with it
        # what others prepared in this session.
        finish = self._finish_one_sql % values
        if len(events) > 1:
            finish += self._finish_sql % values
        return finish, self._finished_sql % values

    async def fate(self, connection: Borrowed, claim: Claim) -> Fate:
        """What became of a transaction that has ended."""
        place = claim.place if claim.mark is not None else None
        [row] = await connection.fetch(
            self._fate_sql, claim.transaction, self._consumer, claim.rows,
            *(place or (None, None)),
        )  # fmt: skip
        return Fate(row["status"] == "committed", row["finished"], row["marked"])

    async def is_committed(self, connection: Borrowed, claim: Claim) -> bool:
        """Whether a transaction that has ended was committed."""
        return (await self.fate(connection, claim)).committed

    async def forget(self, connection: Borrowed, claim: Claim) -> None:
        """Let events that a transaction remembered come again."""
        await connection.execute(self._forget_sql, self._consumer, claim.rows, claim.transaction)

    async def _claim_rows(
        self, connection: Borrowed, records: Sequence[Record], which: Sequence[int], claim: Claim
    ) -> list[int]:
        """Write a row for each of these events; which of them had none."""
        by_id = {records[index].event_id: index for index in reversed(which)}
        if len(by_id) == 1:
            [one] = [records[index] for index in by_id.values()]
            rows = await connection.fetch(
                self._claim_one_sql, self._consumer, one.event_id, one.source_topic,
                one.event_type, one.payload,
            )  # fmt: skip
        else:
            rows = await connection.fetch(
                self._claim_sql,
                self._consumer,
                list(by_id),
                [records[index].source_topic for index in by_id.values()],
                [records[index].event_type for index in by_id.values()],
                [records[index].payload for index in by_id.values()],
            )
        if rows:
            claim.rows = [row["event_id"] for row in rows]
            claim.transaction = rows[0]["transaction"]
        return sorted(by_id[event_id] for event_id in claim.rows)

    async def _claim_in_shard(
        self, connection: Borrowed, records: Sequence[Record], claim: Claim
    ) -> None:
        key = (self._consumer, records[0].source, records[0].shard)
        row = await connection.fetchrow(self._position_sql, *key)
        if row is None:
            await connection.execute(self._begin_sql, *key)
            [row] = await connection.fetch(self._position_sql, *key)
        claim.transaction = row["transaction"]
        committed = None if row["last_sequence"] is None else _mark(row)
        found = sort_out(committed, [_place(record) for record in records])
        claimed: list[int] = []
        if found.unplaced:
            claimed = await self._claim_rows(connection, records, found.unplaced, claim)
        claim.new = sorted(found.new + claimed)
        claim.mark = None if found.mark is committed else found.mark
        claim.place = key[1:]

    async def _advance(
        self, connection: Borrowed, record: Record, mark: Mark, transaction: str | None
    ) -> bool:
        durable = mark.durable
        done = await connection.execute(
            self._advance_sql, self._consumer, record.source, record.shard, mark.emission,
            mark.stored, durable.stream, durable.created, durable.filter, mark.first, mark.last,
            transaction,
        )  # fmt: skip
        return not _touched_none(done)


def is_rolled_back(error: BaseException | None) -> bool:
    """Whether an ending says that the handler rolled the transaction back."""
    return _ROLLED_BACK in str(error)


def is_committed_before(error: BaseException | None) -> bool:
    """Whether an ending says that the handler committed the transaction."""
    return _COMMITTED in str(error)


def _touched_none(status: str) -> bool:
    return status.endswith(" 0")


def _place(record: Record) -> Place | None:
    if record.durable is None or record.shard is None or record.emission is None:
        return None
    return Place(
        durable=record.durable,
        sequence=record.sequence,
        stored=record.stored,
        subject=record.source_topic,
        emission=record.emission,
    )


def _mark(row: asyncpg.Record) -> Mark:
    return Mark(
        durable=Durable(row["stream"], row["durable_created"], row["durable_filter"]),
        first=row["first_sequence"],
        last=row["last_sequence"],
        stored=row["stored_at"],
        emission=row["emission"],
    )
