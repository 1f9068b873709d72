"""Publish the events of a shard: read pages, send them in runs, save the cursor now and then.

Called by `relay.shard_session` once this process owns the shard. Follow one event:
`relay.reading` reads its page, `_run` makes a message of it (`relay.poison`, `relay.message`) and
hands it to a run of the publisher, `_settle` moves the cursor in memory once it is acknowledged,
`_save` stores the cursor. A crash between any two of these repeats nothing: the next relay finds
in the stream what was published (`relay.stream`) and skips that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from outbox_operator.adapters.nats.publisher import Publisher, Refusal, Run, Sent, StreamFacts
from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import Cursor, NewDeadLetter, Row, StoredCursor
from outbox_operator.aio import Backoff
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.relay import poison
from outbox_operator.relay.in_flight import PagesInFlight
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.paging import largest_row
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.reading import Page, Point, Reader
from outbox_operator.relay.recovery import Numbering
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.stream import ShardStream
from outbox_operator.relay.wakeup import Wakeup

log = logging.getLogger(__name__)

RUN_EVENTS: Final = 50_000
RUN_SECONDS: Final = 0.5
"""A run ends after so many events or so long: only its end tells the sequence in the stream, and
what was published since the last save is what the next owner has to read."""
SAVE_SECONDS: Final = 0.2
MORE_ROWS: Final = 100
"""Behind a page of fewer, that was all there was, a poll at once would find nothing, and be in
the way of these."""
NUDGED_PAUSES: Final = 10
"""Pauses are this much longer while writers nudge, in case that a nudge is lost."""
QUIET_SECONDS: Final = 0.05
"""Without events for so long, polls become rarer and the cursor is saved."""
_RETRY_SECONDS: Final = (0.05, 2.0)
"""First and longest pause between two attempts."""
_HALT_RECHECK_SECONDS: Final = 5.0


class _StopRequestedError(Exception):
    """Asked to stop while waiting to try again; the cursor is where it should be."""


class RelayLoop:
    """Publishes the events of one shard, for one session as its owner.

    Args:
        stored: As read after taking ownership.
    """

    def __init__(
        self,
        settings: Settings,
        store: OutboxStore,
        publisher: Publisher,
        stored: StoredCursor,
        *,
        shard: int,
        signals: Signals,
        progress: ShardProgress,
        metrics: RelayMetrics,
        wakeup: Wakeup,
    ) -> None:
        config, cursor = settings.config, stored.cursor
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._signals = signals
        self._wakeup = wakeup
        self._progress = progress
        self._metrics = metrics
        self._policy = config.on_poison
        self._renderer = Renderer(
            settings.template, config.database.schema, shard, settings.source, config.payload_type
        )
        self._stream = ShardStream(
            publisher, settings, metrics,
            shard=shard, epoch=store.epoch, system=stored.server_system,
            known=cursor.stream_sequence,
            numbers=Numbering(cursor.emission, cursor.emission_gaps),
        )  # fmt: skip
        self._done = Point(cursor.snapshot_from, cursor.snapshot_to, cursor.last_position)
        self._saved = cursor
        self._saved_at = time.monotonic()
        self._reader = Reader(
            store, self._done, largest=self._largest, on_poll=self._on_poll,
            page_parts=lambda: signals.page_parts,
        )  # fmt: skip
        self._blocked: set[str] = set()
        self._refused: dict[int, poison.Poison] = {}
        self._retry = Backoff(*_RETRY_SECONDS)
        self._nudged = False
        """Whether the last poll was asked for by a writer."""
        publisher.on_lost(self._lost)

    async def run(self) -> None:
        """Publish until asked to stop; returns after the run in flight.

        Raises:
            OutboxError: A connection is lost, or the ownership is.
        """
        try:
            if self._policy == "BlockKey":
                self._blocked = set(await self._store.blocked_keys())
            await self._ensure_stream_facts()
            await self._poll_until_stopped()
        except _StopRequestedError:
            log.info("stopped while the stream takes no events; they stay in the outbox")
        finally:
            await self._reader.close()
        await self._save()

    async def _poll_until_stopped(self) -> None:
        floor = self._settings.config.poll_min_seconds
        pause, busy_at = floor, time.monotonic()
        while not self._signals.stopping:
            if self._publisher.lost:
                raise self._publisher.lost_error()
            page = await self._reader.next()
            if page is not None:
                drained = await self._run(page)
                await self._wakeup.awake()
                pause, busy_at = floor, time.monotonic()
                if not (drained and self._nudged):
                    continue
                # The next writer will nudge as well, most likely.
                pause = min(floor * NUDGED_PAUSES, self._signals.poll_ceiling)
            else:
                self._progress.idle()
                self._stream.window_read()
                if time.monotonic() - busy_at >= QUIET_SECONDS:
                    await self._save()
                    pause = min(pause * 2, self._signals.poll_ceiling)
                    if await self._wakeup.fall_asleep():
                        continue  # what was committed until then has notified nobody
            if await self._signals.pause(pause):
                pause = floor

    async def _run(self, page: Page) -> bool:
        """Publish rows from `page` on in one run, until there is a reason to end it.

        Returns:
            Whether most likely nothing is left.
        """
        run: Run | None = None
        in_flight = PagesInFlight()
        started, halted, drained = time.monotonic(), None, False
        following: Page | None = page
        try:
            while following is not None:
                drained = following.closes and len(following.rows) < MORE_ROWS
                if not drained:
                    self._reader.read_ahead()
                self._progress.backlog(following.waiting, following.rows[0][7] / 1e6)
                plan = await self._plan(following, in_flight.sent)
                if plan is None:
                    break
                halted = plan.halted
                in_flight.add(following, plan)
                ends = (
                    following.closes or halted is not None or bool(plan.dead_letters)
                    or in_flight.sent >= RUN_EVENTS or time.monotonic() - started > RUN_SECONDS
                    or self._signals.stopping
                )  # fmt: skip
                if plan.messages:
                    run = run or self._stream.open_run()
                    await run.send(plan.messages, last=ends)
                if ends or (run is not None and run.refused):
                    break
                self._settle(in_flight, run.acked if run is not None else 0)
                following = await self._reader.next()
        except BaseException:
            if run is not None:
                run.abandon()
            raise
        result = await run.finish() if run is not None else Sent(0, None, None)
        await self._end(result, in_flight)
        if result.refusal is None and halted is not None:
            await self._halt(*halted)
        elif result.refusal is None and plan is None:
            await self._reader.rewind(self._done)
        return drained and plan is not None and result.refusal is None and halted is None

    async def _plan(self, page: Page, sent: int) -> poison.Plan | None:
        """What to do with a page; None when it must be read again, as the stream has changed.

        Args:
            sent: Messages of the run before it.
        """
        facts = await self._ensure_stream_facts()
        if self._blocked:
            hit = self._blocked.intersection([row[3] for row in page.rows])
            if hit:
                # Removing the dead letters of a key unblocks it, at once.
                self._blocked -= hit - await self._store.still_blocked(sorted(hit))
        plan = poison.plan_page(
            page.rows,
            renderer=self._renderer,
            facts=facts,
            policy=self._policy,
            blocked_keys=self._blocked,
            refused=self._refused,
            published=self._stream.published,
            # Not remembered from before: to ask for the facts may have moved them.
            emission=self._stream.numbers.last + sent,
        )
        if plan.found_poison:
            # The stream may have been changed since we asked; give no event up on old knowledge.
            self._stream.invalidate_facts()
            if await self._ensure_stream_facts() != facts:
                return None
        return plan

    async def _end(self, result: Sent, in_flight: PagesInFlight) -> None:
        """Act on the fate of a run."""
        self._stream.ended(result)
        dead_letters = in_flight.dead_letters()
        self._settle(in_flight, result.count)
        failed = in_flight.first_unsettled()
        if failed is not None:
            dead_letters = [letter for letter in dead_letters if letter.position < failed]
        if dead_letters or time.monotonic() - self._saved_at > SAVE_SECONDS:
            await self._save(dead_letters)
        self._metrics.batches.inc()
        if result.refusal is None:
            self._retry.reset()
            self._refused.clear()
        else:
            await self._after_refusal(result.refusal, failed)
            await self._reader.rewind(self._done)

    def _settle(self, in_flight: PagesInFlight, count: int) -> None:
        """Move the cursor in memory behind what is dealt with, now that `count` messages are
        stored."""
        for settled in in_flight.settle(count):
            self._done = settled.point
            self._progress.published(settled.messages)
            self._metrics.published_bytes.inc(settled.size)
            self._progress.moved(settled.rows)
            if settled.point.upper is None:
                self._stream.window_read()

    async def _save(self, dead_letters: Sequence[NewDeadLetter] = ()) -> None:
        """Store the cursor, if there is news, and these dead letters with it."""
        done, stream = self._done, self._stream
        cursor = Cursor(
            done.lower, done.upper, done.position,
            emission=stream.numbers.last, emission_gaps=stream.numbers.gaps,
            stream_sequence=stream.known, remark=stream.without_fence or None,
        )  # fmt: skip
        if cursor == self._saved and not dead_letters:
            return
        await self._store.save(cursor, dead_letters)
        self._saved, self._saved_at = cursor, time.monotonic()
        self._metrics.saves.inc()
        for letter in dead_letters:
            self._metrics.poison(letter.reason).inc()
            if not letter.blocked:
                log.error(
                    "event moved to the dead letters: %s", letter.error,
                    extra={"reason": letter.reason, "position": letter.position},
                )  # fmt: skip
            if self._policy == "BlockKey" and letter.key:
                self._blocked.add(letter.key)

    async def _after_refusal(self, refusal: Refusal, failed: int | None) -> None:
        """Take note of a refusal, and wait if that helps; `failed` is the position refused."""
        treatment = poison.treat(refusal)
        if treatment is poison.Treatment.RESEND:
            log.debug("another publisher wrote to the stream in between: %s", refusal.text)
            return
        if treatment is poison.Treatment.FENCE:
            self._metrics.fence_losses.inc()
            await self._store.confirm_ownership()
            self._stream.fence_refused()
            await self._ensure_stream_facts()
            return
        self._metrics.errors(refusal.reason).inc()
        self._stream.invalidate_tail()
        if treatment is poison.Treatment.POISON and failed is not None:
            self._refused[failed] = poison.Poison(Reason.REFUSED_BY_STREAM, refusal.text)
            return
        if self._publisher.lost:
            raise self._publisher.lost_error()
        log.warning(
            "the stream did not take an event, trying again: %s", refusal.text,
            extra={"reason": refusal.reason, "position": failed},
        )  # fmt: skip
        self._progress.trouble(refusal.text)
        await self._rest(self._retry.next())

    async def _halt(self, row: Row, found: poison.Poison) -> None:
        """Policy Halt: stay at a poison event until a person has acted, looking every few s."""
        log.error(
            "halted at an event that cannot be published: %s", found.error,
            extra={"reason": found.reason, "position": row.position},
        )  # fmt: skip
        self._progress.halted(found.error)
        self._stream.invalidate_facts()
        await self._save()
        await self._rest(_HALT_RECHECK_SECONDS)
        await self._reader.rewind(self._done)  # the row may have been changed or deleted

    async def _rest(self, seconds: float) -> None:
        """Wait before another attempt; a request to stop ends the attempts."""
        await self._signals.rest(seconds)
        if self._signals.stopping:
            raise _StopRequestedError
        if self._publisher.lost:
            raise self._publisher.lost_error()
        await self._store.confirm_ownership()

    async def _ensure_stream_facts(self) -> StreamFacts:
        """Return what the stream accepts, asked for anew after trouble; wait until it is there."""
        retry = Backoff(*_RETRY_SECONDS)
        while True:
            try:
                facts = await self._stream.refresh()
            except OutboxError as error:
                log.warning("waiting for the stream: %s", error.message)
                self._metrics.errors(error.reason).inc()
                self._progress.stream(ok=False, reason=error.message)
                await self._rest(retry.next())
            else:
                self._progress.stream(
                    ok=True,
                    reason=self._stream.without_fence or f"stream {facts.stream} takes our events",
                )
                return facts

    def _largest(self) -> int:
        return largest_row(self._stream.max_message_bytes)

    def _on_poll(self) -> None:
        self._metrics.polls.inc()
        self._nudged = self._signals.clear_wake()

    def _lost(self) -> None:
        self._signals.wake()
        self._signals.interrupt()
