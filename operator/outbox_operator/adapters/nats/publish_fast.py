"""Runs as fast-ingest batches, for nats-server 2.14 and newer (ADR-50, gap mode `fail`).

The stream takes the messages of a batch strictly in order, acknowledges them cumulatively,
every so many, and ends the batch at the first it does not take: nothing behind a refused
message is stored. The reply subject names message and operation,

    <inbox>.<token>.<batch>.<acknowledge every>.fail.<number>.<operation>.$FI

and answers come to that very subject. Tried on 2.14 and 2.15; tests/integration/jetstream
repeats what is said here of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from outbox_operator.adapters.nats.ack_router import AckRouter
from outbox_operator.adapters.nats.errors import ApiFaultError
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.publish_run import BLOB_BYTES, SETTLE_SECONDS, Run
from outbox_operator.adapters.sink import Fence, Message, Refusal
from outbox_operator.reasons import Reason
from outbox_operator.wire.headers import fence_lines

_START, _APPEND, _COMMIT, _END, _PING = range(5)
_PING_TOKEN: Final = b"4"

_FIRST_MESSAGES: Final = 64
"""Sent before the stream has answered, and so may turn out to have been sent in vain."""
_ACKS_IN_FLIGHT: Final = 16
"""Window in messages, as a multiple of what the stream acknowledges at a time."""
_MOST_PER_ACK: Final = 500
"""No server acknowledges more at a time."""
_KEEPALIVE_SECONDS: Final = 2.0
"""Idle time after which an open batch is kept alive; the server drops it after 10 s."""
_MOST_KEEPALIVES: Final = 30
"""So often, then it is somebody's who forgot to finish it."""

_FAR_OFF: Final = 1_000_000_000
"""Number of a message that no batch can be at."""


class FastRun(Run):
    """See the module.

    Args:
        batch: Name by which the stream knows it; one batch of a name is open at a time.
    """

    def __init__(
        self,
        router: AckRouter,
        *,
        batch: str,
        subjects: str,
        fence: Fence | None,
        on_ack: Callable[[int, float], None] | None,
    ) -> None:
        super().__init__(router, subjects=subjects, fence=fence, on_ack=on_ack)
        self._batch = batch
        self._subject = ""
        self._base = 0
        """Messages of the batches before this one."""
        self._every = 0
        """What we asked the stream to acknowledge at a time; 0: no batch is open."""
        self._flow = 0
        """What it does acknowledge at a time; 0: it has not said yet."""
        self._ending = False
        self._ended = False
        """The batch is no more, and all is known that can be."""
        self._final: tuple[int, int | None] = (0, None)
        """Count and stream sequence that the end of a batch brought."""
        self._written_at = 0.0
        self._keepalives = 0
        self._timer: asyncio.TimerHandle | None = None

    def on_reply(self, tokens: list[bytes], document: Mapping[str, Any]) -> None:
        """See `Run`."""
        kind = document.get("type")
        if kind == "ack":
            self._flow = int(document["msgs"]) or 1
            self._advance(self._base + int(document["seq"]))
        elif kind == "err":
            index = self._base + int(document["seq"]) - 1
            self._refuse(index, self._refusal(document["error"]))
        elif kind == "gap":
            self._lose(Refusal(Reason.ACK_MISSING, "a message was lost on its way to the stream"))
        elif "error" in document:
            self._on_error(tokens, document["error"])
        elif document["stream"] != self._router.stream:
            self._refuse(self._base, self._wrong_stream(document["stream"]))
            self._ended = True
        else:
            self._on_end(document)
        self._wake()

    def on_no_responders(self, tokens: list[bytes]) -> None:
        """See `Run`."""
        number, operation = int(tokens[3]), tokens[4]
        if operation == _PING_TOKEN:
            self._lose(self._nobody())
            self._ended = True
            self._wake()
        else:
            self._refuse(self._base + number - 1, self._nobody())

    def _on_error(self, tokens: list[bytes], error: Mapping[str, Any]) -> None:
        number, operation = int(tokens[3]), tokens[4]
        refusal = self._refusal(error)
        if ApiFaultError(error).kind is FaultKind.UNKNOWN_BATCH:
            # Answers come in order: what the end of the batch was about has been said.
            self._lose(Refusal(Reason.ACK_MISSING, "the batch ended before its end"))
            self._ended = self._ended or operation == _PING_TOKEN
        elif operation == _PING_TOKEN:
            self._lose(refusal)
            self._ended = True
        else:
            self._refuse(self._base + number - 1, refusal)

    def _on_end(self, document: Mapping[str, Any]) -> None:
        count = self._base + int(document["count"])
        sequence = int(document["seq"])
        if document.get("duplicate"):
            self._final = (count, None)
        elif sequence:
            self._final = (count, sequence)
        else:  # a batch of duplicates stored nothing
            self._final = (count, self._final[1])
        self._advance(count)
        self._ended = True
        if count < self._sent:
            self._lose(Refusal(Reason.ACK_MISSING, "the batch ended before its end"))

    def _lose(self, refusal: Refusal) -> None:
        """The batch is over, and it is not known whose fault that is."""
        self._errors.setdefault(self._sent, refusal)

    def _limit(self) -> int:
        return self._flow * _ACKS_IN_FLIGHT if self._flow else _FIRST_MESSAGES

    def _write(self, messages: Sequence[Message], at: int, stop: int, last: bool) -> int:
        parts: list[bytes] = []
        append = parts.append
        number, size, first = self._sent - self._base, 0, at
        if not self._every:
            self._open(messages[at : at + _FIRST_MESSAGES])
        reply = f"{self._reply}.{self._batch}.{self._every}.fail."
        if not number:
            subject, head, payload = messages[at]
            at, number = at + 1, 1
            if self._fence is not None:
                head = f"{head[:-2]}{fence_lines(self._fence.subject, self._fence.sequence)}\r\n"
            self._ending = last and at == len(messages)
            operation = _COMMIT if self._ending else _START
            length = len(head)
            size = length + len(payload)
            append(
                f"HPUB {subject} {reply}1.{operation}.$FI {length} {size}\r\n{head}".encode(
                    "latin-1"
                )
            )
            append(payload)
            append(b"\r\n")
        # The rest of this is run for every event.
        while at < stop and size < BLOB_BYTES:
            subject, head, payload = messages[at]
            at += 1
            number += 1
            length = len(head)
            total = length + len(payload)
            size += total
            append(
                f"HPUB {subject} {reply}{number}.1.$FI {length} {total}\r\n{head}".encode("latin-1")
            )
            append(payload)
            append(b"\r\n")
        if last and at == len(messages) and not self._ending:
            self._ending = True
            parts[-3] = (
                f"HPUB {subject} {reply}{number}.{_COMMIT}.$FI {length} {total}\r\n{head}".encode(
                    "latin-1"
                )
            )
        self._written_at = self._loop.time()
        self._put(b"".join(parts), at - first, size)
        return at

    def _open(self, sample: Sequence[Message]) -> None:
        """Prepare a batch that starts with these messages."""
        mean = sum(len(m.head) + len(m.payload) for m in sample) // len(sample)
        # Acknowledgements must come several times before the window is full.
        volume = self._router.window_bytes // _ACKS_IN_FLIGHT
        self._every = max(1, min(_MOST_PER_ACK, volume // (mean + 1)))
        self._subject = sample[0].subject
        self._flow = 0
        self._ending = self._ended = False
        if self._timer is None:
            self._timer = self._loop.call_later(_KEEPALIVE_SECONDS, self._keep_alive)

    def _control(self, number: int, operation: int) -> None:
        """Send an operation that stores nothing; it goes the way of the messages."""
        reply = f"{self._reply}.{self._batch}.{self._every}.fail.{number}.{operation}.$FI"
        self._written_at = self._loop.time()
        self._wire(f"PUB {self._subject} {reply} 0\r\n\r\n".encode("latin-1"))

    def _end(self) -> None:
        self._ending = True
        self._control(self._sent - self._base + 1, _END)

    def _ping(self) -> None:
        """Ask how far the batch is: the stream repeats itself, or ends it if something is lost."""
        if self._every and not self._ended:
            self._control(self._sent - self._base, _PING)

    def _keep_alive(self) -> None:
        """Keep an idle batch alive while its owner looks for more messages."""
        self._timer = None
        if self._ending or self.refused:
            return
        if self._loop.time() - self._written_at < _KEEPALIVE_SECONDS:
            self._keepalives = 0
        elif self._keepalives == _MOST_KEEPALIVES:
            return
        else:
            self._keepalives += 1
            self._ping()
        self._timer = self._loop.call_later(_KEEPALIVE_SECONDS, self._keep_alive)

    async def _make_room(self) -> None:
        if not self._flow:
            await self._wait_for(lambda: self._flow > 0, self._router.ack_seconds)
        elif self._due():
            await self._wait_for(
                lambda: self._half_free() or not self._due(), self._router.ack_seconds
            )
        else:
            # The window is full before an acknowledgement is due: let the end of a batch be one.
            self._end()
            await self._wait_for(lambda: self._ended, self._router.ack_seconds)
            if self._ended and not self.refused:
                self._begin_anew()

    def _due(self) -> bool:
        """Whether the stream will acknowledge something of what is in flight by itself."""
        return self._sent - self.acked >= 2 * self._flow

    def _begin_anew(self) -> None:
        self._router.forget(self._token)
        self._token, self._reply = self._router.register(self)
        if self._fence is not None and self._final[1] is not None:
            self._fence = Fence(self._fence.subject, self._final[1])
        self._base, self._every = self._sent, 0

    async def _settle(self) -> None:
        if not self._ending and not self.refused and self._every:
            self._end()
        if not self.refused:
            await self._wait_for(lambda: self._ended, self._router.ack_seconds)
        nothing_stored = self._base in self._errors and self.acked == self._base
        if self.refused and self._over is None and not self._ended and not nothing_stored:
            # Nothing may be behind the refused message that would make the stream end the batch.
            self._ping()
            await self._wait_for(lambda: self._ended, SETTLE_SECONDS)

    def _close(self) -> None:
        super()._close()
        if self._timer is not None:
            self._timer.cancel()

    def _last_sequence(self) -> int | None:
        count, sequence = self._final
        return sequence if count == self.acked else None


class _BatchEndWaiter:
    """Waits until a batch is no more."""

    def __init__(self, subject: str) -> None:
        self.subjects = subject
        self.done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()

    def on_reply(self, _tokens: list[bytes], document: Mapping[str, Any]) -> None:
        """Its end, or that there was none; what comes before is passed over."""
        if document.get("type") is None:
            self._resolve(None)

    def on_no_responders(self, _tokens: list[bytes]) -> None:
        """The stream has no leader."""
        self._resolve(Refusal(Reason.NO_STREAM_RESPONSE, "nothing answers for the stream"))

    def cut(self, refusal: Refusal) -> None:
        """The connection is gone."""
        self._resolve(refusal)

    def denied(self, refusal: Refusal) -> None:
        """The server does not let us ask."""
        self._resolve(refusal)

    def _resolve(self, refusal: Refusal | None) -> None:
        if not self.done.done():
            self.done.set_result(refusal)


async def end_batch(router: AckRouter, batch: str, subject: str) -> Refusal | None:
    """End a batch, whoever opened it: what is still on its way for it will not be stored.

    A message with a number far off is a gap, and a gap ends the batch. Stores nothing.

    Args:
        subject: One that the stream takes.

    Returns:
        Why it is not known to have ended; None: it has, or there was none.
    """
    waiter = _BatchEndWaiter(subject)
    token, reply = router.register(waiter)
    try:
        frame = f"PUB {subject} {reply}.{batch}.1.fail.{_FAR_OFF}.{_APPEND}.$FI 0\r\n\r\n"
        router.client.write(frame.encode())
        async with asyncio.timeout(router.ack_seconds):
            return await waiter.done
    except TimeoutError:
        return Refusal(Reason.ACK_TIMEOUT, f"no answer within {router.ack_seconds:g} s")
    finally:
        router.forget(token)
