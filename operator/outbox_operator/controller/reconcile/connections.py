"""Connections to NATS and Postgres that reconcilers share.

One NATS connection per server and login, whatever the number of resources (hosted NATS limits
connections); a few Postgres connections per login, closed when idle. A connection that breaks or
comes back wakes every resource that used it, so that statuses follow within moments instead of at
the next resync. So does a PostgreSQL that no longer answers: it is asked now and then whatever the
passes do, because the end of a statement that hangs is too late a sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.adapters.nats import connection as nats_adapter
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.advisories import Heard, listen_for_changes
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.errors import disconnected_error
from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.errors import understood
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

IDLE_SECONDS = 120.0
"""Longer than a resync of a quiet resource, so that its connection is still there."""
REFUSAL_SECONDS = 1.0
"""A refused connection is not tried again within this time, however many resources ask. The refusal
is kept as a copy: what was raised holds on to the whole attempt, with its TLS context."""
PER_TARGET = 2
"""Postgres connections per login; more work waits its turn."""
ANSWER_SECONDS: Final = 8.0
"""A PostgreSQL that has not answered within this time counts as silent."""


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
        wake: Called with every user of a connection that broke or came back, and with those whose
            stream or durable consumer the server says was changed or deleted.
        clock: Monotonic seconds.
        cares_for: Streams and durable consumers that a user looks after.
    """

    def __init__(
        self,
        wake: Callable[[Any, str], None],
        clock: Callable[[], float],
        cares_for: Callable[[Any], Heard] = lambda _user: frozenset(),
    ) -> None:
        self._wake = wake
        self._cares_for = cares_for
        self._clock = clock
        self._entries: dict[NatsAuth, _NatsEntry] = {}

    async def admin(self, auth: NatsAuth, user: Any = None) -> JetStreamAdmin:
        """JetStream administration over the shared connection of a login.

        Args:
            auth: The login.
            user: Who is woken when the connection changes; None: nobody but those of before.

        Raises:
            NatsError: Unreachable; names address and reason.
            CredentialsError: The server refused the login.
            UnsupportedServerError: No JetStream, or too old.
        """
        entry = self._entries.setdefault(auth, _NatsEntry())
        if user is not None:
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
                raise copy.copy(entry.refused[1])
            refusal: OutboxError | None = None
            try:
                entry.connection = await nats_adapter.connect(
                    auth,
                    name="outbox-operator",
                    on_disconnected=lambda: self._changed(auth, "nats disconnected"),
                    on_reconnected=lambda: self._changed(auth, "nats reconnected"),
                    on_closed=lambda: self._changed(auth, "nats closed the session"),
                )
            except OutboxError as error:
                refusal = copy.copy(error)
            if refusal is not None:
                entry.refused = (self._clock(), refusal)
                raise copy.copy(refusal)
            await listen_for_changes(entry.connection, lambda heard: self._heard(auth, heard))
            entry.refused = None
            entry.admin = JetStreamAdmin(entry.connection, auth)
            return entry.admin

    def _changed(self, auth: NatsAuth, trigger: str) -> None:
        entry = self._entries.get(auth)
        log.info("%s", trigger, extra={"address": auth.address})
        for user in list(entry.users) if entry else ():
            self._wake(user, trigger)

    def _heard(self, auth: NatsAuth, heard: Heard) -> None:
        entry = self._entries.get(auth)
        for user in list(entry.users) if entry else ():
            if heard & self._cares_for(user):
                self._wake(user, "changed in JetStream")

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
    silent: PostgresError | None = None


class PostgresConnections:
    """Shared Postgres connections, by login.

    Args:
        wake: Called with every user of a connection that broke, and of a server that fell silent.
        clock: Monotonic seconds.
        answer_seconds: How long a server may take to answer the question whether it is there.
    """

    def __init__(
        self,
        wake: Callable[[Any, str], None],
        clock: Callable[[], float],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._entries: dict[PostgresTarget, _PostgresEntry] = {}
        self._closing = False

    @contextlib.asynccontextmanager
    async def lease(
        self, target: PostgresTarget, user: Any = None, *, fresh: bool = False
    ) -> AsyncIterator[PostgresAdmin]:
        """Administration over a connection for one pass; it goes back to the shelf afterwards.

        Args:
            target: The login.
            user: Who is woken when it breaks; None: nobody but those of before.
            fresh: Log in anew: a session of before says nothing of a password that was changed.

        Raises:
            PostgresError, CredentialsError, UnsupportedServerError: As `postgres.connect`.
        """
        entry = self._entries.setdefault(target, _PostgresEntry())
        if user is not None:
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
                    self._give_back(entry, connection, clean=clean)
        finally:
            entry.leases -= 1
            entry.used_at = self._clock()

    def silence(self, target: PostgresTarget) -> PostgresError | None:
        """Why a server is not to be waited for: it does not answer; None as far as is known."""
        entry = self._entries.get(target)
        return None if entry is None else entry.silent

    async def check(self) -> None:
        """Ask every server in use for a sign of life, and wake the users of those that change."""
        await asyncio.gather(*(self._check(*one) for one in list(self._entries.items())))

    async def _check(self, target: PostgresTarget, entry: _PostgresEntry) -> None:
        connection = self._idle(entry)
        if connection is None and not entry.leases:
            return  # nobody is there who could notice; the next one who comes will
        silent: PostgresError | None = None
        try:
            async with asyncio.timeout(self._answer_seconds):
                if connection is None:
                    # Those in use may be at work on something long; whether the server is there
                    # is asked beside them.
                    connection = await self._connect(target)
                with understood(target):
                    await PostgresAdmin(connection, target).ping()
        except TimeoutError:
            text = f"PostgreSQL at {target.address}: no answer within {self._answer_seconds:g} s"
            silent = PostgresError(text)
        except OutboxError as error:
            # A refusal is an answer.
            if isinstance(error, PostgresError) and error.reason == Reason.POSTGRES_UNREACHABLE:
                silent = error
        finally:
            self._give_back(entry, connection, clean=silent is None)
        if silent is not None:
            idle, entry.idle = entry.idle, deque()
            for _, other in idle:
                other.terminate()
        changed = (silent is None) is not (entry.silent is None)
        entry.silent = silent
        if changed:
            self._wake_users(entry, "postgres answers" if silent is None else "postgres is silent")

    def _idle(self, entry: _PostgresEntry) -> Any:
        while entry.idle:
            _, connection = entry.idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_back(self, entry: _PostgresEntry, connection: Any, *, clean: bool) -> None:
        """Onto the shelf; after an error nobody knows in which state the session is."""
        if connection is None:
            return
        room = len(entry.idle) < PER_TARGET
        if clean and room and not connection.is_closed() and not self._closing:
            entry.idle.append((self._clock(), connection))
        else:
            connection.terminate()

    async def _connect(self, target: PostgresTarget) -> Any:
        connection = await postgres.connect(
            target, application_name="outbox-operator", guarded=True
        )
        connection.add_termination_listener(lambda _: self._terminated(target))
        return connection

    async def _take(self, target: PostgresTarget, entry: _PostgresEntry, fresh: bool) -> Any:
        if not fresh and (connection := self._idle(entry)) is not None:
            return connection
        if entry.refused and self._clock() - entry.refused[0] < REFUSAL_SECONDS:
            raise copy.copy(entry.refused[1])
        refusal: OutboxError | None = None
        try:
            connection = await self._connect(target)
        except OutboxError as error:
            refusal = copy.copy(error)
        if refusal is not None:
            entry.refused = (self._clock(), refusal)
            raise copy.copy(refusal)
        entry.refused = None
        return connection

    def _terminated(self, target: PostgresTarget) -> None:
        entry = self._entries.get(target)
        if entry is None or self._closing:
            return
        lost = [c for _, c in entry.idle if c.is_closed()]
        if not lost:
            return  # closed on purpose, or in use by a pass that will see it
        self._wake_users(entry, "postgres disconnected")

    def _wake_users(self, entry: _PostgresEntry, trigger: str) -> None:
        for user in list(entry.users):
            self._wake(user, trigger)

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
