"""The relay's heart: poll, open a window, publish its pages in order, move the cursor.

Called by `relay.tenure` once this process owns the shard. Follow one event: `run` sees it in a
poll (or `_drain_window` reads its page), `_publish_page` sends it and waits for its
acknowledgement, `_advance` moves the cursor past it. A crash between any two of these repeats
at most a page, which de-duplication drops.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from outbox_operator.adapters.jetstream import Publisher, Refusal, StreamLimits
from outbox_operator.adapters.outbox_store import Cursor, OutboxStore, Row
from outbox_operator.errors import NatsError, OutboxError, PostgresError
from outbox_operator.relay import poison
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.paging import PAGE_BYTES, PageSizer, Snapshot, largest_row
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.window import PublishWindow

log = logging.getLogger(__name__)

_RETRY_FIRST_SECONDS: Final = 0.05
_RETRY_MAX_SECONDS: Final = 2.0
_HALT_RECHECK_SECONDS: Final = 5.0


class _StopRequestedError(Exception):
    """Asked to stop while waiting to try a page again; the cursor is where it should be."""


class RelayLoop:
    """One tenure as the owner of a shard.

    Args:
        cursor: As read after taking ownership.
    """

    def __init__(
        self,
        settings: Settings,
        store: OutboxStore,
        publisher: Publisher,
        cursor: Cursor,
        *,
        shard: int,
        signals: Signals,
        progress: ShardProgress,
        metrics: RelayMetrics,
    ) -> None:
        config = settings.config
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._signals = signals
        self._progress = progress
        self._metrics = metrics
        self._policy = config.on_poison
        self._renderer = Renderer(
            settings.template, config.database.schema, shard, settings.source, config.payload_type
        )
        self._window = PublishWindow(
            publisher,
            size=config.publish_window,
            chained=config.ordering == "PerKey",
            on_ack=metrics.ack_seconds.observe,
        )
        publisher.on_lost(self._lost)
        self._lower = cursor.snapshot_from
        self._open_upper = cursor.snapshot_to
        self._last_position = cursor.last_position
        self._emission = cursor.emission
        self._sizer = PageSizer()
        self._blocked: frozenset[str] = frozenset()
        self._limits: StreamLimits | None = None

    async def run(self) -> None:
        """Publish until asked to stop; returns after the page in flight.

        Raises:
            OutboxError: A connection is lost, or the ownership is.
        """
        try:
            if self._policy == "BlockKey":
                self._blocked = await self._store.blocked_keys()
            await self._known_limits()
            if self._open_upper is not None:
                log.info("an earlier relay left a window open, reading it again")
                await self._drain_window(self._open_upper)
            await self._poll_until_stopped()
        except _StopRequestedError:
            log.info("stopped while the stream takes no events; they stay in the outbox")

    async def _poll_until_stopped(self) -> None:
        config = self._settings.config
        pause = config.poll_min_seconds
        while not self._signals.stopping:
            if self._publisher.lost:
                raise self._publisher.lost_error()
            self._signals.clear_wake()
            if await self._poll():
                pause = config.poll_min_seconds
                continue
            self._progress.idle()
            if await self._signals.pause(pause):
                pause = config.poll_min_seconds
            else:
                pause = min(pause * 2, self._signals.poll_ceiling)

    async def _poll(self) -> bool:
        """Look for new rows and publish them; False when there are none."""
        self._metrics.polls.inc()
        unseen = Snapshot.parse(self._lower).unseen()
        polled = await self._store.poll(
            unseen, rows=self._sizer.rows, size=PAGE_BYTES, largest=await self._largest_row()
        )
        if polled.complete and not polled.rows:
            # Nothing between the two, so the newer serves as well; nothing is written for that.
            self._lower = polled.snapshot
            return False
        await self._store.open_window(self._lower, polled.snapshot)
        self._last_position = 0
        if self._blocked:
            self._blocked = await self._store.blocked_keys()
        if not polled.complete:
            await self._drain_window(polled.snapshot)
            return True
        await self._publish_page(polled.rows, waiting=len(polled.rows), closes=polled.snapshot)
        self._lower = polled.snapshot
        return True

    async def _drain_window(self, upper: str) -> None:
        """Publish what is left of the open window, page by page."""
        unseen = Snapshot.parse(self._lower).unseen()
        span = await self._store.span(unseen, upper, self._last_position)
        waiting = span.rows
        if not waiting:
            await self._store.advance(self._last_position, self._emission, closes=upper)
        while waiting and not self._signals.stopping:
            rows = await self._store.page(
                unseen, upper,
                after=max(self._last_position, span.first - 1), last=span.last,
                rows=self._sizer.rows, size=PAGE_BYTES, largest=await self._largest_row(),
            )  # fmt: skip
            if not rows:
                raise PostgresError(
                    f"events in {self._store.address}: rows between positions "
                    f"{self._last_position} and {span.last} vanished before they were published",
                    reason="EventsVanished",
                )
            last = rows[-1].position == span.last
            await self._publish_page(rows, waiting=waiting, closes=upper if last else None)
            waiting -= len(rows)
        if not waiting:
            self._lower = upper

    async def _publish_page(
        self, rows: tuple[Row, ...], *, waiting: int, closes: str | None
    ) -> None:
        """Publish or bury every row of a page, whatever it takes, unless asked to stop.

        Args:
            waiting: Rows known to wait, these included.
            closes: S2 when the page is the window's last.
        """
        self._sizer.learn(len(rows), sum(len(row.payload or b"") for row in rows))
        self._progress.backlog(waiting, rows[0].created_at)
        refused: dict[int, poison.Poison] = {}
        retry = _RETRY_FIRST_SECONDS
        asked = False
        read_with = await self._known_limits()
        while rows:
            limits = await self._known_limits()
            if limits != read_with:
                _check_read(rows)
            plan = poison.plan_page(
                rows,
                renderer=self._renderer,
                limits=limits,
                policy=self._policy,
                blocked_keys=self._blocked,
                refused=refused,
                emission=self._emission,
            )
            if plan.found_poison and not asked:
                # The stream may have been changed since we asked; never bury on old knowledge.
                self._limits, asked = None, True
                continue
            sent = await self._window.send(plan.messages)
            done = plan.done(rows, sent.count)
            if done:
                last = len(done) == len(rows)
                await self._advance(plan, done, sent.count, closes if last else None)
                rows = rows[len(done) :]
                retry = _RETRY_FIRST_SECONDS
            if sent.refusal is not None:
                failed = plan.messages[sent.count].row
                if self._is_passing(sent.refusal, failed, refused):
                    await self._rest(retry)
                    retry = min(retry * 2, _RETRY_MAX_SECONDS)
                asked = self._limits is None
            elif plan.halted is not None:
                await self._halt(*plan.halted, refused)
        self._metrics.batches.inc()

    async def _advance(
        self, plan: poison.Plan, done: Sequence[Row], published: int, closes: str | None
    ) -> None:
        """Move the cursor behind `done`, of which `published` messages are in the stream."""
        position = done[-1].position
        burials = [burial for burial in plan.burials if burial.position <= position]
        emission = self._emission + published
        await self._store.advance(position, emission, closes=closes, burials=burials)
        self._last_position, self._emission = position, emission
        self._progress.published(published)
        self._metrics.published_bytes.inc(sum(m.size for m in plan.messages[:published]))
        for burial in burials:
            self._metrics.poison(burial.reason).inc()
            if not burial.blocked:
                log.error(
                    "event moved to the dead letters: %s", burial.error,
                    extra={"reason": burial.reason, "position": burial.position},
                )  # fmt: skip
        if self._policy == "BlockKey":
            self._blocked |= poison.keys_of(done, burials)
        self._progress.moved(len(done))

    def _is_passing(self, refusal: Refusal, failed: Row, refused: dict[int, poison.Poison]) -> bool:
        """Take note of a refusal; whether to wait before going on from the refused event."""
        treatment = poison.treat(refusal)
        if treatment is poison.Treatment.RESUME:
            log.debug("another publisher wrote to the stream in between: %s", refusal.text)
            return False
        self._metrics.errors(refusal.reason).inc()
        self._limits = None
        if treatment is poison.Treatment.POISON:
            refused[failed.position] = poison.Poison("RefusedByStream", refusal.text)
            return False
        if self._publisher.lost:
            raise self._publisher.lost_error()
        log.warning(
            "the stream did not take an event, trying again: %s", refusal.text,
            extra={"reason": refusal.reason, "position": failed.position},
        )  # fmt: skip
        self._progress.trouble(refusal.text)
        return True

    async def _halt(
        self, row: Row, found: poison.Poison, refused: dict[int, poison.Poison]
    ) -> None:
        """Policy Halt: stay at a poison event until a person has acted, looking every few s."""
        log.error(
            "halted at an event that cannot be published: %s", found.error,
            extra={"reason": found.reason, "position": row.position},
        )  # fmt: skip
        self._progress.halted(found.error)
        refused.clear()
        self._limits = None
        await self._rest(_HALT_RECHECK_SECONDS)

    async def _rest(self, seconds: float) -> None:
        """Wait before another attempt; a request to stop ends the attempts."""
        await self._signals.rest(seconds)
        if self._signals.stopping:
            raise _StopRequestedError
        if self._publisher.lost:
            raise self._publisher.lost_error()
        await self._store.confirm_ownership()

    async def _largest_row(self) -> int:
        return largest_row((await self._known_limits()).max_message_bytes)

    async def _known_limits(self) -> StreamLimits:
        """What the stream accepts, asked for anew after trouble; waits until it is there."""
        retry = _RETRY_FIRST_SECONDS
        while self._limits is None:
            try:
                limits = await self._publisher.limits()
                poison.check_template(self._settings.template, limits)
            except OutboxError as error:
                log.warning("waiting for the stream: %s", error.message)
                self._metrics.errors(error.reason).inc()
                self._progress.stream(ok=False, reason=error.message)
                await self._rest(retry)
                retry = min(retry * 2, _RETRY_MAX_SECONDS)
            else:
                self._limits = limits
                self._progress.stream(ok=True, reason=f"stream {limits.stream} takes our events")
        return self._limits

    def _lost(self) -> None:
        self._window.interrupt()
        self._signals.wake()
        self._signals.urge()


def _check_read(rows: Sequence[Row]) -> None:
    """After a change of the stream's limits: rows left unread for their size must be read again.

    Raises:
        NatsError: Ends the session; the next one reads the window with the new limits.
    """
    if any(row.payload is None for row in rows):
        raise NatsError(
            "the stream's limits changed while events were read, reading them again",
            reason="StreamLimitsChanged",
        )
