"""A run of messages into a stream of Redis: batches, each of which a script appends whole.

Each batch names the id that the batch before it ended with, so when one is refused, so are all
that were sent behind it; a pipeline alone would go on. Several are on their way at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from outbox_operator.adapters.redis.connection import Wire
from outbox_operator.adapters.redis.entries import companion, packed, packed_texts
from outbox_operator.adapters.redis.errors import ELSEWHERE, explained, reason_of, said, word
from outbox_operator.adapters.redis.scripts import APPEND
from outbox_operator.adapters.sink import Fence, Message, Owner, Refusal, RefusalKind, Sent
from outbox_operator.errors import OutboxError, RedisError
from outbox_operator.reasons import Reason

BATCH_MESSAGES: Final = 500
BATCH_BYTES: Final = 256 * 1024
"""The server does nothing else while it appends a batch. One message may be larger."""
_BATCHES: Final = 8
"""On their way at a time."""
WINDOW_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class _Batch:
    """A batch on its way, or answered."""

    count: int
    size: int
    last: int
    sent_at: float


class RedisRun:
    """See `SinkRun`.

    Args:
        key: Of the stream.
        largest: Bytes of headers and payload together that a message may have.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        key: str,
        owner: Owner,
        fence: Fence | None,
        ordered: bool,
        largest: int,
        on_ack: Callable[[int, float], None] | None,
    ) -> None:
        self.acked = 0
        self.acked_at = 0.0
        self._wire = wire
        self._key = key
        self._owner = owner
        self._ordered = ordered
        self._largest = largest
        self._on_ack = on_ack
        self._loop = asyncio.get_running_loop()
        self._expected = str(fence.sequence) if fence is not None else ""
        self._sent = 0
        self._last: int | None = None
        self._flight: deque[_Batch] = deque()
        self._bytes = 0
        self._dropped = False
        self._unfit: Refusal | None = None
        """Why the message behind those that were sent is not."""
        self._over: Refusal | None = None
        """Why a message that was sent is not stored, and none behind it."""
        self._news = asyncio.Event()

    @property
    def refused(self) -> bool:
        """See `SinkRun`."""
        return self._over is not None or self._unfit is not None

    async def send(self, messages: Sequence[Message], *, last: bool = False) -> None:
        """See `SinkRun`."""
        at, total = 0, len(messages)
        while at < total and not self.refused:
            if len(self._flight) >= _BATCHES or self._bytes >= WINDOW_BYTES:
                await self._wait()
            else:
                at = await self._send(messages, at)
        self._dropped = self._dropped or at < total

    async def finish(self) -> Sent:
        """See `SinkRun`."""
        while self._flight and self._over is None:
            await self._wait()
        sequence = self._last if self.acked else None
        if self.acked == self._sent and not self._dropped:
            return Sent(self.acked, None, sequence, self.acked_at)
        refusal = self._over or self._unfit
        return Sent(self.acked, refusal, sequence, self.acked_at)

    def abandon(self) -> None:
        """See `SinkRun`."""
        self._end(Refusal(Reason.CONNECTION_LOST, "the run was given up"))

    async def _send(self, messages: Sequence[Message], at: int) -> int:
        """Send one batch; returns the index of the first message not in it."""
        parts: list[bytes] = []
        first, size, arguments = at, 0, 0
        number = ""
        # Run for every event.
        while at < len(messages) and at - first < BATCH_MESSAGES and size < BATCH_BYTES:
            message = messages[at]
            volume = len(message[1]) + len(message[2])
            if volume > self._largest:
                text = f"a message may have {self._largest} bytes, found {volume}"
                self._unfit = Refusal(Reason.STREAM_REFUSED, text, RefusalKind.TOO_LARGE)
                break
            try:
                number, count, texts = packed(message)
            except ValueError as error:
                self._unfit = Refusal(Reason.STREAM_REFUSED, str(error), RefusalKind.TOO_LARGE)
                break
            parts += [texts, message[2], b"\r\n"]
            arguments += count
            size += volume
            at += 1
        if at > first:
            batch = _Batch(at - first, size, int(number), self._loop.time())
            await self._write(batch, arguments, parts)
        return at

    async def _write(self, batch: _Batch, arguments: int, parts: list[bytes]) -> None:
        expected, self._expected = self._expected, str(batch.last)
        self._flight.append(batch)
        self._sent += batch.count
        self._bytes += batch.size
        try:
            command = (
                "EVALSHA", APPEND.digest, 2, self._key, companion(self._key),
                self._owner.name, self._owner.epoch, expected,
            )  # fmt: skip
            head = b"*%d\r\n%s" % (len(command) + arguments, packed_texts(command))
            answer = await self._wire.put(b"".join([head, *parts]))
        except OutboxError as error:
            self._end(Refusal(Reason.CONNECTION_LOST, error.message))
            return
        answer.add_done_callback(lambda found: self._answered(batch, found))

    def _answered(self, batch: _Batch, answer: asyncio.Future[Any]) -> None:
        if self._over is not None or answer.cancelled():
            return  # what is behind a refused one is refused as well
        self._flight.popleft()
        self._bytes -= batch.size
        error = answer.exception()
        if error is not None:
            reason = error.reason if isinstance(error, OutboxError) else Reason.CONNECTION_LOST
            if reason is not Reason.ACK_TIMEOUT:
                reason = Reason.CONNECTION_LOST
            self._end(Refusal(reason, said(error)))
            return
        found = answer.result()
        if isinstance(found, ResponseError):
            self._refuse(said(found))
            return
        try:
            what, stored, text = found
            stored, text = int(stored), text.decode("utf-8", "replace")
        except (TypeError, ValueError, AttributeError):
            what, stored, text = b"OK", -1, ""
        if not 0 <= stored <= batch.count or (what == b"OK") != (stored == batch.count):
            # It is not our script that said so. What is stored will be found at its end.
            error = RedisError(f"Redis at {self._wire.address}: no answer as the script gives")
            self._wire.fail(error)
            self._end(Refusal(Reason.CONNECTION_LOST, error.message))
            return
        self._advance(batch, stored)
        if what != b"OK":
            self._end(self._refusal(what, text))
        self._news.set()

    def _advance(self, batch: _Batch, stored: int) -> None:
        if not stored:
            return
        self.acked += stored
        self.acked_at = time.time()
        self._last = batch.last if stored == batch.count else None
        if self._on_ack is not None:
            self._on_ack(stored, self._loop.time() - batch.sent_at)

    def _refusal(self, what: bytes, text: str) -> Refusal:
        """What the script says, as a refusal."""
        if what == b"FENCE":
            return Refusal(
                Reason.FENCE_REFUSED,
                f"stream {self._key} ends with {text}, wanted {self._expected or 'any'}",
                RefusalKind.FENCE_BROKEN if self._ordered else RefusalKind.INTERLEAVED,
            )
        if what == b"OWNER":
            return Refusal(
                Reason.FENCE_REFUSED,
                f"stream {self._key} is published to by a later owner: {text}",
                RefusalKind.FENCE_BROKEN,
            )
        if what == b"BEHIND":
            return Refusal(
                Reason.FOREIGN_ENTRIES,
                f"stream {self._key} ends with {text}, which is not ours: it takes larger ids only",
            )
        if what == b"MISSING":
            return Refusal(Reason.STREAM_NOT_FOUND, f"there is no key {text}")
        return self._server_refusal(text)

    def _refuse(self, text: str) -> None:
        self._end(self._server_refusal(text))

    def _server_refusal(self, text: str) -> Refusal:
        if word(text) in ELSEWHERE:
            # Another server takes the writes now: find it.
            self._wire.fail(RedisError(f"Redis at {self._wire.address}: {explained(text)}"))
        return Refusal(reason_of(text), explained(text))

    def _end(self, refusal: Refusal) -> None:
        if self._over is None:
            self._over = refusal
        self._news.set()

    async def _wait(self) -> None:
        """Wait for an answer; without any for too long the connection is of no use."""
        self._news.clear()
        try:
            async with asyncio.timeout(self._wire.answer_seconds):
                await self._news.wait()
        except TimeoutError:
            self._wire.fail(self._wire.silent())
