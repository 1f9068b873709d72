"""Runs of messages into a stream: what is common to both ways of publishing.

Made by `adapters.nats.publisher.Publisher.open_run`. A run takes messages in order, keeps a bounded
volume of them in flight, counts acknowledgements as they come, and says at its end how many of
its leading messages are stored. `publish_fast` and `publish_window` differ in what they put
on the wire and in what the server answers. Decides nothing about retries.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.ack_router import AckRouter
from outbox_operator.adapters.nats.errors import ApiFaultError
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.sink import Fence, Message, Refusal, RefusalKind, Sent
from outbox_operator.reasons import Reason

BLOB_BYTES: Final = 64 * 1024
"""What is handed to the connection at a time."""
SETTLE_SECONDS: Final = 2.0
"""How long to wait for the fate of the others once one message was refused."""
_PING_SECONDS: Final = 1.0
"""Silence after which a waiting run asks the server, where the protocol has a question for it."""
_KINDS: Final = {
    FaultKind.TOO_LARGE: RefusalKind.TOO_LARGE,
    FaultKind.FENCE_BROKEN: RefusalKind.FENCE_BROKEN,
    FaultKind.CHAIN_BROKEN: RefusalKind.INTERLEAVED,
}
_BLOBS_PER_TURN: Final = 4
"""Blobs after which acknowledgements and other work get their turn."""


class Run(ABC):
    """One run. Not for use by several tasks at once.

    Args:
        on_ack: Told each time messages are acknowledged: how many, and the seconds since the
            last of them was sent.
    """

    def __init__(
        self,
        router: AckRouter,
        *,
        subjects: str,
        fence: Fence | None,
        on_ack: Callable[[int, float], None] | None,
    ) -> None:
        self.acked = 0
        """So many leading messages are stored for certain."""
        self.acked_at = 0.0
        """When the last of them was acknowledged, in seconds since 1970."""
        self.subjects = subjects
        """Filter of the subjects of its messages."""
        self._router = router
        self._fence = fence
        self._on_ack = on_ack
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._dropped = False
        self._errors: dict[int, Refusal] = {}
        self._over: Refusal | None = None
        """Set when nothing more can be stored, for a reason that is about no message."""
        self._blobs: deque[tuple[int, int, float]] = deque()
        """Of what is in flight: number of messages and bytes up to its end, when it was sent."""
        self._bytes_sent = 0
        self._bytes_done = 0
        self._progress_at = self._loop.time()
        self._waiter: asyncio.Future[None] | None = None
        self._done: Callable[[], bool] = self._half_free
        self._token, self._reply = router.register(self)

    @property
    def refused(self) -> bool:
        """Whether it is known that not everything will be stored; `finish` says why."""
        return bool(self._errors) or self._over is not None

    async def send(self, messages: Sequence[Message], *, last: bool = False) -> None:
        """Send messages, waiting while too much is in flight; returns early once refused.

        Args:
            last: Nothing comes after these; `finish` then needs no message of its own.
        """
        at, total, blobs = 0, len(messages), 0
        while at < total and not self.refused:
            room = self._room()
            if room <= 0:
                await self._make_room()
                continue
            at = self._write(messages, at, min(total, at + room), last)
            blobs += 1
            if blobs % _BLOBS_PER_TURN == 0:
                await asyncio.sleep(0)
        self._dropped = self._dropped or at < total

    async def finish(self) -> Sent:
        """Wait for the fate of all that was sent. Trouble with the server is the refusal."""
        try:
            if self._sent or self.refused:
                await self._settle()
        finally:
            self._close()
        return self._result()

    def abandon(self) -> None:
        """End the run at once; what becomes of the messages on their way is not known."""
        self._close()

    def cut(self, refusal: Refusal) -> None:
        """End the run: no further answer can come, or none can be trusted."""
        if self._over is None:
            self._over = refusal
        self._wake()

    def denied(self, refusal: Refusal) -> None:
        """End the run if it may be about one of its messages: the server does not say whose."""
        if self._sent > self.acked:
            self.cut(refusal)

    @abstractmethod
    def on_reply(self, tokens: list[bytes], document: Mapping[str, Any]) -> None:
        """An answer of the stream to the message that `tokens`, of its reply subject, name."""

    @abstractmethod
    def on_no_responders(self, tokens: list[bytes]) -> None:
        """Nobody listens on the subject of that message."""

    @abstractmethod
    def _limit(self) -> int:
        """Most messages in flight now."""

    @abstractmethod
    def _write(self, messages: Sequence[Message], at: int, stop: int, last: bool) -> int:
        """Put one blob on the wire; returns the index of the first message not in it."""

    @abstractmethod
    async def _settle(self) -> None:
        """Bring the run to its end and wait for it."""

    @abstractmethod
    def _last_sequence(self) -> int | None:
        """Stream sequence of the last acknowledged message, if known."""

    def _ping(self) -> None:  # noqa: B027  # a protocol without a question has nothing to do
        """Ask a silent server for news."""

    def _room(self) -> int:
        if self._bytes_sent - self._bytes_done >= self._router.window_bytes:
            return 0
        return self._limit() - (self._sent - self.acked)

    async def _make_room(self) -> None:
        """Wait until half the window is free: waking up for every acknowledgement is dear."""
        await self._wait_for(self._half_free, self._router.ack_seconds)

    def _half_free(self) -> bool:
        return (
            2 * (self._sent - self.acked) <= self._limit()
            and 2 * (self._bytes_sent - self._bytes_done) <= self._router.window_bytes
        )

    async def _wait_for(self, done: Callable[[], bool], patience: float) -> bool:
        """Wait until `done`, or refused; without progress for `patience` s the run is cut."""
        since, refused = self._loop.time(), self.refused
        self._done = done
        while not done() and self._over is None and self.refused == refused:
            now = self._loop.time()
            give_up = max(since, self._progress_at) + patience
            if now >= give_up:
                self.cut(self._silence(patience))
            elif not await self._news(min(give_up, now + _PING_SECONDS)):
                self._ping()
        return done()

    async def _news(self, until: float) -> bool:
        """Wait for an answer; False when there is none until then (event loop's time)."""
        self._waiter = waiter = self._loop.create_future()
        alarm = self._loop.call_at(until, _resolve, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            alarm.cancel()
        return self._loop.time() < until

    def _wake(self) -> None:
        """Look whether what somebody waits for has come."""
        if self._waiter is not None and (self.refused or self._done()):
            _resolve(self._waiter)

    def _put(self, frames: bytes, messages: int, size: int) -> None:
        """Hand a blob to the connection and remember it."""
        now = self._loop.time()
        if self._sent == self.acked:
            self._progress_at = now
        self._sent += messages
        self._bytes_sent += size
        self._blobs.append((self._sent, self._bytes_sent, now))
        self._wire(frames)

    def _wire(self, frames: bytes) -> None:
        try:
            self._router.client.write(frames)
        except nats.errors.Error:
            self.cut(Refusal(Reason.CONNECTION_LOST, self._router.why_lost()))

    def _advance(self, acked: int) -> None:
        """The first `acked` messages are stored, unless an earlier one was refused."""
        acked = min(acked, self._sent, *self._errors) if self._errors else min(acked, self._sent)
        news = acked - self.acked
        if news <= 0:
            return
        self.acked, self.acked_at = acked, time.time()
        self._progress_at = now = self._loop.time()
        sent_at = now
        blobs = self._blobs
        while blobs:
            end, size, at = blobs[0]
            sent_at = at
            if end > acked:
                break
            self._bytes_done = size
            blobs.popleft()
            if end == acked:
                break
        if self._on_ack is not None:
            self._on_ack(news, now - sent_at)

    def _refuse(self, index: int, refusal: Refusal) -> None:
        self._errors.setdefault(index, refusal)
        self._progress_at = self._loop.time()
        self._wake()

    def _refusal(self, error: Mapping[str, Any]) -> Refusal:
        """JetStream's error as a refusal."""
        fault = ApiFaultError(error)
        kind = _KINDS.get(fault.kind, RefusalKind.OTHER)
        if kind is not RefusalKind.FENCE_BROKEN:
            return Refusal(Reason.STREAM_REFUSED, str(fault), kind)
        if self._fence is None:  # an application's own condition in its headers
            return Refusal(Reason.STREAM_REFUSED, str(fault))
        return Refusal(Reason.FENCE_REFUSED, f"subjects {self._fence.subject}: {fault}", kind)

    def _nobody(self) -> Refusal:
        text = f"nothing answers for stream {self._router.stream} at the moment"
        return Refusal(Reason.NO_STREAM_RESPONSE, text)

    def _wrong_stream(self, found: object) -> Refusal:
        return Refusal(Reason.WRONG_STREAM, f"stored by stream {found!r} instead")

    def _silence(self, patience: float) -> Refusal:
        said = self._router.last_server_error()
        return Refusal(
            Reason.ACK_TIMEOUT,
            f"no acknowledgement from NATS at {self._router.address} within {patience:g} s"
            + (f"; it said: {said}" if said else ""),
        )

    def _close(self) -> None:
        self._router.forget(self._token)

    def _result(self) -> Sent:
        count = self.acked
        sequence = self._last_sequence() if count else None
        if count == self._sent and not self._dropped:
            return Sent(count, None, sequence, self.acked_at)
        refusal = self._errors.get(count) or self._over
        if refusal is None:
            # A refusal of a later message says nothing about this one, which may even be stored.
            later = self._errors[min(self._errors)].text
            refusal = Refusal(Reason.ACK_MISSING, f"the message was not acknowledged: {later}")
        return Sent(count, refusal, sequence, self.acked_at)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
