"""Keep handlers busy with messages of one source.

Called by the app, once for each connection. Requests as many messages as can be handled, keeps
the server informed while handlers are slow, and drains. What happens to a message in hand is the
business of `consumer.workers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import Final

from outbox_operator.adapters.source import Source
from outbox_operator.aio import wait
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.handlers.types import Handler
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.sources import no_room, what
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.consumer.traces import Processing
from outbox_operator.consumer.workers import Workers
from outbox_operator.errors import DependencyError, NatsError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_SILENCE_CHECK_SECONDS: Final = 1.0
"""How often the loop looks for silence when nothing wakes it."""
_STALL_CHECK_SECONDS: Final = 5.0
"""How often it asks, when nothing comes, whether what failed takes up all room on the server."""
_LEFT_CHECK_SECONDS: Final = 0.5
"""How often it asks whether anything is left that others had in hand."""
_HELD_BACK_CHECK_SECONDS: Final = 0.1
"""How often it looks whether all messages under way have come in, in ordered mode."""
_MARGIN_SECONDS: Final = 1.0
"""So long after ackWait all that a killed reader had has come again."""
_SHORTEST_BEAT_SECONDS: Final = 0.03
_CONFIRM_SECONDS: Final = 2.0
"""How long the last acknowledgements may take before the end."""
_CANCEL_SECONDS: Final = 2.0
"""How long cancelled handlers may take to end."""


class Loop:
    """Where messages come from, and how many.

    Args:
        config: The consumer.
        handler: Who handles.
        processor: Handles messages.
        breaker: Says whether to go on.
        suspects: Says whether to be careful.
        pace: Says how many may be handled at once.
        metrics: What to count.
        stopping: Ends the loop; call `wake` after setting it.

    Attributes:
        deliver: Takes one message in hand.
        stalled: Why nothing is delivered although more may be there; or nothing.
        answer_refused: Told of a message to which the server refused an answer.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        processor: Processing,
        breaker: Breaker,
        suspects: Suspects,
        pace: Pace,
        metrics: ConsumerMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._config = config
        self._breaker = breaker
        self._suspects = suspects
        self._pace = pace
        self._careful = False
        self._looked = 0.0
        self._gathering: tuple[int, float] = (-1, 0.0)
        """Of which epoch, and since when."""
        self._begun = False
        self.stalled = ""
        self._room_asked = 0.0
        self._stopping = stopping
        self._changed = asyncio.Event()
        self._workers = Workers(
            config, handler, processor, breaker, suspects, pace, metrics,
            stopping=stopping, changed=self._changed,
        )  # fmt: skip
        self.deliver = self._workers.deliver
        self.answer_refused = self._workers.answer_refused

    def wake(self) -> None:
        """Look again: something changed."""
        self._changed.set()

    @property
    def must_settle(self) -> bool:
        """Whether `settle` waits for handlers."""
        return self._workers.refused and self._workers.ordered and bool(self._workers.tasks)

    async def settle(self, source: Source) -> None:
        """Forget what was in hand when answers were refused and is not with a handler.

        In ordered mode all handlers end first: what comes again must not overtake what they have.

        Args:
            source: An open durable consumer.

        Raises:
            OutboxError: Nothing can arrive any more.
        """
        while self.must_settle and not self._stopping.is_set():
            self._changed.clear()
            if source.failure is not None:
                raise source.failure
            woken = asyncio.create_task(self._changed.wait())
            either = {*self._workers.tasks, woken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()
        if self._workers.refused and not self._stopping.is_set():
            self._workers.let_go()

    async def run(self, source: Source) -> None:
        """Handle messages until `stopping`, then drain.

        Args:
            source: An open durable consumer that reports to `deliver` and `wake`.

        Raises:
            OutboxError: Nothing can arrive any more. Messages in hand are still being handled;
                only those that are with a handler, if answers are refused.
        """
        workers = self._workers
        workers.answers.ack_all = source.ack_all
        if source.ack_all and not workers.ordered:
            raise NatsError(
                f"{what(self._config)}: ackPolicy All needs ordering PerKey "
                "or an inbox of mode PerShard: an answer would count for events still in hand",
                reason=Reason.WRONG_CONSUMER,
            )
        inbox = self._config.inbox
        if inbox is not None and inbox.mode == "PerShard" and not source.durable.one_reader:
            log.warning(
                "%s gives events to several readers at a time: each event gets a "
                "row in the inbox, whatever its mode; wanted a pinned reader "
                "(priorityPolicy: PinnedClient) or maxAckPending: 1",
                what(self._config),
            )
        if not self._begun and source.unanswered_before > 0:
            self._suspects.beware(time.monotonic())
        self._begun = True
        while not self._stopping.is_set():
            self._changed.clear()
            if source.failure is not None:
                raise source.failure
            if source.silent and source.connected:
                await source.verify()
                source.forget_requests()
            if workers.ordered and workers.epoch != source.epoch and source.connected:
                await self._gather(source)
            await self._watch_out(source)
            await self._look_for_room(source)
            await self._request(source)
            workers.start()
            await wait(self._changed, self._seconds_until_due())
        await source.close()
        await self._drain(source)
        if source.failure is not None:
            raise source.failure

    async def _gather(self, source: Source) -> None:
        """Wait for all messages under way, after some may have gone elsewhere.

        Raises:
            OutboxError: The server does not answer.
        """
        epoch = source.epoch
        self._workers.give_back_held_before(epoch)
        if self._gathering[0] != epoch:
            self._gathering = epoch, time.monotonic()
        missing = await self._elsewhere(source)
        if epoch != source.epoch:
            return
        if missing > 0 and not self._others_live(source):
            # They come again after ackWait, from a reader that is gone, or it answers them.
            if source.requested == 0:
                await source.request(missing)
            return
        self._workers.handle_held_back(epoch)

    def _others_live(self, source: Source) -> bool:
        """Whether what is missing is in hand of readers beside us, not of one that is gone.

        They may wait for what we hold back, as we do for theirs, and there is no order among many.
        """
        waited = time.monotonic() - self._gathering[1]
        return not source.durable.one_reader and waited > source.ack_wait + _MARGIN_SECONDS

    async def _elsewhere(self, source: Source) -> int:
        """How many messages under way are not in hand, or have only just come.

        Raises:
            OutboxError: The server does not answer.
        """
        source.flush()
        in_hand = self._workers.in_hand
        before = set(in_hand)
        unanswered = await source.unanswered()
        return unanswered.elsewhere(before & in_hand.keys())

    async def _watch_out(self, source: Source) -> None:
        """See whether messages that others left may still come."""
        now = time.monotonic()
        careful = self._suspects.careful(now)
        if careful and not self._workers.ordered and now - self._looked > _LEFT_CHECK_SECONDS:
            self._looked = now
            if source.connected and await self._elsewhere(source) <= 0:
                self._suspects.all_clear()
                careful = False
        if self._careful and not careful:
            self._workers.end_care()
        self._careful = careful

    async def _look_for_room(self, source: Source) -> None:
        """See whether messages that wait for another try leave no room for any other."""
        if self._workers.tasks or not (self._suspects.waiting or self._workers.answers.put_off):
            self.stalled = ""
            return
        now = time.monotonic()
        if not source.requested or not source.connected or source.most_in_flight < 1:
            return
        if now - self._room_asked < _STALL_CHECK_SECONDS:
            return
        self._room_asked = now
        waiting = await source.in_the_way()
        stalled = ""
        if waiting >= source.most_in_flight:
            stalled = f"{what(self._config)}: {no_room(self._config, waiting)}"
        if stalled and not self.stalled:
            log.warning("%s", stalled)
        self.stalled = stalled

    async def _request(self, source: Source) -> None:
        """Request as many messages as there is room for."""
        workers = self._workers
        in_hand = workers.occupied
        if workers.held_back or (workers.ordered and workers.epoch != source.epoch):
            room = 1 if workers.ordered and not workers.in_hand else 0
        elif self._breaker.is_open:
            # One more for each try, so that a few bad events cannot keep the circuit open.
            due = self._breaker.probe_due(time.monotonic())
            room = (min(in_hand + 1, workers.window) if due else 0) - in_hand
        else:
            workers.measure(source.most_in_flight)
            room = workers.window - in_hand
            if workers.suspicious:
                room = 0
            elif self._pace.slowed:
                paused = not self._pace.allows(0, time.monotonic())
                room = 0 if paused else min(room, 2 * self._pace.limit - in_hand)
            elif self._careful and not workers.ordered:
                room = min(room, 1)  # what was left comes first, and comes alone
        free = room - source.requested
        if free >= max(1, workers.window // 4) or (free > 0 and source.requested == 0):
            await source.request(free)

    def _seconds_until_due(self) -> float:
        """Return the seconds until there is something to do even if nothing happens."""
        if self._workers.held_back:
            return _HELD_BACK_CHECK_SECONDS
        now = time.monotonic()
        due = min(self._breaker.wait(now), self._pace.wait(now) or _SILENCE_CHECK_SECONDS)
        return min(_SILENCE_CHECK_SECONDS, max(0.01, due))

    async def keep_in_progress(self, source: Source) -> None:
        """Restart the clock of ackWait for every message in hand, three times within it.

        Runs as long as there may be one, whether `run` does or not: refused for a moment, another
        pod must not be given what is being handled here.

        Args:
            source: Says how long ackWait is, should somebody else have made the durable consumer.
        """
        while True:
            seconds = min(self._config.ack_wait_seconds, source.ack_wait) / 3
            # Before the server was asked nothing can come.
            known = source.ack_wait < math.inf
            await asyncio.sleep(max(_SHORTEST_BEAT_SECONDS, seconds if known else 0.0))
            for item in self._workers.kept():
                with contextlib.suppress(
                    DependencyError
                ):  # away: the server's clock runs out, once
                    item.delivery.in_progress()

    async def _drain(self, source: Source) -> None:
        """Let handlers end within the time allowed; give the other messages back."""
        workers = self._workers
        if workers.tasks:
            log.info("draining %d handlers", len(workers.tasks))
            await asyncio.wait(set(workers.tasks), timeout=self._config.drain_seconds)
        cut = set(workers.tasks)
        for task in cut:
            task.cancel()
        if cut:
            log.warning("%d handlers did not end in time; their events are given back", len(cut))
            await asyncio.wait(cut, timeout=_CANCEL_SECONDS)
        workers.answers.acknowledge_all()
        workers.give_back([item for item in workers.in_hand.values() if not item.done])
        source.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_SECONDS):
                await workers.answers.count_acknowledgements(source.confirm)
