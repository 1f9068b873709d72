"""How long the API waits for who is at the other end of a connection.

There are so many connections and no more, and anybody may open one: who begins a request and does
not go on, or takes nothing of an answer, must not keep one from the others.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS: Final = 15.0
"""For a request to come as a whole: 64 kB of head, 64 kB of body."""
ANSWER_SECONDS: Final = 120.0
"""For what is being sent to be taken: a page of 8 MB, or a piece of an export."""


class BoundedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with an end to waiting."""

    request_seconds = REQUEST_SECONDS
    answer_seconds = ANSWER_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._coming: asyncio.TimerHandle | None = None
        self._taken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, perhaps its last."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect()
        else:
            _cancel(self._coming)
            self._coming = None

    def pause_writing(self) -> None:
        """More waits to be taken than is good."""
        super().pause_writing()
        if self._taken is None:
            self._taken = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        _cancel(self._taken)
        self._taken = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        _cancel(self._coming)
        _cancel(self._taken)
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._coming is None:
            # Not `close`, which waits until all that was sent is taken.
            self._coming = self.loop.call_later(self.request_seconds, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
