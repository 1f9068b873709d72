"""What a server may answer: a bound on bytes, and on the work that its login asks for.

The operator connects to servers that tenants name. The driver reads a message of any length into
memory, keeps rows without end, hashes a password on the event loop as often as the server says, and
makes room for as many points as a polygon claims: each would end the operator for everybody. The
guard stands between socket and driver, looks at the head of every message, and puts an error in
the place of one that is too much.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from asyncpg.protocol import Protocol

MOST_ITERATIONS: Final = 600_000
"""Of a SCRAM login, a fifth of a second; PostgreSQL's default is 4096."""
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Between two statements. The operator's own questions have answers of a few kB. Rows, and JSON,
take up to twenty times their size in memory."""
_MESSAGE_BYTES: Final = 64
"""Of memory that each message takes besides what is in it: rows may hold nothing at all."""
_MOST_LOGIN_BYTES: Final = 64 * 1024
_MOST_COLUMNS_BYTES: Final = 16 * 1024
_PLAIN_TYPES: Final = frozenset({
    16, 17, 18, 19, 20, 21, 23, 25, 26, 28, 114, 700, 701, 1042, 1043, 1184, 2278, 2950, 3802, 5069,
})  # fmt: skip
"""Types by their ids: bool, bytea, "char", name, the integers, text, oid, xid, json, the floats,
char and varchar, timestamptz, void, uuid, jsonb, xid8. No others are in answers to the operator; a
value of them is no larger than its bytes. Arrays, records and polygons may claim any number of
parts, a number any number of digits, and of a type that it does not know the driver asks the
server, again and again."""
_HEAD: Final = struct.Struct("!cI")
_LOGIN, _READY, _COLUMNS = b"R", b"Z", b"T"
_TYPE: Final = struct.Struct("!IhIhih")
"""Of a column, behind its name: table, number, type, size, modifier, format."""
_LOGGED_IN, _SASL_CONTINUE = 0, 11
_ITERATIONS: Final = re.compile(rb"i=(\d+)")
"""Wherever it stands: who answers may name it twice, and the driver takes one of them."""


class GuardedLoop:
    """An event loop whose connections to PostgreSQL are guarded; the rest is the loop's own.

    The driver takes a loop to make its connections with; it has no other place to stand between.

    Args:
        loop: The running loop, of the standard library.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *args: Any, **options: Any
    ) -> tuple[Any, asyncio.Protocol]:
        """As the loop's."""
        inner = factory()
        transport, _ = await self._loop.create_connection(lambda: _guarded(inner), *args, **options)
        return _guarding(transport), inner

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        """As the loop's."""
        transport = await self._loop.start_tls(*args, **options)
        return None if transport is None else _guarding(transport)


def _guarding(transport: Any) -> Any:
    """A transport that puts the guard before whatever protocol it is given later."""
    change = transport.set_protocol
    transport.set_protocol = lambda protocol: change(_guarded(protocol, transport))
    return transport


def _guarded(protocol: asyncio.Protocol, transport: Any = None) -> asyncio.Protocol:
    # Before TLS the driver reads a single byte with a protocol that keeps nothing.
    return AnswerGuard(protocol, transport) if isinstance(protocol, Protocol) else protocol


class AnswerGuard(asyncio.Protocol):
    """Hands on what a server says as long as it is within bounds.

    Args:
        inner: The driver's protocol.
        transport: When it is connected already.
    """

    def __init__(self, inner: asyncio.Protocol, transport: Any = None) -> None:
        self._inner = inner
        self._transport = transport
        self._held = b""
        """What is looked at whole and has not come in so: a head, the login, names of columns."""
        self._rest = 0
        """Bytes of a message whose head has passed."""
        self._answer = 0
        """Bytes since the server was last ready for a statement."""
        self._logged_in = False
        self._serving = False
        """Whether the server was ready for a statement once."""
        self._hashing = False
        """Whether the login has asked for hashing."""
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        data, self._held = self._held + data, b""
        end = min(self._rest, len(data))
        self._rest -= end
        while len(data) - end >= _HEAD.size:
            kind, size = _HEAD.unpack_from(data, end)
            problem = self._problem(kind, size)
            if problem is None and kind in (_LOGIN, _COLUMNS):
                if len(data) - end <= size:
                    break
                body = data[end + _HEAD.size : end + 1 + size]
                problem = self._login(body) if kind == _LOGIN else _columns(body)
            if problem is not None:
                self._refuse(data[:end], problem)
                return
            if kind == _READY:
                self._answer, self._serving = 0, True
            else:
                self._answer += _MESSAGE_BYTES + size
            taken = min(1 + size, len(data) - end)
            self._rest = 1 + size - taken
            end += taken
        self._held = data[end:]
        if end:
            self._inner.data_received(data[:end])

    def _problem(self, kind: bytes, size: int) -> str | None:
        if size < 4 or not kind.isalnum():
            return "what answers does not speak PostgreSQL's protocol"
        if self._logged_in and kind == _LOGIN:
            # The driver would go on with the login, and hash.
            return "what answers asks for a login after one"
        if not self._logged_in and size > _MOST_LOGIN_BYTES:
            return f"an answer to the login is over {_MOST_LOGIN_BYTES} bytes"
        if kind == _COLUMNS and size > _MOST_COLUMNS_BYTES:
            return f"the names of columns are over {_MOST_COLUMNS_BYTES} bytes"
        if self._answer + _MESSAGE_BYTES + size > MOST_ANSWER_BYTES:
            return f"the answer to a statement is over {MOST_ANSWER_BYTES} bytes"
        return None

    def _login(self, body: bytes) -> str | None:
        step = int.from_bytes(body[:4], "big")
        self._logged_in = step == _LOGGED_IN
        if step == _SASL_CONTINUE:
            if self._hashing:
                return "its login asks for hashing again and again"
            self._hashing = True
            rounds = _ITERATIONS.findall(body)
            if any(len(found) > 9 or int(found) > MOST_ITERATIONS for found in rounds):
                return (
                    f"its login asks for over {MOST_ITERATIONS} rounds of hashing; set "
                    "scram_iterations lower and the password anew"
                )
        return None

    def _refuse(self, before: bytes, problem: str) -> None:
        self._refused = True
        fields = f"SFATAL\0VFATAL\0C08P01\0M{problem}\0\0".encode()
        error = _HEAD.pack(b"E", 4 + len(fields)) + fields
        # Ready, so that the driver ends the statement with the error at once.
        ready = _HEAD.pack(_READY, 5) + b"I" if self._serving else b""
        self._inner.data_received(before + error + ready)
        self._transport.abort()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def _columns(body: bytes) -> str | None:
    """What is wrong with the columns of an answer."""
    at = 2
    while at < len(body):
        at = body.find(b"\0", at) + 1
        if not at or at + _TYPE.size > len(body):
            return "what answers does not speak PostgreSQL's protocol"
        kind = _TYPE.unpack_from(body, at)[2]
        if kind not in _PLAIN_TYPES:
            return f"an answer holds type {kind}, which was not asked for"
        at += _TYPE.size
    return None
