"""A TCP proxy that cuts, slows and holds back, for tests of what a network does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

_CHUNK_BYTES = 64 * 1024
_ACCEPT_TURNS = 5
"""Of the event loop, from a connection that asyncio has taken to its `_accept`."""


class TcpProxy:
    """Forwards 127.0.0.1:`port` to a server; runs in the caller's event loop.

    Args:
        target: Port of the server on 127.0.0.1, asked for at each connection.

    Attributes:
        delay_seconds: Wait this long before a piece is passed on, in each direction.
        bytes_per_second: Pass on no more than this, per connection and direction; 0: any.
        held: Pieces that `hold` keeps back at the moment.
        held_bytes: How many bytes of them came from the client.
        turns: How often clients said something after they had been answered: round trips.
        lose_answer_to: Cut the connection instead of passing on what answers the next piece that
            holds these bytes; empty: none.
        lost: How often that was done.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._muted: list[asyncio.Event] = []
        self.delay_seconds = 0.0
        self.bytes_per_second = 0
        self.held = 0
        self.held_bytes = 0
        self.turns = 0
        self.lose_answer_to = b""
        self.lost = 0

    async def start(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "never started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def upstream_ports(self) -> list[int]:
        """Local ports of its connections to the server: how the server knows them."""
        return [
            writer.get_extra_info("sockname")[1]
            for writers in self._links.values()
            for writer in writers[1:]
            if not writer.is_closing()
        ]

    def hold(self) -> None:
        """Pass nothing on, not even the end of a connection; nothing is lost."""
        self._flowing.clear()

    def step(self) -> None:
        """Pass on what is held, and hold what comes behind it."""
        self._flowing.set()
        self._flowing.clear()

    def release(self) -> None:
        """End of `hold`: what was held back arrives now."""
        self._flowing.set()

    def mute(self) -> None:
        """The connections of now pass nothing on any more, not even their end, as of a machine
        that is gone; new ones do.
        """
        self._flowing.clear()
        self._muted.append(self._flowing)
        self._flowing = asyncio.Event()
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection; what was under way is lost."""
        for writers in self._links.values():
            for writer in writers:
                reset(writer)

    def heal(self) -> None:
        """Forward at once again."""
        self.delay_seconds, self.bytes_per_second = 0.0, 0
        self.release()

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        self.heal()
        for muted in self._muted:
            muted.set()
        for _ in range(_ACCEPT_TURNS):  # who connects in this moment is let in yet
            await asyncio.sleep(0)
        while self._links:
            self.cut()
            await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ends = self._links[task] = [writer]
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target())
            ends.append(far_writer)
            talk = Talk()
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, talk, asks=True)),
                asyncio.create_task(self._pump(far_reader, writer, talk)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            reset(writer)  # nobody there
        finally:
            for end in ends:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            del self._links[task]

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        talk: Talk,
        *,
        asks: bool = False,
    ) -> None:
        """Forward until one side ends."""
        flowing = self._flowing
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if asks:
                    self._asked(talk, data)
                elif talk.unheard:
                    self.lost += 1
                    return
                talk.answered = not asks
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                self.held += 1
                self.held_bytes += len(data) if asks else 0
                try:
                    await flowing.wait()
                finally:
                    self.held -= 1
                    self.held_bytes -= len(data) if asks else 0
                writer.write(data)
                await writer.drain()
            await flowing.wait()

    def _asked(self, talk: Talk, data: bytes) -> None:
        self.turns += talk.answered
        if self.lose_answer_to and self.lose_answer_to in data:
            self.lose_answer_to, talk.unheard = b"", True


@dataclass(slots=True)
class Talk:
    """Of one connection: whether the server spoke last, and whether the client is not to hear."""

    answered: bool = True
    unheard: bool = False


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash of the network does: RST, and nothing more is sent."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
