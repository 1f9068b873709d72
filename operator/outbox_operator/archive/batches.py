"""Messages that wait to be stored together: how many, how large, since when. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from outbox_operator.adapters.postgres.archive_store import Batch, Move
from outbox_operator.archive.chain import Span, Spans
from outbox_operator.archive.records import Record

T = TypeVar("T")
_NEVER: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Waiting(Generic[T]):
    """What waits for the next batch.

    Attributes:
        most: Messages of a batch.
        most_bytes: Bytes after which a batch is full; one message may be larger.
        seconds: How long the first message waits for others.
        items: The messages, in order of arrival.
        bytes: Their size.
        since: When the first came.
    """

    most: int
    most_bytes: int
    seconds: float
    items: list[T] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0

    def add(self, item: T, size: int, now: float) -> None:
        """Have one more message, of so many bytes, that came now."""
        if not self.items:
            self.since = now
        self.items.append(item)
        self.bytes += size

    def due(self, now: float) -> bool:
        """Whether a batch is to be stored now."""
        return bool(self.items) and (self.full or now >= self.since + self.seconds)

    @property
    def full(self) -> bool:
        """Whether there is a whole batch."""
        return len(self.items) >= self.most or self.bytes >= self.most_bytes

    def take(self) -> list[T]:
        """All that waits; nothing does any more."""
        taken, self.items, self.bytes = self.items, [], 0
        return taken


def batch_of(records: Sequence[Record], *, accounts: bool) -> Batch:
    """What is to be stored of some records of a stream, of which there is at least one.

    Args:
        records: In order of arrival.
        accounts: Whether numbers tell what is missing.
    """
    spans = Spans()
    for record in records if accounts else ():
        if record.numbers is not None:
            spans.add(record.identity[1], record.numbers, record.stored_at, record.sequence)
    return _batch(records, accounts=[_account(span) for span in spans.joined()])


def kept_batch(records: Sequence[Record], moves: Move) -> Batch:
    """The same of records of an outbox's table; there may be none."""
    return replace(_batch(records), everywhere=True, moves=moves)


def _batch(records: Sequence[Record], accounts: Sequence[tuple[object, ...]] = ()) -> Batch:
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        if record.wanted and record.identity not in first:
            first[record.identity] = record
    moments = [record.stored_at for record in records] or [_NEVER]
    return Batch(
        rows=[record.values for record in first.values() if not record.replayed],
        first=min(moments),
        last=max(moments),
        everywhere=False,
        accounts=accounts,
        again=[record.values for record in first.values() if record.replayed],
    )


def _account(span: Span) -> tuple[object, ...]:
    return (
        span.source, span.shard, span.low, span.high, span.low_at, span.high_at,
        span.low_sequence, span.high_sequence,
    )  # fmt: skip
