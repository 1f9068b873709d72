"""Share the shards with the other relays: take, hold, hand over.

Called by `relay.app` for as long as both connections live. Once a second, and at once when
something changes, it looks at the lock table, lets `relay.balance` decide, and starts or ends a
`relay.shard_session` per shard. One that fails hands its shard back and is tried again later; the
others never notice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from outbox_operator.adapters.postgres.shard_locks import ShardLocks
from outbox_operator.adapters.sink import Sink
from outbox_operator.aio import Backoff
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.relay.balance import decide
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.progress import Progress
from outbox_operator.relay.repeated_ids import RepeatedIds
from outbox_operator.relay.settings import Settings
from outbox_operator.relay.shard_session import ShardSession
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.sweeper import Sweeper
from outbox_operator.relay.turns import WHOLE_PAGES, Turns
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.tracer import Tracer

log = logging.getLogger(__name__)

BALANCE_SECONDS: Final = 1.0
SCHEMA_SECONDS: Final = 3.0
"""Between two looks at the mark and at the sequence of positions: for so long inserts may fail
after a `setval`, and rows go out after their schema was taken over."""
POSITIONS_RETRY_SECONDS: Final = 300.0
UNWOKEN_POLL_SECONDS: Final = 1.0
"""Longest pause of a quiet shard that was to be woken and cannot be: as by default."""
IDLE_POLLS_PER_SECOND: Final = 8.0
"""Of all quiet shards of a process together."""
_RETRY_SECONDS: Final = (0.2, 10.0)
"""First and longest pause before a shard that failed is tried again."""
_STABLE_SECONDS: Final = 30.0
"""A session this long was fine; the back-off starts anew after it."""


@dataclass(slots=True)
class _Held:
    """A shard whose lock is ours."""

    session: ShardSession
    task: asyncio.Task[None]
    since: float
    leaving_since: float | None = None


@dataclass(slots=True)
class _Rest:
    """A shard that failed here: not to be tried before `until`."""

    backoff: Backoff
    until: float = 0.0


@dataclass(slots=True)
class Ownership:
    """The shards of one process, while its two connections live.

    Attributes:
        signals: Of the process; a request to stop ends `run`, `interrupt` makes it look at once.
    """

    settings: Settings
    locks: ShardLocks
    sink: Sink
    signals: Signals
    progress: Progress
    metrics: RelayMetrics
    tracer: Tracer | None
    _held: dict[int, _Held] = field(default_factory=dict)
    _resting: dict[int, _Rest] = field(default_factory=dict)
    _schema_due: float = 0.0
    _positions_due: float = 0.0
    _sleeps: bool = False
    _ids: RepeatedIds = field(default_factory=RepeatedIds)
    _turns: Turns = field(default_factory=Turns)
    _poll_max: float = UNWOKEN_POLL_SECONDS
    _sweeper: Sweeper | None = None

    async def run(self) -> None:
        """Own a fair share of the shards until asked to stop; then hand all of them over.

        Raises:
            OutboxError: A connection is lost. Every shard session is ended then.
        """
        await self._check_mark()
        try:
            await self.locks.join(self.signals.interrupt)
            log.info("joined the relays of the pipeline", extra={"member": self.locks.member})
            await self._see_who_wakes_us()
            async with self._sweeping():
                while not self.signals.stopping:
                    self.signals.clear_interrupt()
                    await self._balance()
                    await self.signals.until_interrupted(BALANCE_SECONDS)
                await self._leave()
        finally:
            await self._abandon()

    @asynccontextmanager
    async def _sweeping(self) -> AsyncIterator[None]:
        """Look for the news of all shards at once, where there are several."""
        if self.settings.config.shards == 1:
            yield
            return
        self._sweeper = Sweeper(
            self.locks, self.metrics, self._several,
            floor=self.settings.config.poll_min_seconds, ceiling=lambda: self._poll_max,
        )  # fmt: skip
        task = asyncio.create_task(self._sweeper.run(), name="sweeper")
        try:
            yield
        finally:
            await self._sweeper.stop(task)

    def _several(self) -> Mapping[int, Signals]:
        """The shards that are held, if one alone does not do as well by itself."""
        if len(self._held) < 2:
            return {}
        return {shard: held.session.signals for shard, held in self._held.items()}

    def nudged(self) -> None:
        """Pass a nudge on: events were committed, of whichever shard."""
        if self._sweeper is not None and self._sweeper.works and len(self._held) > 1:
            self._sweeper.nudge()
            return
        for held in self._held.values():
            held.session.signals.nudge()

    async def _balance(self) -> None:
        await self._let_go_of_ended()
        if self.sink.lost:
            raise self.sink.lost_error()
        view = await self.locks.view()
        self.progress.joined(len(view.members))
        for shard in view.holders.keys() - self._held.keys():
            self.progress.elsewhere(shard)
        moves = decide(
            shards=self.settings.config.shards,
            me=self.locks.member,
            members=view.members,
            holders=view.holders,
            leaving=[shard for shard, held in self._held.items() if held.leaving_since is not None],
        )
        for shard in moves.release:
            self._hand_over(shard, "another relay has fewer shards")
        now = time.monotonic()
        for shard in moves.take:
            rest = self._resting.get(shard)
            if rest is not None and now < rest.until:
                asyncio.get_running_loop().call_later(rest.until - now, self.signals.interrupt)
            elif await self.locks.take(shard):
                self._start(shard)
        await self._look_at_schema(now)
        self._end_overdue(now)
        self._share_out()

    async def _see_who_wakes_us(self) -> None:
        """Whether shards may sleep until a writer notifies them, and how often else to poll."""
        config = self.settings.config
        self._sleeps = config.wakeup == "WhenIdle" and await self.locks.may_be_notified()
        self._poll_max = config.poll_max_seconds
        missing = ""
        if config.wakeup == "WhenIdle" and not self._sleeps:
            self._poll_max = min(self._poll_max, UNWOKEN_POLL_SECONDS)
            missing = (
                f"{Reason.NOBODY_NOTIFIES}: outbox.wakeup is WhenIdle, but the server allows "
                "prepared transactions (max_prepared_transactions is not 0), which must not "
                f"notify; quiet shards are polled every {self._poll_max:g} s or sooner instead"
            )
            log.warning("%s", missing, extra={"reason": Reason.NOBODY_NOTIFIES})
        self.progress.wakeups(missing)

    async def _check_mark(self) -> None:
        """Raise when the tables were taken over: another relay is to publish them."""
        await self.locks.check_mark(self.settings.config.owner_uid)

    async def _look_at_schema(self, now: float) -> None:
        """See that the tables are still ours, and let inserts go on that fail because somebody
        set the sequence of positions back."""
        if not self._held or now < self._schema_due:
            return
        self._schema_due = now + SCHEMA_SECONDS
        await self._check_mark()
        if now < self._positions_due:
            return
        try:
            moved = await self.locks.mend_positions()
        except OutboxError as error:
            # A lost connection is noticed elsewhere. A right may be missing that came with this
            # version; the operator looks too.
            self._positions_due = now + POSITIONS_RETRY_SECONDS
            log.warning(
                "cannot look at positions: %s", error.message, extra={"reason": error.reason}
            )
            return
        if moved is not None:
            reason, _, text = moved.partition(": ")
            log.error("%s", text, extra={"reason": reason})
            self.metrics.position_moves.inc()

    def _start(self, shard: int) -> None:
        session = ShardSession(
            shard,
            self.settings,
            self.sink,
            Signals(self._poll_max),
            self.progress.shard(shard),
            self.metrics,
            self._sleeps,
            self._ids,
            self._turns,
            self.tracer,
        )
        with bind(shard=shard):
            task = asyncio.create_task(session.run(), name=f"shard {shard}")
        task.add_done_callback(lambda _: self.signals.interrupt())
        self._held[shard] = _Held(session, task, time.monotonic())

    def _share_out(self) -> None:
        """Bound what all shards cost together: polls when quiet, memory of pages when not."""
        least = len(self._held) / IDLE_POLLS_PER_SECOND
        for held in self._held.values():
            signals = held.session.signals
            signals.poll_ceiling = max(self._poll_max, least)
            signals.shards = len(self._held)
            signals.page_parts = -(-len(self._held) // WHOLE_PAGES)

    def _hand_over(self, shard: int, why: str) -> None:
        held = self._held[shard]
        if held.leaving_since is None:
            held.leaving_since = time.monotonic()
            log.info("handing the shard over: %s", why, extra={"shard": shard})
            held.session.signals.request_stop()

    def _end_overdue(self, now: float) -> None:
        """Cut a hand-over short that the stream holds up; what is in flight is sent again."""
        for shard, held in self._held.items():
            since = held.leaving_since
            if since is not None and now - since > self.settings.config.drain_seconds:
                log.warning("the hand-over took too long", extra={"shard": shard})
                held.task.cancel()

    async def _let_go_of_ended(self) -> None:
        for shard, held in list(self._held.items()):
            if held.task.done():
                del self._held[shard]
                self._note_end(shard, held)
                await self.locks.release(shard)

    def _note_end(self, shard: int, held: _Held) -> None:
        """Say why a shard session ended, wherever somebody may look."""
        progress = self.progress.shard(shard)
        error = None if held.task.cancelled() else held.task.exception()
        if error is None:
            self._resting.pop(shard, None)
            progress.released()
            return
        reason = error.reason if isinstance(error, OutboxError) else OutboxError.reason
        message = error.message if isinstance(error, OutboxError) else repr(error)
        seconds = self._rest_after(shard, held)
        # Of a right that the whole session lacks, the session speaks once.
        reported = reason == Reason.PERMISSION_DENIED and self.sink.lost
        log.log(
            logging.DEBUG if reported else logging.WARNING,
            "starting over: %s", message,
            extra={"shard": shard, "reason": reason, "retry_seconds": round(seconds, 2)},
            exc_info=None if isinstance(error, OutboxError) else error,
        )  # fmt: skip
        self.metrics.errors(reason).inc()
        if reason == Reason.OWNERSHIP_LOST:
            self.metrics.ownership_losses.inc()
        progress.released(message)

    def _rest_after(self, shard: int, held: _Held) -> float:
        now = time.monotonic()
        rest = self._resting.get(shard)
        if rest is None:
            rest = self._resting[shard] = _Rest(Backoff(*_RETRY_SECONDS, _STABLE_SECONDS))
        seconds = rest.backoff.next(lasted=now - held.since)
        rest.until = now + seconds
        return seconds

    async def _leave(self) -> None:
        """Hand every shard over, each as soon as its page in flight is done."""
        await self.locks.leave()
        self.progress.left("leaving")
        for shard in self._held:
            self._hand_over(shard, "asked to stop")
        while self._held:
            tasks = [held.task for held in self._held.values()]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._let_go_of_ended()

    async def _abandon(self) -> None:
        """End what still runs, at once."""
        tasks = [held.task for held in self._held.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for shard in self._held:
            self.progress.shard(shard).released()
        self._held.clear()
