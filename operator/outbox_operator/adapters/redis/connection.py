"""One connection to a server: commands go out in their order, and are answered in it.

Called by the sink and its runs. Built on redis-py's `Connection`, not on its client, whose
pools and retries would send a command again on another connection. This one is never opened a
second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from redis._parsers import _AsyncRESP2Parser
from redis.asyncio.connection import Connection, DefaultParser
from redis.exceptions import AuthenticationError, InvalidResponse, ResponseError
from redis.exceptions import RedisError as DriverError

from outbox_operator.adapters.redis.bounded import BoundedReader
from outbox_operator.adapters.redis.errors import (
    ELSEWHERE,
    login_refused,
    said,
    translate,
    unreachable,
    word,
)
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.scripts import Script
from outbox_operator.errors import OutboxError, RedisError
from outbox_operator.reasons import Reason

ANSWER_SECONDS: Final = 5.0
"""Longest silence while an answer is due."""
_CONNECT_SECONDS: Final = 5.0
_PING_SECONDS: Final = 5.0
"""Between two looks whether an idle connection lives."""


_MALFORMED: Final = (ValueError, TypeError, RecursionError, InvalidResponse)
"""What the driver's parser ends in, when that is not an answer; its text may repeat what came."""


class _Once(Connection):
    """A connection that the driver does not open again by itself."""

    def __init__(self, login: RedisLogin, name: str, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._bounded: BoundedReader | None = None
        host, port, database = login.server()
        self._context = login.tls_context()
        self._opened = False
        super().__init__(
            host=host, port=port, db=database,
            username=login.username, password=login.password,
            client_name=name.replace(" ", "-"), driver_info=None,
            protocol=2, socket_timeout=None, socket_connect_timeout=_CONNECT_SECONDS,
            # The one in C makes a list as long as a server says before any of it has come: 13
            # bytes are 16 GiB, and to free them stops the process for 19 s.
            parser_class=DefaultParser if most_bytes is None else _AsyncRESP2Parser,
        )  # fmt: skip

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        if self._opened:
            raise ConnectionError("the connection was lost")
        self._opened = True
        await super().connect_check_health(*args, **options)

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]
        if self._most_bytes is not None and self._reader is not None:
            self._bounded = BoundedReader(self._reader, self._most_bytes)
            self._reader = self._bounded  # type: ignore[assignment]

    def answered(self) -> None:
        """An answer is whole."""
        if self._bounded is not None:
            self._bounded.begin()

    def abort(self) -> None:
        """Close at once. `disconnect` would first send what a server does not take any more."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _open(login: RedisLogin, name: str, most_bytes: int | None = None) -> _Once:
    connection = _Once(login, name, most_bytes)
    try:
        async with asyncio.timeout(2 * _CONNECT_SECONDS):  # its answers to our login included
            await connection.connect_check_health(False, False)
    except ResponseError as error:
        # Alone: the driver's text may repeat the password.
        raise translate(said(error), login.address, "log in") from None
    except _MALFORMED as error:
        connection.abort()
        raise _no_redis(error, login.address) from error
    except (DriverError, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)
        if isinstance(error, AuthenticationError):
            raise login_refused(said(error), login.address) from error
        raise unreachable(error, login.address) from error
    return connection


def _no_redis(error: Exception, address: str) -> RedisError:
    return RedisError(f"Redis at {address}: no answer as Redis gives ({type(error).__name__})")


class Wire:
    """Commands and their answers over one connection. Make one with `Wire.open`.

    Args:
        on_lost: Called once when the connection is gone, unless by `close`.
        answer_seconds: Longest silence while an answer is due.
    """

    def __init__(
        self,
        connection: _Once,
        address: str,
        on_lost: Callable[[], None],
        answer_seconds: float,
    ) -> None:
        self.address = address
        self.answer_seconds = answer_seconds
        self.lost_as: OutboxError | None = None
        self._connection = connection
        self._on_lost = on_lost
        self._due: deque[asyncio.Future[Any]] = deque()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._ping())]

    @classmethod
    async def open(
        cls,
        login: RedisLogin,
        *,
        name: str,
        on_lost: Callable[[], None],
        answer_seconds: float = ANSWER_SECONDS,
        most_bytes: int | None = None,
    ) -> Wire:
        """Connect and log in.

        Args:
            name: Shown in the server's list of clients.
            most_bytes: Of an answer; a larger one ends the connection. None: any will do.

        Raises:
            OutboxError: The server is away or does not let us in, or the login is malformed.
        """
        connection = await _open(login, name, most_bytes)
        return cls(connection, login.address, on_lost, answer_seconds)

    async def send(self, *command: bytes | str | int) -> asyncio.Future[Any]:
        """Send a command; waits while the connection takes no more.

        Returns:
            Its answer, which may be a ResponseError; or a RedisError as its exception.

        Raises:
            RedisError: The connection is lost.
        """
        return await self.put(b"".join(self._connection.pack_command(*command)))

    async def put(self, packed: bytes) -> asyncio.Future[Any]:
        """Send a command that is in the protocol of Redis already; else as `send`."""
        if self.lost_as is not None:
            raise self.lost_as
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._due.append(answer)
        try:
            async with asyncio.timeout(self.answer_seconds):
                await self._connection.send_packed_command(packed, check_health=False)
        except TimeoutError:  # it takes nothing, so it does not answer either
            self.fail(self.silent())
        except (DriverError, OSError) as error:
            self.fail(unreachable(error, self.address))
        return answer

    async def ask(self, doing: str, *command: bytes | str | int) -> Any:
        """Send a command and wait for its answer.

        Args:
            doing: For messages.

        Raises:
            OutboxError: The server refuses it, does not answer in time, or is gone.
        """
        answer = await self.send(*command)
        try:
            async with asyncio.timeout(self.answer_seconds):
                found = await answer
        except TimeoutError:
            self.fail(self.silent())
            assert self.lost_as is not None  # noqa: S101 - what `fail` sees to
            raise self.lost_as from None
        if isinstance(found, ResponseError):
            raise self.refused(said(found), doing)
        return found

    def refused(self, text: str, doing: str) -> OutboxError:
        """Make an error of one of the server; where another takes the writes now, look for it.

        Args:
            text: What it said.
            doing: What was asked.
        """
        error = translate(text, self.address, doing)
        if word(text) in ELSEWHERE:
            self.fail(error)
        return error

    async def run(
        self, doing: str, script: Script, keys: list[str], *texts: bytes | str | int
    ) -> Any:
        """Load a script, which the server may have forgotten, and run it.

        Raises:
            OutboxError: As `ask`.
        """
        await self.ask(doing, "SCRIPT", "LOAD", script.text)
        return await self.ask(doing, "EVALSHA", script.digest, len(keys), *keys, *texts)

    def silent(self) -> RedisError:
        """Say that there was no answer."""
        return RedisError(
            f"Redis at {self.address}: no answer within {self.answer_seconds:g} s",
            reason=Reason.ACK_TIMEOUT,
        )

    def fail(self, error: OutboxError) -> None:
        """Give the connection up: nothing more is sent, and what is due does not come."""
        if self.lost_as is not None:
            return
        self.lost_as = error
        due, self._due = self._due, deque()
        for answer in due:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # nobody may wait for it any more
        self._on_lost()
        self._cut()

    async def close(self) -> None:
        """End the connection at once."""
        self._on_lost = _nothing
        self.fail(RedisError(f"Redis at {self.address}: the connection was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        self._connection.abort()
        # In the middle of a callback nothing can be waited for; the driver closes at once, too.
        self._tasks.append(asyncio.create_task(self._disconnect()))

    async def _disconnect(self) -> None:
        with contextlib.suppress(Exception):
            await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    found = await self._connection.read_response(timeout=math.inf)
                except ResponseError as error:
                    found = error
                self._connection.answered()
                if not self._due:
                    break
                answer = self._due.popleft()
                if not answer.done():
                    answer.set_result(found)
            self.fail(RedisError(f"Redis at {self.address}: an answer to no question"))
        except _MALFORMED as error:
            self.fail(_no_redis(error, self.address))
        except (DriverError, OSError) as error:
            self.fail(unreachable(error, self.address))

    async def _ping(self) -> None:
        """Notice a server that went without a word."""
        with contextlib.suppress(OutboxError):
            while True:
                await asyncio.sleep(_PING_SECONDS)
                if not self._due:
                    await self.ask("ping", "PING")


def _nothing() -> None:
    pass


class Listener:
    """Hears what is published on one channel, over a connection of its own."""

    @staticmethod
    async def listen(
        login: RedisLogin,
        name: str,
        channel: str,
        callback: Callable[[], None],
        accepted: Callable[[], None],
    ) -> OutboxError:
        """See `Sink.listen`."""
        connection = await _open(login, name)
        try:
            await connection.send_command("SUBSCRIBE", channel, check_health=False)
            while True:
                found = await connection.read_response(timeout=math.inf)
                if found and found[0] == b"subscribe":
                    accepted()
                elif found and found[0] == b"message":
                    callback()
        except ResponseError as error:
            return translate(said(error), login.address, "hear nudges of writers")
        except (DriverError, OSError) as error:
            raise unreachable(error, login.address) from error
        finally:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
