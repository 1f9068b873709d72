"""Runs as a window of single publishes, for servers and streams without fast-ingest batches.

Each message has its own acknowledgement. In an ordered run each names the one before it
(`Nats-Expected-Last-Msg-Id`) unless that one is acknowledged already, so when the stream refuses
one it refuses all that were sent behind it: no later message can slip in before it. Another
publisher's message in between breaks the chain as well; the window then shrinks, down to one
message at a time, and grows again when the stream is quiet.

nats-server 2.14 and 2.15 must never see a broken chain: on a replicated stream each server takes
it for a failing disk, and the stream answers nobody any more. An ordered run there has one
message in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.nats.ack_router import AckRouter
from outbox_operator.adapters.nats.publish_run import BLOB_BYTES, SETTLE_SECONDS, Run
from outbox_operator.adapters.sink import Fence, Message, Refusal, RefusalKind
from outbox_operator.wire.headers import MSG_ID, fence_lines

_MSG_ID: Final = f"{MSG_ID}: "
CHAIN_HEADER: Final = "Nats-Expected-Last-Msg-Id"


@dataclass(slots=True)
class AdaptiveWindow:
    """How many messages runs of one publisher may have in flight.

    Attributes:
        largest: What was configured.
        current: What others in the stream let us have.
    """

    largest: int
    current: int

    def ended(self, refusal: Refusal | None) -> None:
        """Learn from the end of a run."""
        if refusal is None:
            self.current = min(self.largest, 2 * self.current)
        elif refusal.kind is RefusalKind.INTERLEAVED:
            self.current = max(1, self.current // 2)


class WindowRun(Run):
    """See the module.

    Args:
        ordered: Whether the messages must be stored in this order.
        chains: Whether the server can be trusted with a chain.
    """

    def __init__(
        self,
        router: AckRouter,
        *,
        window: AdaptiveWindow,
        ordered: bool,
        chains: bool,
        subjects: str,
        fence: Fence | None,
        on_ack: Callable[[int, float], None] | None,
    ) -> None:
        super().__init__(router, subjects=subjects, fence=fence, on_ack=on_ack)
        self._window = window
        self._chained = ordered and chains
        self._single = ordered and not chains
        self._previous = ""
        """Message id of the last message sent."""
        self._sequence: int | None = None
        """Of message `acked - 1` in the stream."""
        self._early: dict[int, int | None] = {}
        """Stream sequences of messages acknowledged before one sent earlier."""
        self._answers = 0

    def on_reply(self, tokens: list[bytes], document: Mapping[str, Any]) -> None:
        """See `Run`."""
        index = int(tokens[0])
        error = document.get("error")
        if error is not None:
            self._answered(index, self._refusal(error))
        elif document["stream"] != self._router.stream:
            self._answered(index, self._wrong_stream(document["stream"]))
        else:
            self._early[index] = None if document.get("duplicate") else int(document["seq"])
            self._answered(index, None)

    def on_no_responders(self, tokens: list[bytes]) -> None:
        """See `Run`."""
        self._answered(int(tokens[0]), self._nobody())

    def _answered(self, index: int, refusal: Refusal | None) -> None:
        self._answers += 1
        if refusal is not None:
            self._refuse(index, refusal)
            return
        acked, early = self.acked, self._early
        while acked in early:
            self._sequence = early.pop(acked)
            acked += 1
        self._advance(acked)
        self._wake()

    def _limit(self) -> int:
        return 1 if self._single else self._window.current

    def _write(self, messages: Sequence[Message], at: int, stop: int, last: bool) -> int:
        parts: list[bytes] = []
        append = parts.append
        reply, number, size, first = self._reply, self._sent, 0, at
        previous = self._previous if self._sent > self.acked else ""
        fence = ""
        if self._fence is not None and not number:
            fence = fence_lines(self._fence.subject, self._fence.sequence)
        while at < stop and size < BLOB_BYTES:
            subject, head, payload = messages[at]
            at += 1
            if self._chained:
                start = head.index(_MSG_ID) + len(_MSG_ID)
                message_id = head[start : head.index("\r", start)]
                if previous:
                    head = f"{head[:-2]}{CHAIN_HEADER}: {previous}\r\n\r\n"
                previous = message_id
            if fence:
                head, fence = f"{head[:-2]}{fence}\r\n", ""
            length = len(head)
            total = length + len(payload)
            size += total
            append(f"HPUB {subject} {reply}.{number} {length} {total}\r\n{head}".encode("latin-1"))
            append(payload)
            append(b"\r\n")
            number += 1
        self._previous = previous
        self._put(b"".join(parts), at - first, size)
        return at

    async def _settle(self) -> None:
        await self._wait_for(self._all_answered, self._router.ack_seconds)
        if self.refused and self._over is None:
            await self._wait_for(self._all_answered, SETTLE_SECONDS)

    def _all_answered(self) -> bool:
        return self._answers >= self._sent

    def _close(self) -> None:
        super()._close()
        self._window.ended(self._errors.get(self.acked))

    def _last_sequence(self) -> int | None:
        return self._sequence
