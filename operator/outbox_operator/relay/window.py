"""Publish a run of messages with many in flight, in order, stopping at the first refusal.

Called by `relay.loop`. Up to a number and a volume of messages are unacknowledged at a time.
Each message of a run names the one before it (`Nats-Expected-Last-Msg-Id`), so when the server
refuses one it refuses the rest of the run too: no later message can slip in before it. The
caller resumes from the first message that was not acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.jetstream import Publisher, Refusal, Verdict, message_id
from outbox_operator.errors import OutboxError
from outbox_operator.relay.message import Message

ACK_SECONDS: Final = 5.0
"""Longest silence of the server while messages are unacknowledged."""
SETTLE_SECONDS: Final = 2.0
"""How long to wait for the fate of the others once one was refused."""
WINDOW_BYTES: Final = 8 * 1024 * 1024
_YIELD_EVERY: Final = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """Result of a run: the first `count` messages are stored, then came `refusal`, if any."""

    count: int
    refusal: Refusal | None


class PublishWindow:
    """Runs over one publisher.

    Args:
        size: Most messages in flight.
        chained: Whether order matters: each message then requires its predecessor.
        on_ack: Told the seconds each acknowledgement took.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        size: int,
        chained: bool,
        on_ack: Callable[[float], None],
        ack_seconds: float = ACK_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._publisher = publisher
        self._size = size
        self._chained = chained
        self._on_ack = on_ack
        self._ack_seconds = ack_seconds
        self._settle_seconds = settle_seconds
        self._next_token = 0
        self._run: _Run | None = None
        publisher.on_verdict(self._told)

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Publish `messages`; returns when each is stored or none can be stored any more.

        Never raises for trouble with the server: that is the refusal.
        """
        run = _Run(base=self._next_token, total=len(messages))
        self._next_token += len(messages)
        self._run = run
        try:
            await self._feed(run, messages)
            await self._settle(run, self._ack_seconds)
            if run.refused:
                await self._settle(run, self._settle_seconds)
        finally:
            self._run = None
        return run.result()

    def interrupt(self) -> None:
        """The connection is gone: wake a waiting run."""
        if self._run is not None:
            self._run.cut(Refusal("ConnectionLost", 0, self._publisher.lost_error().message))

    async def _feed(self, run: _Run, messages: Sequence[Message]) -> None:
        previous = ""
        for index, message in enumerate(messages):
            if run.full(self._size, message.size):
                await self._make_room(run, message.size)
            if run.refused:
                return
            run.sending(index, message.size)
            try:
                await self._publisher.send(
                    run.base + index,
                    message.subject,
                    message.headers,
                    message.payload,
                    previous,
                )
            except OutboxError as error:
                run.cut(Refusal("ConnectionLost", 0, error.message))
                return
            if self._chained:
                previous = message_id(message.headers)
            if index % _YIELD_EVERY == 0:
                await asyncio.sleep(0)  # let acknowledgements in

    async def _make_room(self, run: _Run, next_bytes: int) -> None:
        """Wait until half the window is free: waking up for every acknowledgement is dear."""
        while not run.refused and run.full(max(1, self._size // 2), next_bytes):
            await self._wait(run, self._ack_seconds)

    async def _settle(self, run: _Run, patience: float) -> None:
        """Wait until nothing is in flight, a refusal came, or the server is silent too long."""
        had_refusal = run.refused
        while run.in_flight and not run.gone and (had_refusal or not run.refused):
            if not await self._wait(run, patience):
                return

    async def _wait(self, run: _Run, patience: float) -> bool:
        """Wait for news; False and a refusal when there is none for `patience` seconds."""
        run.news.clear()
        try:
            await asyncio.wait_for(run.news.wait(), patience)
        except TimeoutError:
            said = self._publisher.last_server_error()
            run.silent(
                Refusal(
                    "AckTimeout",
                    0,
                    f"no acknowledgement from NATS at {self._publisher.address} "
                    f"within {patience:g} s" + (f"; it said: {said}" if said else ""),
                )
            )
            return False
        return True

    def _told(self, token: int, verdict: Verdict) -> None:
        run = self._run
        if run is None or not run.base <= token < run.base + run.total:
            return  # of a run that was given up
        took = run.told(token - run.base, verdict)
        if took is not None:
            self._on_ack(took)


class _Run:
    """Bookkeeping of one run; indices count from 0."""

    def __init__(self, base: int, total: int) -> None:
        self.base = base
        self.total = total
        self.in_flight = 0
        self.gone = False
        self.news = asyncio.Event()
        self._bytes = 0
        self._pending: dict[int, tuple[float, int]] = {}
        self._refusals: dict[int, Refusal] = {}
        self._sent = 0

    @property
    def refused(self) -> bool:
        return bool(self._refusals)

    def full(self, size: int, next_bytes: int) -> bool:
        return self.in_flight >= size or (
            self.in_flight > 0 and self._bytes + next_bytes > WINDOW_BYTES
        )

    def sending(self, index: int, size: int) -> None:
        self._pending[index] = (time.perf_counter(), size)
        self._bytes += size
        self.in_flight += 1
        self._sent = index + 1

    def told(self, index: int, verdict: Verdict) -> float | None:
        """Take a verdict; returns the seconds it took when the message was stored."""
        found = self._pending.pop(index, None)
        if found is None:
            return None
        started, size = found
        self._bytes -= size
        self.in_flight -= 1
        self.news.set()
        if verdict is not None:
            self._refusals[index] = verdict
            return None
        return time.perf_counter() - started

    def silent(self, refusal: Refusal) -> None:
        """Nobody answers: the oldest message in flight stands for all."""
        oldest = min(self._pending, default=self._sent)
        self._refusals.setdefault(oldest, refusal)

    def cut(self, refusal: Refusal) -> None:
        """No further verdict can come."""
        self.gone = True
        self.silent(refusal)
        self.news.set()

    def result(self) -> Sent:
        """Everything before the first refusal or unanswered message is stored."""
        first = min([*self._refusals, *self._pending], default=self._sent)
        if first >= self.total:
            return Sent(self.total, None)
        # A refusal of a later message says nothing about this one, which may even be stored.
        unanswered = Refusal("AckMissing", 0, "the message was not acknowledged")
        return Sent(first, self._refusals.get(first, unanswered))
