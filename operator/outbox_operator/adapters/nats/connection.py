"""Connections to NATS: make one that heals by itself, and end it.

Called by the controller, the relay and the consumer runtime. Must not import plan, api or the
Kubernetes client, because the data plane must not reach them. Nothing here knows streams.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
from nats.aio.client import RawCredentials

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.errors import connection_error, login_error
from outbox_operator.adapters.nats.frame_reader import AnswerRoom
from outbox_operator.aio import heed_cancellation
from outbox_operator.errors import CredentialsError, OutboxError, UnsupportedServerError

MINIMUM_VERSION: Final = (2, 10, 0)
"""Oldest nats-server whose streams carry metadata, which our ownership marks need."""

CONNECT_SECONDS: Final = 5.0
_RECONNECT_WAIT_SECONDS: Final = 1
_PING_SECONDS: Final = 10
"""Two pings unanswered end a connection, so a silent server is noticed within 30 s."""

Callback = Callable[[], None]


async def connect(
    auth: NatsAuth,
    *,
    name: str,
    on_disconnected: Callback | None = None,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
    on_refused: Callable[[CredentialsError], None] | None = None,
    timeout: float = CONNECT_SECONDS,
    room: AnswerRoom | None = None,
) -> WireClient:
    """Connect, trying each server once. Later losses are healed by the client without end.

    Args:
        auth: Where and how.
        name: Shown in the server's connection list.
        on_disconnected: Called when the connection is lost.
        on_reconnected: Called when it is back.
        on_closed: Called when the client gave up for good: `close()` was called, or the server
            ended the session on purpose (credentials expired or revoked). Connect anew then.
        on_refused: Called each time the server refuses the login of a connection that was lost.
            The client goes on trying, with the same login.
        timeout: Seconds allowed per server.
        room: For large messages of a server that this process is not to suffer from.

    Raises:
        NatsError: No server answers; names address and reason.
        CredentialsError: The server refused the login, or the credentials are malformed.
        UnsupportedServerError: The server is older than `MINIMUM_VERSION`.
    """
    auth.check()
    tls = auth.tls_context()
    client = WireClient(address=auth.address, wants_tls=auth.wants_tls, room=room)
    attempts_left = len(auth.servers)
    established = False

    async def on_error(error: Exception) -> None:
        # The driver retries the first connection for ever as well; raising here stops it once
        # every server had its turn. After that errors are the reconnect loop's own business.
        nonlocal attempts_left
        if established:
            refusal = login_error(error, auth)
            if on_refused is not None and isinstance(refusal, CredentialsError):
                on_refused(refusal)
            return
        attempts_left -= 1
        if attempts_left <= 0 or isinstance(login_error(error, auth), CredentialsError):
            raise connection_error(error, auth) from error

    try:
        logging_in = asyncio.wait_for(  # noqa: TID251
            client.connect(
                auth.servers,
                name=name,
                error_cb=on_error,
                disconnected_cb=_awaitable(on_disconnected),
                reconnected_cb=_awaitable(on_reconnected),
                closed_cb=_awaitable(on_closed),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_SECONDS,
                connect_timeout=timeout,  # type: ignore[arg-type]  # any number of seconds
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=2,
                user=auth.username,
                password=auth.password,
                token=auth.token,
                user_credentials=RawCredentials(auth.creds) if auth.creds else None,
                nkeys_seed_str=auth.nkey_seed,
                tls=tls,
                tls_handshake_first=auth.tls_handshake_first,
            ),
            timeout=timeout * len(auth.servers) + 1,
        )
        await heed_cancellation(logging_in)
        if not client.is_connected:
            # The driver takes an end of stream during login for success. A server that demands
            # a client certificate ends it like this under TLS 1.3.
            raise nats.errors.UnexpectedEOF
        _check_version(client, auth)
    except (OutboxError, asyncio.CancelledError):
        await client.abandon()
        raise
    except Exception as error:
        await client.abandon()
        raise connection_error(error, auth) from error
    established = True
    return client


def _awaitable(callback: Callback | None) -> Callable[[], Awaitable[None]] | None:
    """The driver awaits its callbacks; ours only set a flag."""
    if callback is None:
        return None

    async def call() -> None:
        callback()

    return call


def server_version(client: WireClient) -> tuple[int, int, int]:
    """Version of the connected server."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", str(client.greeting.get("version", "")))
    if found is None:
        return (0, 0, 0)
    major, minor, patch = found.groups()
    return (int(major), int(minor), int(patch))


def _check_version(client: WireClient, auth: NatsAuth) -> None:
    if server_version(client) < MINIMUM_VERSION:
        raise UnsupportedServerError(
            f"NATS at {auth.address}: nats-server {_dotted(MINIMUM_VERSION)} or newer is needed, "
            f"found {client.greeting.get('version', 'unknown')}"
        )


async def finish(client: WireClient) -> None:
    """Send what is buffered, then close. What a lost connection cannot send is dropped."""
    try:
        await client.close()
    except (OSError, RuntimeError, nats.errors.Error):
        # uvloop says RuntimeError of a socket that is closed already.
        await client.abandon()


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)
