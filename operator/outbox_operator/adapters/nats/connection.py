"""Connections to NATS: credentials as values, connect, and driver errors as ours.

Called by the controller, the relay and the consumer runtime. Must not import plan, api or the
Kubernetes client, because the data plane must not reach them. Nothing here knows streams.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import nats.errors
import nkeys
from nats.aio.client import RawCredentials
from nats.js.errors import APIError

from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.network import network_problem
from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    NatsError,
    OutboxError,
    UnsupportedServerError,
)
from outbox_operator.wire.config import NatsConfig

MINIMUM_VERSION: Final = (2, 10, 0)
"""Oldest nats-server whose streams carry metadata, which our ownership marks need."""

CONNECT_SECONDS: Final = 5.0
_RECONNECT_WAIT_SECONDS: Final = 1
_PING_SECONDS: Final = 10
"""Two pings unanswered end a connection, so a silent server is noticed within 30 s."""

NOT_ENABLED_CODES: Final = frozenset({10039, 10076})
"""JetStream API error codes: not enabled for the account, not enabled on the server."""

_CREDS_MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")

Callback = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAuth:
    """Where NATS is and how to log in; equal values may share a connection.

    Attributes:
        url: One or more server URLs, comma-separated, without credentials.
        creds: Text of a `.creds` file.
        nkey_seed: NKey seed.
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; needs `key_pem`.
        domain: JetStream domain, or None.
    """

    url: str
    creds: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    nkey_seed: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)
    tls_handshake_first: bool = False
    domain: str | None = None

    @classmethod
    def from_files(cls, config: NatsConfig) -> NatsAuth:
        """Read the files a pod's configuration names.

        Raises:
            CredentialsError: A file is missing or unreadable; names the file, not its content.
        """
        return cls(
            url=config.url,
            creds=_read(config.creds_file),
            username=_read(config.username_file),
            password=_read(config.password_file),
            token=_read(config.token_file),
            nkey_seed=_read(config.nkey_file),
            ca_pem=_read(config.ca_file),
            cert_pem=_read(config.cert_file),
            key_pem=_read(config.key_file),
            tls_handshake_first=config.tls_handshake_first,
            domain=config.domain,
        )

    @property
    def servers(self) -> list[str]:
        """The URLs one by one."""
        return [url.strip() for url in self.url.split(",") if url.strip()]

    @property
    def address(self) -> str:
        """The URLs without anything secret; for messages and logs."""
        return ",".join(_without_userinfo(url) for url in self.servers)

    @property
    def wants_tls(self) -> bool:
        """Whether a connection in clear text would betray what was asked for."""
        return (
            self.ca_pem is not None
            or self.cert_pem is not None
            or self.tls_handshake_first
            or any(url.startswith("tls://") for url in self.servers)
        )


async def connect(
    auth: NatsAuth,
    *,
    name: str,
    on_disconnected: Callback | None = None,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
    timeout: float = CONNECT_SECONDS,
) -> WireClient:
    """Connect, trying each server once. Later losses are healed by the client without end.

    Args:
        auth: Where and how.
        name: Shown in the server's connection list.
        on_disconnected: Called when the connection is lost.
        on_reconnected: Called when it is back.
        on_closed: Called when the client gave up for good: `close()` was called, or the server
            ended the session on purpose (credentials expired or revoked). Connect anew then.
        timeout: Seconds allowed per server.

    Raises:
        NatsError: No server answers; names address and reason.
        CredentialsError: The server refused the login, or the credentials are malformed.
        UnsupportedServerError: The server is older than `MINIMUM_VERSION`.
    """
    _check_credentials(auth)
    tls = _tls_context(auth) if auth.wants_tls else None
    client = WireClient(address=auth.address, wants_tls=auth.wants_tls)
    attempts_left = len(auth.servers)
    established = False

    async def on_error(error: Exception) -> None:
        # The driver retries the first connection for ever as well; raising here stops it once
        # every server had its turn. After that errors are the reconnect loop's own business.
        nonlocal attempts_left
        if established:
            return
        attempts_left -= 1
        if attempts_left <= 0 or isinstance(_translate_login(error, auth), CredentialsError):
            raise connection_error(error, auth) from error

    try:
        await asyncio.wait_for(
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


def connection_error(error: BaseException, auth: NatsAuth) -> OutboxError:
    """What kept us from NATS, or broke a plain request, in our terms; never holds a secret."""
    login = _translate_login(error, auth)
    if login is not None:
        return login
    return NatsError(f"NATS at {auth.address}: {_describe(error)}")


def disconnected_error(client: WireClient, auth: NatsAuth) -> OutboxError:
    """Why a connection that once stood does not stand now."""
    last = client.last_error
    if last is not None:
        return connection_error(last, auth)
    return NatsError(f"NATS at {auth.address}: the connection is lost, reconnecting")


def jetstream_error(
    error: BaseException, auth: NatsAuth, client: WireClient, doing: str
) -> OutboxError:
    """What went wrong with a JetStream request of the driver, in our terms.

    Args:
        error: What the driver raised.
        auth: For the address.
        client: The connection, for what the server said of itself.
        doing: What was tried: "stream ORDERS: publish".
    """
    if isinstance(error, OutboxError):
        return error
    if isinstance(error, APIError):
        if error.err_code in NOT_ENABLED_CODES:
            return no_jetstream(auth)
        return NatsError(
            f"{doing}: refused by NATS at {auth.address}: {error.description} "
            f"(error {error.err_code})",
            reason="JetStreamError",
        )
    if isinstance(error, nats.errors.NoRespondersError):
        return no_responders(auth, client, doing)
    if isinstance(error, (asyncio.TimeoutError, nats.errors.TimeoutError)):
        return NatsError(f"{doing}: no answer from NATS at {auth.address} in time")
    return NatsError(f"{doing}: NATS at {auth.address}: {_describe(error)}")


def no_jetstream(auth: NatsAuth) -> UnsupportedServerError:
    """The server or the account has no JetStream."""
    return UnsupportedServerError(
        f"NATS at {auth.address}: JetStream is not enabled for this account; "
        "enable it on the server (jetstream {}) and in the account",
        reason="JetStreamNotEnabled",
    )


def no_responders(auth: NatsAuth, client: WireClient, doing: str) -> OutboxError:
    """Nobody answers the JetStream API: there is none, or none at the moment."""
    if auth.domain is None and not client.greeting.get("jetstream", False):
        return no_jetstream(auth)
    where = f" in domain {auth.domain!r}" if auth.domain else ""
    return NatsError(
        f"{doing}: nothing answers the JetStream API{where} at {auth.address}; "
        "the servers may be electing a leader, or the account may not use JetStream",
        reason="JetStreamUnavailable",
    )


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


def _check_credentials(auth: NatsAuth) -> None:
    """Refuse what the driver cannot parse; on a malformed file it would loop for ever."""
    malformed = CredentialsError(f"NATS at {auth.address}: the {_kind(auth)} is malformed")
    if auth.creds and not all(mark in auth.creds for mark in _CREDS_MARKS):
        raise malformed
    if auth.nkey_seed:
        try:
            nkeys.from_seed(bytearray(auth.nkey_seed.encode())).wipe()  # type: ignore[no-untyped-call]
        except (nkeys.NkeysError, ValueError) as error:
            raise malformed from error


async def finish(client: WireClient) -> None:
    """Send what is buffered, then close. What a lost connection cannot send is dropped."""
    try:
        await client.close()
    except (OSError, RuntimeError, nats.errors.Error):
        # uvloop says RuntimeError of a socket that is closed already.
        await client.abandon()


def _translate_login(error: BaseException, auth: NatsAuth) -> OutboxError | None:
    """Errors that a person must heal in a Secret; None for all others."""
    # The protocol has no codes: `-ERR 'Authorization Violation'` is text.
    text = str(error).lower()
    if isinstance(error, nats.errors.Error) and (
        isinstance(error, nats.errors.AuthorizationError)
        or "authorization" in text
        or "authentication" in text
    ):
        return CredentialsError(f"NATS at {auth.address}: the server refused the {_kind(auth)}")
    if isinstance(error, nats.errors.Error) and "permissions violation" in text:
        return AccessDeniedError(f"NATS at {auth.address}: {_describe(error)}")
    return None


def _kind(auth: NatsAuth) -> str:
    if auth.creds:
        return "credentials file (JWT and seed)"
    if auth.nkey_seed:
        return "NKey seed"
    if auth.token:
        return "token"
    if auth.username or auth.password:
        return "user name and password"
    if auth.cert_pem:
        return "client certificate"
    return "login without credentials"


def _describe(error: BaseException) -> str:
    """One reason in plain words."""
    if (problem := network_problem(error)) is not None:
        return problem
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {error.reason or 'connection ended'}"
    if isinstance(error, (asyncio.TimeoutError, nats.errors.TimeoutError)):
        return "no answer in time"
    if isinstance(error, nats.errors.SecureConnWantedError):
        return "TLS was asked for, but the server does not offer it"
    if isinstance(error, (nats.errors.UnexpectedEOF, ConnectionResetError, BrokenPipeError)):
        return "the server closed the connection"
    if isinstance(error, nats.errors.ConnectionClosedError):
        return "the connection is closed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix("nats: ") or type(error).__name__


def _tls_context(auth: NatsAuth) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=auth.ca_pem)
        if auth.cert_pem is not None:
            # OpenSSL reads certificates from files only: an anonymous one in memory leaves
            # nothing on a disk and needs no writable file system.
            with open(os.memfd_create("client-certificate"), "w") as file:
                file.write(f"{auth.cert_pem}\n{auth.key_pem or ''}\n")
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    except (ssl.SSLError, ValueError) as error:
        raise CredentialsError(
            f"NATS at {auth.address}: the TLS certificate, key or authority is not valid PEM, "
            "or key and certificate do not belong together"
        ) from error
    return context


def _read(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(
            f"file {path} for the NATS login: cannot be read ({type(error).__name__})"
        ) from error


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)
