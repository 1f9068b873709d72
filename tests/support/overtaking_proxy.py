"""A proxy before a nats-server under which messages overtake what the server knew before them.

A server answers what it is asked about a consumer beside delivering the consumer's messages, and a
busy one is slow at both. So an answer may be older than messages that arrive before it. Here every
answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from support.tcp_proxy import Talk, TcpProxy

_LATE_SECONDS: Final = 0.2
"""Messages that are requested arrive sooner."""


class OvertakingProxy(TcpProxy):
    """Passes a pull request on when the next question about the consumer has been answered, and
    that answer when the messages are there; for one client at a time.

    Attributes:
        late: Whether it does so; set to False, all goes its way.
    """

    late = True
    _request: bytes = b""
    _server_writer: asyncio.StreamWriter | None = None

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        talk: Talk,
        *,
        asks: bool = False,
    ) -> None:
        async with asyncio.TaskGroup() as group:
            async for frame in _frames(reader):
                head = frame.partition(b"\r\n")[0]
                pulls = head.startswith((b"PUB ", b"HPUB ")) and b".CONSUMER.MSG.NEXT." in head
                if pulls and self.late:
                    self._request, self._server_writer = self._request + frame, writer
                elif head.startswith((b"MSG ", b"HMSG ")) and b'"num_ack_pending"' in frame:
                    group.create_task(self._answer_late(frame, writer))
                else:
                    writer.write(frame)

    async def _answer_late(self, answer: bytes, writer: asyncio.StreamWriter) -> None:
        request, self._request = self._request, b""
        if request and self._server_writer is not None:
            self._server_writer.write(request)
            await asyncio.sleep(_LATE_SECONDS if self.late else 0)
        writer.write(answer)


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Complete frames of the NATS protocol, until the connection ends."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while head := await reader.readline():
            words = head.split()
            with_data = words and words[0] in (b"PUB", b"HPUB", b"MSG", b"HMSG")
            yield head + (await reader.readexactly(int(words[-1]) + 2) if with_data else b"")
