"""Bytes off the wire: split into frames, and header blocks into names and values.

Used by `adapters.nats.driver`. nats-py spends most of its time per message on a regular
expression, header objects and a queue; this splits whole buffers into frames and hands each to a
plain function. Everything else (pings, other subscriptions, reconnecting) stays its business: it
is fed the frames that are not ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

Sink = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with subject, reply subject, header block (may be empty) and payload."""

_LONGEST_LINE: Final = 64 * 1024
"""A control line longer than this is no NATS; subjects are bounded by 4 KiB on servers."""

_LARGEST_MESSAGE: Final = 64 * 1024 * 1024
"""What `max_payload` of a server can be at most."""

_SMALL_BYTES: Final = 256 * 1024
"""A message that every connection may keep while the rest of it is on its way."""
_ROOM_BYTES: Final = 16 * 1024 * 1024

_MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What nats-py stumbles with over a greeting that is none."""


class AnswerRoom:
    """Memory for large messages that have come in part, of many connections together.

    A server may begin the largest message on each connection and leave it at that, until it is
    noticed that it says nothing else. A process that talks to servers of many tenants gives each a
    room of its own.
    """

    def __init__(self) -> None:
        self._taken: WeakKeyDictionary[FrameReader, int] = WeakKeyDictionary()

    def take(self, reader: FrameReader, size: int) -> bool:
        """Have room for a message; False: there is none."""
        if size > _SMALL_BYTES:
            if sum(self._taken.values()) + size > _ROOM_BYTES:
                return False
            self._taken[reader] = size
        return True

    def leave(self, reader: FrameReader) -> None:
        """The message is whole, or will not come."""
        self._taken.pop(reader, None)


class FrameReader(Parser):
    """The parser of one client, in place of its own.

    Args:
        on_error: Told the server's words of each `-ERR`, before nats-py acts on it: that one
            keeps only the last, in small letters.
        room: For large messages. One that it has no room for comes without its content: whoever
            asked does not understand that answer. None: there is room for any.
    """

    def __init__(
        self, client: Client, on_error: Callable[[bytes], None], room: AnswerRoom | None = None
    ) -> None:
        self._room = room
        self._sinks: dict[bytes, Sink] = {}
        self._on_error = on_error
        super().__init__(client)

    def route(self, sid: int, sink: Sink) -> None:
        """Hand the messages of a subscription to `sink`, in order, from the reading task."""
        self._sinks[b"%d" % sid] = sink

    def unroute(self, sid: int) -> None:
        """Undo `route`."""
        self._sinks.pop(b"%d" % sid, None)

    def reset(self) -> None:
        """A new connection: forget the half frame of the old one."""
        super().reset()
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._skip = 0
        """Bytes to come of a message that there is no room for."""
        if self._room is not None:
            self._room.leave(self)
        self._age = getattr(self, "_age", 0) + 1

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read.

        Raises:
            ProtocolError: It is not the NATS protocol.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._parts:
            # A large message comes in many pieces; they are joined once.
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts = []
            if self._room is not None:
                self._room.leave(self)
        start, end, age = 0, len(data), self._age
        sinks, stats = self._sinks, self.nc.stats
        while start < end:
            self._need = 0
            line_end = data.find(b"\r\n", start)
            if line_end < 0:
                if end - start > _LONGEST_LINE:
                    raise ProtocolError("nats: a control line without end")
                break
            headed = data.startswith(b"HMSG ", start)
            if not headed and not data.startswith(b"MSG ", start):
                if data.startswith(b"-ERR", start):
                    self._on_error(data[start + 4 : line_end])
                try:
                    await super().parse(data[start : line_end + 2])
                except _MALFORMED as error:
                    # nats-py would stop reading, and say so in its log alone.
                    raise ProtocolError("nats: malformed line") from error
                if self._age != age:
                    return  # that line ended the connection
                start = line_end + 2
                continue
            words = data[start:line_end].split()
            body = line_end + 2
            try:
                size = int(words[-1])
                split = body + int(words[-2]) if headed else body
            except (ValueError, IndexError) as error:
                raise ProtocolError("nats: malformed message") from error
            stop = body + size
            if not body <= split <= stop:
                # A negative size would have us read the same bytes for ever.
                raise ProtocolError("nats: malformed message")
            if stop + 2 > end:
                if size > _LARGEST_MESSAGE:
                    raise ProtocolError("nats: a message larger than any server takes")
                if self._room is None or self._room.take(self, size):
                    self._need = stop + 2 - start
                    break
                if words[2] not in sinks:
                    # The name and numbers of a message without headers.
                    told = words[1 : -2 if headed else -1]
                    await super().parse(b"MSG %s 0\r\n\r\n" % b" ".join(told))
                self._skip, start = stop + 2 - end, end
                break
            sink = sinks.get(words[2])
            if sink is None:
                await super().parse(data[start : stop + 2])
            else:
                stats["in_msgs"] += 1
                stats["in_bytes"] += size
                reply = words[3] if len(words) > (5 if headed else 4) else b""
                sink(words[1], reply, data[body:split], data[split:stop])
            start = stop + 2
        self._have = end - start
        if self._have:
            self._parts = [data[start:]]


NO_RESPONDERS: Final = "503"
"""Status of the answer that the server gives when nobody listens."""


def parse_headers(block: bytes) -> dict[str, str]:
    """Names and values of a header block; the status line becomes `Status` and `Description`.

    Of repeated names the last counts.
    """
    lines = block.decode("utf-8", "surrogateescape").split("\r\n")
    if lines[0] == "NATS/1.0" and (
        block.count(b" ") == len(lines) - 3  # those behind the colons; of most messages
        or (b":  " not in block and b" \r\n" not in block)
    ):
        try:
            return dict([line.split(": ", 1) for line in lines[1:-2]])
        except ValueError:
            pass  # a name without a space behind its colon
    found: dict[str, str] = {}
    first = lines[0]
    if len(first) > 8:  # NATS/1.0 503 No Responders
        status, _, text = first[8:].strip().partition(" ")
        found["Status"] = status
        if text:
            found["Description"] = text
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found
