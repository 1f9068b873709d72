"""The connection of a `NatsLink`: opened for the first event, shared by all, never waited for long.

Used on the link's event loop alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from outbox_operator.errors import SpecError

RETRY_SECONDS: Final = 1.0
"""After a failed attempt to connect, events are left to the relay for so long."""

_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_NO_RESPONDERS: Final = "503"
_MOST_UNHEARD: Final = 1000

Connect = Callable[[], Awaitable[Any]]


class UnreachableError(Exception):
    """There is no live connection; the message says why."""


class GivenConnection:
    """A connection of the application's, which stays open.

    Args:
        client: Of nats-py.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def live(self) -> Any:
        """The connection, if it can be used now.

        Raises:
            UnreachableError: It is lost.
        """
        return _connected(self._client)

    async def close(self) -> None:
        """It is not ours to close."""


class OwnConnection:
    """A connection that is opened when it is wanted, and again when it was closed.

    Args:
        connect: Opens one.
        timeout_seconds: For that.
    """

    def __init__(self, connect: Connect, timeout_seconds: float) -> None:
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._client: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry_at = 0.0

    async def live(self) -> Any:
        """The connection, opened if need be.

        Raises:
            UnreachableError: It is lost, or cannot be opened, or could not a moment ago.
        """
        if self._client is None or self._client.is_closed:
            if self._connecting is None:
                if time.monotonic() < self._retry_at:
                    raise UnreachableError("not connected")
                self._connecting = asyncio.get_running_loop().create_task(self._open())
                self._connecting.add_done_callback(_look_at)
            # Others wait for the same attempt, and one that gives up must not end it.
            await asyncio.shield(self._connecting)
        return _connected(self._client)

    async def close(self) -> None:
        """End it."""
        if self._client is not None and not self._client.is_closed:
            await self._client.close()

    async def _open(self) -> None:
        try:
            # In a task of its own, which nobody cancels.
            self._client = await asyncio.wait_for(  # noqa: TID251
                self._connect(), self._timeout_seconds
            )
        except Exception as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            detail = str(error) or type(error).__name__
            raise UnreachableError(f"cannot connect: {detail[:300]}") from error
        finally:
            self._connecting = None


class UnheardError(Exception):
    """Nobody listens to what was published; the message says on which subject."""


class Nudges:
    """Messages without content on one connection, of which the server says if nobody listens.

    It says so to the subject for answers, and before it answers a flush that follows: to hear it
    takes no further way to the server and back. Where the login may not subscribe to answers, or
    the server does not say so, every nudge counts as heard.

    Args:
        client: Of nats-py.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._answers: str = client.new_inbox()
        self._subscription: Any = None
        self._lock = asyncio.Lock()
        self._number = 0
        self._unheard: set[str] = set()

    async def send(self, subject: str, timeout_seconds: float) -> None:
        """Publish one, and wait until the server has it.

        Raises:
            UnheardError: Nobody listens.
            Exception: Whatever the driver raises.
        """
        self._number += 1
        answer = f"{self._answers}.{self._number}"
        async with self._lock:
            if self._subscription is None:
                self._subscription = await self.client.subscribe(f"{self._answers}.*")
        await self.client.publish(subject, reply=answer)
        await flush(self.client, timeout_seconds)
        async with self._lock:
            while self._subscription.pending_msgs:
                message = await self._subscription.next_msg(timeout_seconds)
                if (message.headers or {}).get("Status") == _NO_RESPONDERS:
                    self._unheard.add(message.subject)
        if answer in self._unheard:
            self._unheard.discard(answer)
            raise UnheardError(f"nobody listens on {subject}")
        if len(self._unheard) > _MOST_UNHEARD:  # of nudges that were given up before the answer
            self._unheard.clear()


async def flush(client: Any, timeout_seconds: float) -> None:
    """Wait until the server has taken what was published before.

    The driver's own flush overtakes what another task of it has not written yet: its answer alone
    would say nothing of the message.

    Args:
        client: Of nats-py.
        timeout_seconds: For each answer of the server.
    """
    await asyncio.sleep(0)  # that task's turn
    if client.pending_data_size:
        await client.flush(timeout_seconds)
    await client.flush(timeout_seconds)


def complaint_about(subject: str, client: Any, before: Exception | None) -> str | None:
    """What the server said against publishing to a subject; None when it said nothing.

    It says so without being asked, and before it answers a flush that follows. The driver keeps
    the last of such errors, whoever made the connection.

    Args:
        subject: The one that was published to.
        client: Of nats-py.
        before: Its last error at the time.
    """
    last = client.last_error
    if last is None or last is before:
        return None
    said = str(last)
    about = f'permissions violation for publish to "{subject}"'.lower() in said.lower()
    return said[:300] if about else None


def _connected(client: Any) -> Any:
    # Without a connection the driver would keep messages and send them much later.
    if not client.is_connected:
        raise UnreachableError("the connection is lost")
    return client


def connector(urls: str, timeout_seconds: float) -> Connect:
    """How to connect to the first of some servers that answers.

    Args:
        urls: Separated by commas.
        timeout_seconds: For each of them.

    Raises:
        SpecError: There is no URL, or nats-py is not installed.
    """
    servers = [url.strip() for url in urls.split(",") if url.strip()]
    if not servers:
        raise SpecError("nats is empty; wanted a URL such as nats://nats.nats:4222")
    for scheme in (url.partition("://")[0] for url in servers if "://" in url):
        if scheme not in _SCHEMES:
            raise SpecError(f"nats: wanted a URL that begins with nats://, found {scheme[:20]}://")

    # Now and not with the first event, which it would delay, and which nobody waits for.
    try:
        from nats.aio.client import Client
    except ImportError as error:
        raise SpecError(
            "nats is a URL, and nats-py is not installed to connect with: "
            "pip install 'outbox-operator[client-nats]'"
        ) from error

    async def connect() -> Any:
        attempts_left, established = len(servers), False

        async def on_error(error: Exception) -> None:
            # The driver would try the first connection for ever; raising stops it once every
            # server had its turn. Later troubles show where something is sent.
            nonlocal attempts_left
            attempts_left -= 1
            if attempts_left <= 0 and not established:
                raise error

        client = Client()
        try:
            await client.connect(
                servers,
                name="outbox-client",
                error_cb=on_error,
                connect_timeout=timeout_seconds,  # type: ignore[arg-type]  # any number of seconds
                reconnect_time_wait=1,
                max_reconnect_attempts=-1,
                ping_interval=10,
            )
        except BaseException:
            await client.close()
            raise
        established = True
        return client

    return connect


def _look_at(task: asyncio.Task[Any]) -> None:
    """Those who waited have given up by now; the error is no news."""
    if not task.cancelled():
        task.exception()
