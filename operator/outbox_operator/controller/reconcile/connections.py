"""Connections to NATS and Postgres that reconcilers share.

One NATS connection per server and login, whatever the number of resources (hosted NATS limits
connections); a few Postgres connections per login, closed when idle. A connection that breaks or
comes back wakes every resource that used it, so that statuses follow within moments instead of at
the next resync.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from outbox_operator.adapters.nats import connection as nats_adapter
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.errors import disconnected_error
from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)

IDLE_SECONDS = 120.0
"""Longer than a resync of a quiet resource, so that its connection is still there."""
REFUSAL_SECONDS = 1.0
"""A refused connection is not tried again within this time, however many resources ask."""
PER_TARGET = 2
"""Postgres connections per login; more passes wait their turn."""


@dataclass
class _NatsEntry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: set[Any] = field(default_factory=set)
    connection: Any = None
    admin: JetStreamAdmin | None = None
    used_at: float = 0.0
    refused: tuple[float, OutboxError] | None = None


class NatsConnections:
    """Shared NATS connections, by login.

    Args:
        wake: Called with every user of a connection that broke or came back.
        clock: Monotonic seconds.
    """

    def __init__(self, wake: Callable[[Any, str], None], clock: Callable[[], float]) -> None:
        self._wake = wake
        self._clock = clock
        self._entries: dict[NatsAuth, _NatsEntry] = {}

    async def admin(self, auth: NatsAuth, user: Any) -> JetStreamAdmin:
        """JetStream administration over the shared connection of a login.

        Raises:
            NatsError: Unreachable; names address and reason.
            CredentialsError: The server refused the login.
            UnsupportedServerError: No JetStream, or too old.
        """
        entry = self._entries.setdefault(auth, _NatsEntry())
        entry.users.add(user)
        entry.used_at = self._clock()
        async with entry.lock:
            if entry.admin is not None and entry.connection.is_closed:
                entry.admin = None  # for good, for example expired credentials: log in anew
            if entry.admin is not None:
                if not entry.connection.is_connected:
                    raise disconnected_error(entry.connection, auth)
                return entry.admin
            if entry.refused and self._clock() - entry.refused[0] < REFUSAL_SECONDS:
                raise entry.refused[1]
            try:
                entry.connection = await nats_adapter.connect(
                    auth,
                    name="outbox-operator",
                    on_disconnected=lambda: self._changed(auth, "nats disconnected"),
                    on_reconnected=lambda: self._changed(auth, "nats reconnected"),
                    on_closed=lambda: self._changed(auth, "nats closed the session"),
                )
            except OutboxError as error:
                entry.refused = (self._clock(), error)
                raise
            entry.refused = None
            entry.admin = JetStreamAdmin(entry.connection, auth)
            return entry.admin

    def _changed(self, auth: NatsAuth, trigger: str) -> None:
        entry = self._entries.get(auth)
        log.info("%s", trigger, extra={"address": auth.address})
        for user in list(entry.users) if entry else ():
            self._wake(user, trigger)

    def forget(self, user: Any) -> None:
        """A resource is gone: do not wake it any more."""
        for entry in self._entries.values():
            entry.users.discard(user)

    async def sweep(self) -> None:
        """Close what nobody used for a while (rotated credentials, deleted resources)."""
        for auth, entry in list(self._entries.items()):
            if self._clock() - entry.used_at > IDLE_SECONDS and not entry.lock.locked():
                del self._entries[auth]
                await _close_nats(entry)

    async def close(self) -> None:
        """Close all."""
        entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            await _close_nats(entry)


async def _close_nats(entry: _NatsEntry) -> None:
    if entry.connection is not None:
        with contextlib.suppress(Exception):  # already gone is as good as closed
            await entry.connection.close()


@dataclass
class _PostgresEntry:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PER_TARGET))
    users: set[Any] = field(default_factory=set)
    idle: deque[tuple[float, Any]] = field(default_factory=deque)
    leases: int = 0
    used_at: float = 0.0
    refused: tuple[float, OutboxError] | None = None


class PostgresConnections:
    """Shared Postgres connections, by login.

    Args:
        wake: Called with every user of a connection that broke.
        clock: Monotonic seconds.
    """

    def __init__(self, wake: Callable[[Any, str], None], clock: Callable[[], float]) -> None:
        self._wake = wake
        self._clock = clock
        self._entries: dict[PostgresTarget, _PostgresEntry] = {}
        self._closing = False

    @contextlib.asynccontextmanager
    async def lease(
        self, target: PostgresTarget, user: Any, *, fresh: bool = False
    ) -> AsyncIterator[PostgresAdmin]:
        """Administration over a connection for one pass; it goes back to the shelf afterwards.

        Args:
            target: The login.
            user: Who is woken when it breaks.
            fresh: Log in anew: a session of before says nothing of a password that was changed.

        Raises:
            PostgresError, CredentialsError, UnsupportedServerError: As `postgres.connect`.
        """
        entry = self._entries.setdefault(target, _PostgresEntry())
        entry.users.add(user)
        entry.leases += 1
        try:
            async with entry.slots:
                connection = await self._take(target, entry, fresh)
                clean = False
                try:
                    yield PostgresAdmin(connection, target)
                    clean = True
                finally:
                    # After an error nobody knows in which state the session is.
                    if clean and not connection.is_closed() and not self._closing:
                        entry.idle.append((self._clock(), connection))
                    else:
                        connection.terminate()
        finally:
            entry.leases -= 1
            entry.used_at = self._clock()

    async def _take(self, target: PostgresTarget, entry: _PostgresEntry, fresh: bool) -> Any:
        while entry.idle and not fresh:
            _, connection = entry.idle.pop()
            if not connection.is_closed():
                return connection
        if entry.refused and self._clock() - entry.refused[0] < REFUSAL_SECONDS:
            raise entry.refused[1]
        try:
            connection = await postgres.connect(
                target, application_name="outbox-operator", guarded=True
            )
        except OutboxError as error:
            entry.refused = (self._clock(), error)
            raise
        entry.refused = None
        connection.add_termination_listener(lambda _: self._terminated(target))
        return connection

    def _terminated(self, target: PostgresTarget) -> None:
        entry = self._entries.get(target)
        if entry is None or self._closing:
            return
        lost = [c for _, c in entry.idle if c.is_closed()]
        if not lost:
            return  # closed on purpose, or in use by a pass that will see it
        for user in list(entry.users):
            self._wake(user, "postgres disconnected")

    def forget(self, user: Any) -> None:
        """A resource is gone: do not wake it any more."""
        for entry in self._entries.values():
            entry.users.discard(user)

    async def sweep(self) -> None:
        """Close what was not used for a while."""
        now = self._clock()
        for target, entry in list(self._entries.items()):
            # Off the shelf before the first wait: a pass must not take what is being closed.
            old = [pair for pair in entry.idle if now - pair[0] > IDLE_SECONDS]
            entry.idle = deque(pair for pair in entry.idle if now - pair[0] <= IDLE_SECONDS)
            unused = not entry.idle and not entry.leases
            if unused and now - entry.used_at > 10 * IDLE_SECONDS:
                del self._entries[target]
            for _, connection in old:
                await _close_postgres(connection)

    async def close(self) -> None:
        """Close all."""
        self._closing = True
        entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            for _, connection in entry.idle:
                await _close_postgres(connection)


async def _close_postgres(connection: Any) -> None:
    with contextlib.suppress(Exception):  # already gone is as good as closed
        await connection.close(timeout=2)
