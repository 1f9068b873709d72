"""The driver's client with a fast lane: frames out in large pieces, replies in without a task.

Used by `adapters.nats.connect`. The driver spends 20 µs on a message it publishes and 20 µs on
one it delivers; a relay has 3 µs for an event. This is the one place that reaches into the
driver's private parts for speed: connecting, login, pings, reconnecting and every request stay
its own business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

OnMessage = Callable[[bytes, bytes, bytes | None, bytes], None]
"""Subject, reply subject or nothing, raw header block or None, payload."""


class WireClient(Client):
    """A client that also writes frames as they are and hands replies over as they come.

    Args:
        wants_tls: Refuse to log in over clear text.
    """

    def __init__(self, *, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls = wants_tls
        self._listeners: dict[int, OnMessage] = {}

    async def listen(self, subject: str, on_message: OnMessage) -> Subscription:
        """Call `on_message` at once, inside the reading task, for each message on `subject`.

        It must not raise and must not take long: nothing else is read meanwhile.

        Raises:
            nats.errors.Error: The connection is closed.
        """
        subscription = await self.subscribe(subject)
        self._listeners[subscription._id] = on_message
        return subscription

    async def unlisten(self, subscription: Subscription) -> None:
        """Undo `listen`; does nothing when the connection is closed."""
        self._listeners.pop(subscription._id, None)
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    def write(self, frames: bytes) -> None:
        """Send complete protocol frames over this very connection, never over a later one.

        Does not wait: the caller bounds what is on the way by counting acknowledgements.

        Raises:
            nats.errors.ConnectionClosedError: There is no connection.
        """
        if not self.is_connected or self._transport is None:
            raise nats.errors.ConnectionClosedError
        self._transport.write(frames)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        on_message = self._listeners.get(sid)
        if on_message is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            on_message(subject, reply, headers, data)

    async def _process_op_err(self, e: Exception) -> None:
        # Before it reconnects, the driver waits until the broken connection has taken all that
        # was written to it. One that hangs never does, and one that comes back to life would
        # deliver it late.
        if self.is_connected:
            abort(self)
        await super()._process_op_err(e)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Called before the credentials are sent.
        if initial_connection and self._wants_tls and not info.get("tls_required", False):
            raise nats.errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


def abort(client: Client) -> None:
    """Drop the connection and all that it has not sent, without a goodbye."""
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(client._transport, name, None)
        if writer is not None:
            writer.transport.abort()


NO_RESPONDERS: Final = b"503"
"""Status of the answer that the server gives for nobody listens."""


def status_of(headers: bytes) -> bytes:
    """Status number of a header block, or nothing."""
    first = headers[: headers.index(b"\r\n")].split()
    return first[1] if len(first) > 1 else b""


def parse_headers(headers: bytes) -> dict[str, str]:
    """A header block as a dictionary; of repeated names the first counts."""
    found: dict[str, str] = {}
    for line in headers.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name, value.strip())
    return found
