"""How far a shard is: in memory with each acknowledgement, in the table now and then.

Used by `relay.loop`. What is not in the table yet, the next owner finds in the stream
(`relay.stream`), so a save that never happened costs reading a longer tail and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import (
    PARTITION_KEY,
    Cursor,
    NewDeadLetter,
    Rows,
    StoredCursor,
)
from outbox_operator.relay import checkpoints
from outbox_operator.relay.in_flight import PagesInFlight
from outbox_operator.relay.losses import StreamRolledBackError
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.poison import Policy
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.reading import Point
from outbox_operator.relay.recovery import EMISSION_GAP
from outbox_operator.relay.stream import ShardStream
from outbox_operator.relay.traces import Traces

log = logging.getLogger(__name__)

SAVE_SECONDS: Final = 0.2


class ShardCursor:
    """The cursor of a shard, and the keys that its dead letters block.

    Args:
        stored: As read after taking ownership.
        policy: Whether dead letters block keys.
        traces: Is told what is stored; None: nobody wants spans.

    Attributes:
        point: Everything before it is published or a dead letter.
        blocked_keys: Keys with an unresolved dead letter, as far as we know.
    """

    def __init__(
        self,
        store: OutboxStore,
        stream: ShardStream,
        progress: ShardProgress,
        metrics: RelayMetrics,
        *,
        stored: StoredCursor,
        policy: Policy,
        traces: Traces | None,
    ) -> None:
        self._store = store
        self._stream = stream
        self._progress = progress
        self._metrics = metrics
        self._delivery = metrics.delivery("commit" if stored.commit_times else "created_at")
        self._traces = traces
        self._blocks_keys = policy == "BlockKey"
        cursor = self._saved = stored.cursor
        self._saved_at = time.monotonic()
        self._checkpoints = checkpoints.parse(stored.checkpoints)
        self._system = stored.server_system
        self.point = Point(cursor.snapshot_from, cursor.snapshot_to, cursor.last_position)
        self.blocked_keys: set[str] = set()

    async def read_blocked_keys(self) -> None:
        """Read which keys are blocked; call once, before the first page."""
        if self._blocks_keys:
            self.blocked_keys = set(await self._store.blocked_keys())

    async def unblock_keys(self, rows: Rows) -> None:
        """Unblock the keys of these rows whose dead letters somebody has removed."""
        hit = self.blocked_keys.intersection([row[PARTITION_KEY] for row in rows])
        if hit:
            # Removing the dead letters of a key unblocks it, at once.
            self.blocked_keys -= hit - await self._store.still_blocked(sorted(hit))

    def settle(self, in_flight: PagesInFlight, count: int, acked_at: float) -> None:
        """Move on behind what is dealt with, now that `count` messages of a run are stored.

        Args:
            acked_at: When the last of them was acknowledged, in seconds since 1970.
        """
        for settled in in_flight.settle(count):
            self._delivery.observe_ages(settled.born, int(acked_at * 1e6))
            if self._traces is not None:
                self._traces.stored(settled.messages, acked_at)
            self.point = settled.point
            self._progress.published(settled.messages)
            self._metrics.published_bytes.inc(settled.size)
            self._progress.moved(len(settled.rows))
            self._stream.passed(settled.rows)
            if settled.point.upper is None:
                self._stream.window_read()

    @property
    def numbers_must_be_saved(self) -> bool:
        """Whether a next owner that goes by the table could give out our numbers again.

        Where the stream cannot tell, it leaves out as many as nobody gives out between two saves;
        so did we, maybe, and the table has to know of that before one behind the gap is given out.
        """
        return self._stream.numbers.last - self._saved.emission >= EMISSION_GAP // 2

    async def save_if_due(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        """Store the cursor after a run: with its dead letters, or if the last save is old."""
        if dead_letters or time.monotonic() - self._saved_at > SAVE_SECONDS:
            await self.save(dead_letters)

    async def save(self, dead_letters: Sequence[NewDeadLetter] = ()) -> None:
        """Store the cursor, if there is news, and these dead letters with it.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
            PostgresError: The database does not answer.
        """
        point, stream = self.point, self._stream
        if stream.tail_is_open:
            # A point among rows of the tail would count their messages as done, whatever becomes
            # of them.
            if dead_letters:
                await self._store.save(self._saved, dead_letters, settled=True)
                self._buried(dead_letters)
            return
        cursor = Cursor(
            point.lower, point.upper, point.position,
            emission=stream.numbers.last, emission_gaps=stream.numbers.gaps,
            stream_sequence=stream.known, remark=stream.fence.remark,
            stream_created=stream.created, notice=stream.notice,
        )  # fmt: skip
        grown = self._with_point(cursor)
        if cursor == self._saved and not dead_letters and grown is None:
            return
        text = None if grown is None else checkpoints.render(grown)
        await self._store.save(cursor, dead_letters, text)
        self._checkpoints = self._checkpoints if grown is None else grown
        self._saved, self._saved_at = cursor, time.monotonic()
        self._metrics.saves.inc()
        self._buried(dead_letters)

    def _buried(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        """Count and say what is stored as dead letters."""
        for letter in dead_letters:
            self._metrics.poison(letter.reason).inc()
            if not letter.blocked:
                log.error(
                    "event moved to the dead letters: %s", letter.error,
                    extra={
                        "reason": letter.reason, "position": letter.position,
                        "event_id": letter.event_id,
                        **({"trace_id": letter.trace_id} if letter.trace_id else {}),
                    },
                )  # fmt: skip
            if self._blocks_keys and letter.key:
                self.blocked_keys.add(letter.key)

    def _with_point(self, cursor: Cursor) -> tuple[checkpoints.Checkpoint, ...] | None:
        """Return the points to go back to with a cursor among them; None: it is to be none.

        While rows of a tail are left, messages of some are before the end of the stream, and would
        not be found from there; only a doubt that nothing else remembers is worth that.
        """
        held = self._stream.chain.held
        remembered = self._checkpoints[-1].held if self._checkpoints else None
        if self._stream.published and held == remembered:
            return None
        return checkpoints.with_point(
            self._checkpoints, replace(cursor, stream_sequence=self._stream.end), self._system,
            time.time(), held,
        )  # fmt: skip

    async def go_back(self, lost: StreamRolledBackError) -> None:
        """Store the newest point that the stream still has all events of, for the next session.

        Numbers of events go on from where they were: consumers rely on numbers that only grow.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
            PostgresError: The database does not answer.
        """
        kept = tuple(
            each for each in self._checkpoints if each.stream_sequence <= lost.last_sequence
        )
        point = checkpoints.newest_within(
            kept, last_sequence=lost.last_sequence, created=lost.created, system=self._system
        )
        self._metrics.lost_messages.inc(lost.messages)
        numbers = self._stream.numbers
        if point is None:
            end = (
                "no point is kept from before, so nothing is sent again by itself: outbox rebase "
                "sends what the table still holds"
            )
            at: tuple[str, str | None, int] = (
                self.point.lower, self.point.upper, self.point.position
            )  # fmt: skip
            sequence = lost.last_sequence
        else:
            end = "what the table still holds of them is sent again"
            at = point.snapshot_from, point.snapshot_to, point.last_position
            sequence = point.stream_sequence
            kept = checkpoints.gone_back_to(kept, point, numbers.last, time.time())
            await self._store.settle_letters(point.snapshot_from)
        log.error("%s; %s", lost.message, end, extra={"reason": lost.reason})
        cursor = Cursor(
            *at,
            emission=numbers.last, emission_gaps=numbers.gaps, stream_sequence=sequence,
            remark=self._stream.fence.remark, stream_created=lost.created,
            notice=f"{lost.reason}: {lost.message}; {end}",
        )  # fmt: skip
        await self._store.save(cursor, (), checkpoints.render(kept))
