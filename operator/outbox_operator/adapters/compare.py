"""Compares a range of an outbox with its stream, a window at a time. Changes nothing.

Called by the controller for a `verify` task; `plan.doctor.delivery` judges. What is read is bounded
by the range, what is kept by the window. Whoever is interrupted goes on behind the last window.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Protocol, TypeVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.stream_range import StreamRange
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.counted import counted
from outbox_operator.errors import NatsError
from outbox_operator.plan.doctor.delivery import WINDOW_ROWS, Comparison
from outbox_operator.plan.doctor.memory import SLACK, Memory, drops, memory_of
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

T = TypeVar("T")


class Session(Protocol):
    """Lends what reads the rows of the outbox."""

    def __call__(self, work: Callable[[RowsRange], Awaitable[T]], /) -> Awaitable[T]:
        """What the work answers."""
        ...


_LOWEST: Final = -(2**63)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE: Final = 1000
MOST_LEFT: Final = 50_000
"""Rows without a message that are looked at one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What to compare; what is left out is open.

    Attributes:
        low: First position.
        high: First position behind it.
        since: Rows written then or later.
        until: Rows written before.
    """

    low: int | None = None
    high: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A range in positions.

    Attributes:
        low: First position.
        high: First position behind it.
        since: Only rows written then or later.
        until: Only rows written before.
        unproven: What of the range that was asked for is not there any more.
    """

    low: int
    high: int
    since: datetime | None = None
    until: datetime | None = None
    unproven: str = ""

    def takes(self, created_at: datetime) -> bool:
        """Whether a row of that time is compared."""
        return (self.since is None or created_at >= self.since) and (
            self.until is None or created_at < self.until
        )


async def bounds(rows: RowsRange, wanted: Range) -> Bounds:
    """The positions of a range, as far as rows are there. Raises PostgresError."""
    lowest, first, last = await rows.first_at(_LOWEST), await rows.first_at(0), await rows.last()
    if lowest is None or last is None:
        return Bounds(low=0, high=0, unproven="the table holds no rows: published ones are pruned")
    below = ""
    if lowest.position < 0 and wanted.low is None:
        below = "rows at positions below 0, which somebody wrote by hand, are not compared"
    if first is None:
        return Bounds(low=0, high=0, unproven=below)
    high = last.position + 1
    if wanted.high is not None:
        high = min(high, wanted.high)
    gone = ""
    earlier = wanted.since is not None and wanted.since < first.created_at
    if first.position > 1 and (earlier or (wanted.low or first.position) < first.position):
        gone = (
            f"rows before position {first.position} ({format_time(first.created_at, 'seconds')}) "
            "are not in the table any more: spec.outbox.retention, or there never were any"
        )
    low = max(wanted.low or 0, first.position)
    unproven = "; ".join(filter(None, (below, gone)))
    return Bounds(low=low, high=high, since=wanted.since, until=wanted.until, unproven=unproven)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A window that was compared.

    Attributes:
        next: First position behind it.
        verdict: Of this window alone.
    """

    next: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The part of a stream that holds the events of an outbox.

    Attributes:
        stream: Name of the stream.
        subject_filter: Subjects of the pipeline.
        source: `Ce-Source` of its events.
        ordered: Whether it keeps the order of events with one key.
    """

    stream: str
    subject_filter: str
    source: str
    ordered: bool


async def compare(
    session: Session,
    admin: JetStreamAdmin,
    of: Stretch,
    within: Bounds,
    *,
    window_rows: int = WINDOW_ROWS,
) -> Compared:
    """Compare the first window of a range.

    Args:
        session: Lends what reads the rows; not kept while the stream is read.
        admin: Connection to the stream's NATS.
        of: What to read.
        within: Where to begin and end; there is a row.
        window_rows: Rows that are compared at once.

    Raises:
        OutboxError: A server is away or refuses.
    """
    comparison = Comparison(within.low, within.high, of.source, ordered=of.ordered)
    before = await _observed(admin, of.stream)
    held = await _memory(admin, before)
    begun, high = await session(lambda rows: _read(rows, comparison, within, held, window_rows))
    messages = StreamRange(admin, of.stream, of.subject_filter)
    first = await messages.sequence_of(begun - SLACK, before.first_sequence, before.last_sequence)
    async for message in messages.messages(first - 1):
        comparison.message(message.sequence, message.headers)
    after = await _observed(admin, of.stream)
    holds = await _memory(admin, after)
    await session(lambda rows: _explain(rows, comparison, holds, drops(after)))
    return Compared(next=high, verdict=comparison.verdict)


async def _read(
    rows: RowsRange, comparison: Comparison, within: Bounds, held: Memory, window_rows: int
) -> tuple[datetime, int]:
    """Hand the rows of a window in; when the first was written, and where the window ends.

    Args:
        rows: Of the table.
        comparison: Takes them.
        within: Where to begin and end.
        held: How far back the stream remembers.
        window_rows: Where the window ends.
    """
    now, count, high = datetime.now(UTC), 0, within.high
    begun = now
    async with aclosing(rows.rows(within.low, within.high)) as reading:
        async for row, due in reading:
            wanted, expired = within.takes(row.created_at), held.expired(row.created_at)
            comparison.row(row.position, due=due, wanted=wanted, expired=expired)
            if not wanted:
                continue
            # A time to come does not say when it was written.
            begun = min(begun, row.created_at if row.created_at <= now + SLACK else _LONG_AGO)
            count += 1
            if count == window_rows:
                high = row.position + 1
                break
    comparison.end(high)
    return begun, high


async def _explain(rows: RowsRange, comparison: Comparison, held: Memory, between: str) -> None:
    """Say why messages have no row, and rows no message.

    Args:
        rows: Of the table.
        comparison: After all rows and messages.
        held: How far back the stream remembers.
        between: Why messages go from between; empty: only the oldest go.
    """
    strange, late = comparison.strange(), set[int]()
    for start in range(0, len(strange), _PAGE):
        late |= {row.position for row in await rows.left(strange[start : start + _PAGE])}
    comparison.settle(late)
    verdict = comparison.verdict
    if between:
        verdict.cannot(between)
    left = comparison.unexplained(drops=bool(between))
    looked = 0
    while page := list(islice(left, _PAGE)):
        if looked >= MOST_LEFT:
            verdict.cannot(
                f"more than {MOST_LEFT} rows have no message; those behind position {page[0]} "
                "were not looked at one by one"
            )
            verdict.add("unknown", count=len(page) + sum(1 for _ in left))
            break
        comparison.explain(await rows.left(page), held)
        looked += len(page)
    if comparison.oldest_lost is not None:
        noted = await rows.noted_since()
        if noted is not None and comparison.oldest_lost < noted:
            verdict.cannot(
                f"dead letters that were given up before {format_time(noted, 'seconds')}, when "
                "schema version 5 came, left no trace: lost rows of that time may be such"
            )
    if verdict.counts["expired"] and not between:
        since = "" if held.since is None else f" from before {format_time(held.since, 'seconds')}"
        verdict.cannot(
            f"the stream holds nothing{since}: "
            f"{counted(verdict.counts['expired'], 'row')} cannot be compared"
        )


async def _memory(admin: JetStreamAdmin, observed: ObservedStream) -> Memory:
    """How far back a stream remembers."""
    oldest = await admin.first_message(observed.name, ">", observed.first_sequence)
    return memory_of(observed, oldest.stored_at if oldest else None, datetime.now(UTC))


async def _observed(admin: JetStreamAdmin, stream: str) -> ObservedStream:
    found = await admin.stream_info(stream)
    if found is None:
        raise NatsError(f"stream {stream} does not exist", reason=Reason.STREAM_NOT_FOUND)
    return found
