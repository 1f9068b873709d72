"""Publish the events of a shard: read pages, send them in runs, save the cursor now and then.

Called by `relay.shard_session` once this process owns the shard. Follow one event:
`relay.reading` reads its page, `_run` makes a message of it (`relay.poison`, `relay.message`) and
hands it to a run of the sink, `relay.shard_cursor` moves on in memory once it is
acknowledged, and stores the cursor now and then. What a refusal leads to is in `relay.retrying`.
A crash between any two of these repeats nothing: the next relay finds in the stream what was
published (`relay.stream`) and skips that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence, Set
from functools import partial
from typing import Final

from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.postgres.rows import (
    COMMITTED_AT,
    CREATED_AT,
    POSITION,
    Bound,
    Candidates,
    Row,
    StoredCursor,
)
from outbox_operator.adapters.sink import Sent, Sink, SinkRun
from outbox_operator.counted import counted
from outbox_operator.relay import checkpoints, poison
from outbox_operator.relay.in_flight import PagesInFlight
from outbox_operator.relay.losses import StreamRolledBackError
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.paging import PAGE_ROWS, Snapshot, largest_row
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.reading import Page, Reader
from outbox_operator.relay.recovery import LEAST, MOST_SKIPPED, Numbering
from outbox_operator.relay.repeated_ids import RepeatedIds
from outbox_operator.relay.retrying import Retrying, StopRequestedError
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.shard_cursor import ShardCursor
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.stream import ShardStream
from outbox_operator.relay.traces import Traces
from outbox_operator.relay.turns import Turn, Turns
from outbox_operator.relay.wakeup import Wakeup
from outbox_operator.telemetry.tracer import Tracer
from outbox_operator.wire.trace_context import trace_id_in

log = logging.getLogger(__name__)

RUN_EVENTS: Final = 50_000
RUN_SECONDS: Final = 0.5
"""A run ends after so many events or so long: only its end tells the sequence in the stream, and
what was published since the last save is what the next owner has to read."""
MORE_ROWS: Final = 100
"""Behind a page of fewer, that was all there was, a poll at once would find nothing, and be in
the way of these."""
NUDGED_PAUSES: Final = 10
"""Pauses are this much longer while writers nudge, in case that a nudge is lost."""
QUIET_SECONDS: Final = 0.05
"""Without events for so long, polls become rarer and the cursor is saved."""
FEW_PAGES: Final = 4
"""Of a shard's part of a whole one: such a rest is read at once, whoever else reads."""
_HALT_RECHECK_SECONDS: Final = 5.0


class RelayLoop:
    """Publishes the events of one shard, for one session as its owner.

    Args:
        stored: As read after taking ownership.
        ids: Of the rows that were read last; shared with the other shards of the process, since
            their messages go to the same stream.
        turns: Shared with them as well.
        tracer: Makes spans; None: nobody wants any.
    """

    def __init__(
        self,
        settings: Settings,
        store: OutboxStore,
        sink: Sink,
        stored: StoredCursor,
        *,
        shard: int,
        signals: Signals,
        progress: ShardProgress,
        metrics: RelayMetrics,
        wakeup: Wakeup,
        ids: RepeatedIds,
        turns: Turns,
        tracer: Tracer | None = None,
    ) -> None:
        config, cursor = settings.config, stored.cursor
        points = checkpoints.parse(stored.checkpoints)
        self._settings = settings
        self._store = store
        self._sink = sink
        self._signals = signals
        self._wakeup = wakeup
        self._progress = progress
        self._metrics = metrics
        self._policy = config.on_poison
        self._since = COMMITTED_AT if stored.commit_times else CREATED_AT
        renderer = partial(
            Renderer, settings.template, config.database.schema, shard, settings.source,
            config.payload_type,
        )  # fmt: skip
        self._renderer, self._without_ids = renderer(), renderer(mark=None)
        self._traces = Traces(tracer, settings, shard, self._since) if tracer is not None else None
        self._ids = ids
        self._turn = Turn(turns)
        self._resent_to = stored.resent_to
        self._resending = renderer(mark=f".{shard}.{stored.resent_epoch}")
        self._stream = ShardStream(
            sink, settings, metrics,
            shard=shard, epoch=store.epoch, system=stored.server_system,
            known=cursor.stream_sequence, created=cursor.stream_created, notice=cursor.notice,
            numbers=Numbering(cursor.emission, cursor.emission_gaps),
            numbered=checkpoints.emission_at(points, cursor),
            held=points[-1].held if points else None,
            candidates=self._candidates, waiting=self._waiting,
        )  # fmt: skip
        self._cursor = ShardCursor(
            store, self._stream, progress, metrics,
            stored=stored, policy=config.on_poison, traces=self._traces,
        )  # fmt: skip
        self._retrying = Retrying(
            store, sink, self._stream, signals, progress, metrics, on_rest=self._turn.leave
        )
        self._reader = Reader(
            store, self._cursor.point, largest=self._largest, on_poll=self._on_poll,
            page_parts=lambda: 1 if self._turn.held else signals.page_parts,
        )  # fmt: skip
        self._nudged = False
        """Whether the last poll was asked for by a writer."""
        sink.on_lost(self._lost)

    async def run(self) -> None:
        """Publish until asked to stop, and until the run in flight is settled.

        Raises:
            OutboxError: A connection is lost, or the ownership is.
        """
        try:
            await self._cursor.read_blocked_keys()
            await self._retrying.ensure_stream_facts()
            await self._cursor.save()  # an earlier point to go back to
            await self._poll_until_stopped()
        except StopRequestedError:
            log.info("stopped while the stream takes no events; they stay in the outbox")
        except StreamRolledBackError as error:
            await self._cursor.go_back(error)
            raise
        finally:
            self._turn.leave()
            await self._reader.close()
        await self._cursor.save()

    async def _poll_until_stopped(self) -> None:
        floor = self._settings.config.poll_min_seconds
        pause, busy_at = floor, time.monotonic()
        while not self._signals.stopping:
            if self._sink.lost:
                raise self._sink.lost_error()
            if self._reader.left > self._few:
                await self._take_turn()
            page = await self._reader.next()
            if page is not None:
                drained = await self._run(page)
                page = None  # which may be a whole one, and others have their turn now
                await self._wakeup.awake()
                pause, busy_at = floor, time.monotonic()
                if not (drained and self._nudged):
                    continue
                # The next writer will nudge as well, most likely.
                pause = floor * NUDGED_PAUSES * self._signals.shards
                pause = min(pause, self._signals.poll_ceiling)
            else:
                self._turn.leave()
                self._progress.idle()
                self._stream.window_read()
                if time.monotonic() - busy_at >= QUIET_SECONDS:
                    await self._cursor.save()
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
        run: SinkRun | None = None
        in_flight = PagesInFlight(self._since)
        started, halted, drained = time.monotonic(), None, False
        following: Page | None = page
        if self._traces is not None:
            self._traces.begin_run()
        try:
            while following is not None:
                drained = following.closes and len(following.rows) < MORE_ROWS
                many = following.waiting - len(following.rows) > self._few
                waits = self._turn.must_wait and (many or self._turn.held)
                if many and not waits:
                    await self._take_turn()
                if not (drained or waits):
                    self._reader.read_ahead()
                self._progress.backlog(following.waiting, following.rows[0][CREATED_AT] / 1e6)
                plan = await self._plan(following, in_flight.sent)
                if plan is None:
                    break
                halted = plan.halted
                in_flight.add(following, plan)
                if self._traces is not None:
                    self._traces.sending(following.rows, plan)
                ends = (
                    following.closes or waits or halted is not None or bool(plan.dead_letters)
                    or in_flight.sent >= RUN_EVENTS or time.monotonic() - started > RUN_SECONDS
                    or self._signals.stopping
                )  # fmt: skip
                if plan.messages:
                    run = run or self._stream.open_run()
                    await run.send(plan.messages, last=ends)
                if ends or (run is not None and run.refused):
                    break
                self._cursor.settle(in_flight, *((run.acked, run.acked_at) if run else (0, 0.0)))
                following = await self._reader.next()
        except BaseException:
            if run is not None:
                run.abandon()
            raise
        finally:
            if not (self._turn.held and self._reader.is_ahead):  # what was read in it is there
                self._turn.leave()
        result = await run.finish() if run is not None else Sent(0, None, None)
        await self._end(result, in_flight)
        if result.refusal is None and halted is not None:
            await self._halt(*halted)
        elif result.refusal is None and plan is None:
            await self._reader.rewind(self._cursor.point)
        return drained and plan is not None and result.refusal is None and halted is None

    async def _plan(self, page: Page, sent: int) -> poison.PagePlan | None:
        """Decide what to do with a page; None: read it again, since the stream has changed.

        Args:
            sent: Messages of the run before it.
        """
        facts = await self._retrying.ensure_stream_facts()
        if not sent and self._cursor.numbers_must_be_saved:
            await self._cursor.save()
        if self._cursor.blocked_keys:
            await self._cursor.unblock_keys(page.rows)
        repeated = self._ids.find(page.rows)
        plan = poison.plan_page(
            page.rows,
            renderer=self._renderer_of(page, sent),
            facts=facts,
            policy=self._policy,
            blocked_keys=self._cursor.blocked_keys,
            refused=self._retrying.refused,
            published=self._stream.published,
            guessed=self._stream.guessed,
            repeated=repeated,
            # Not remembered from before: to ask for the facts may have moved them.
            emission=self._stream.numbers.last + sent,
        )
        if plan.found_poison:
            # The stream may have been changed since we asked; give no event up on old knowledge.
            self._stream.invalidate_facts()
            if await self._retrying.ensure_stream_facts() != facts:
                return None
        if plan.found_poison or plan.dead_letters:
            self._ids.forget(page.rows, plan.given_up)
        if not repeated.isdisjoint(plan.positions):
            self._say_repeated(repeated.intersection(plan.positions))
        if plan.positions:
            plan = plan.reaching(self._stream.reach.before(plan.positions))
        naming = self._stream.chain.naming(sent)
        return plan if naming is None else plan.naming(naming)

    @property
    def _few(self) -> int:
        """Rows for which nobody waits for a turn."""
        return FEW_PAGES * PAGE_ROWS // self._signals.page_parts

    async def _take_turn(self) -> None:
        """Have a turn for whole pages; not while the stream takes nothing, or others would wait."""
        if not self._turn.held:
            await self._retrying.ensure_stream_facts()
            await self._turn.take()

    def _say_repeated(self, positions: Set[int]) -> None:
        self._metrics.repeated_ids.inc(len(positions))
        log.warning(
            "%s the event id of another row, the first at position %d: each is published by "
            "itself", counted(len(positions), "row has", "rows have"), min(positions),
            extra={"position": min(positions)},
        )  # fmt: skip

    def _renderer_of(self, page: Page, sent: int) -> Renderer:
        """Return what gives messages ids, if they need any.

        Rows that a rebase had sent again get ids of their own: the stream may know the others, and
        would drop the events. Rows behind them on the page are given some too.

        Args:
            sent: Messages of the run before the page.
        """
        if not self._stream.ids_wanted(sent):
            return self._without_ids
        resent = self._resent_to and page.rows[0][POSITION] <= self._resent_to
        return self._resending if resent else self._renderer

    async def _end(self, result: Sent, in_flight: PagesInFlight) -> None:
        """Act on how a run ended."""
        self._stream.ended(result)
        dead_letters = in_flight.dead_letters()
        self._cursor.settle(in_flight, result.count, result.acked_at)
        failed = in_flight.first_unsettled()
        if failed is not None:
            dead_letters = [letter for letter in dead_letters if letter.position < failed]
        await self._cursor.save_if_due(dead_letters)
        if self._traces is not None and dead_letters:
            self._traces.put_aside(dead_letters)
        self._metrics.batches.inc()
        if result.refusal is None:
            self._retrying.succeeded()
            if self._stream.in_doubt:
                await self._retrying.ensure_stream_facts()
        else:
            if result.count:
                self._retrying.progressed()
            await self._reader.rewind(self._cursor.point)  # and keep no page while it waits
            await self._retrying.after_refusal(result.refusal, failed)

    async def _halt(self, row: Row, found: poison.Poison) -> None:
        """Stay at a poison event, with policy Halt, until a person has acted."""
        log.error(
            "halted at an event that cannot be published: %s", found.error,
            extra={
                "reason": found.reason, "position": row.position, "event_id": row.event_id,
                **({"trace_id": trace_id} if (trace_id := trace_id_in(row.headers)) else {}),
            },
        )  # fmt: skip
        self._progress.halted(found.error)
        self._stream.invalidate_facts()
        await self._cursor.save()
        await self._reader.rewind(self._cursor.point)  # the row may be changed or deleted
        await self._retrying.rest(_HALT_RECHECK_SECONDS)

    async def _candidates(self, last: int) -> Candidates:
        lower, upper, done = self._bounds()
        return await self._store.candidates(lower, upper, done=done, last=last, most=MOST_SKIPPED)

    async def _waiting(self, positions: Sequence[int]) -> Set[int]:
        lower, upper, done = self._bounds()
        return await self._store.waiting(lower, upper, done=done, positions=positions)

    def _bounds(self) -> tuple[Bound, Bound | None, int]:
        """Return S1 and, inside a window, S2 and the position that is done."""
        point = self._cursor.point
        upper = None if point.upper is None else Snapshot.parse(point.upper).bound()
        # Position 0 is none, as in `relay.reading`.
        return Snapshot.parse(point.lower).bound(), upper, point.position or LEAST

    def _largest(self) -> int:
        return largest_row(self._stream.max_message_bytes)

    def _on_poll(self) -> None:
        self._metrics.polls.inc()
        self._nudged = self._signals.clear_wake()

    def _lost(self) -> None:
        self._signals.wake()
        self._signals.interrupt()
