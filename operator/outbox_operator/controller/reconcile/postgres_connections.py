"""Connections to PostgreSQL that reconcilers share.

A few per login, closed when idle, and a bound on those of all logins at a server (`places`). A
connection that breaks wakes every resource that used it, so that statuses follow within moments
instead of at the next resync. So does a server that no longer answers: it is asked now and then
whatever the passes do, because the end of a statement that hangs is too late a sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.errors import understood
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.controller.reconcile.places import IDLE_SECONDS, REFUSAL_SECONDS, Places
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.reasons import Reason

Hosts: TypeAlias = tuple[tuple[str, int], ...]
"""Of a server, with their ports: as a login names them."""
PER_TARGET: Final = 2
"""Connections per login; more work waits its turn."""
PER_SERVER: Final = 20
"""Connections per server, unless a setting says otherwise."""
ANSWER_SECONDS: Final = 8.0
"""A server that has not answered within this time counts as silent."""


@dataclass
class _PostgresEntry:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PER_TARGET))
    users: set[Any] = field(default_factory=set)
    idle: deque[tuple[float, Any]] = field(default_factory=deque)
    leases: int = 0
    """Those who work with a connection, or wait for one."""
    used_at: float = 0.0
    refused: tuple[float, OutboxError] | None = None
    silent: PostgresError | None = None


class PostgresConnections:
    """Shared Postgres connections, by login.

    Args:
        wake: Called with every user of a connection that broke, and of a server that fell silent.
        clock: Monotonic seconds.
        answer_seconds: How long a server may take to answer the question whether it is there.
        per_server: So many connections to a server there may be, at least 2.
    """

    def __init__(
        self,
        wake: Callable[[Any, str], None],
        clock: Callable[[], float],
        answer_seconds: float = ANSWER_SECONDS,
        per_server: int = PER_SERVER,
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._per_server = per_server
        self._entries: dict[PostgresTarget, _PostgresEntry] = {}
        self._places: dict[Hosts, Places] = {}
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
            namespace = user.namespace if isinstance(user, ObjectKey) else ""
            async with entry.slots, self._places_at(target.hosts).work(namespace):
                connection = await self._take(target, entry, fresh)
                clean = False
                try:
                    yield PostgresAdmin(connection, target)
                    clean = True
                finally:
                    self._give_back(target, entry, connection, self._clock(), clean=clean)
        finally:
            entry.leases -= 1
            entry.used_at = self._clock()

    def silence(self, target: PostgresTarget) -> PostgresError | None:
        """Why a server is not to be waited for: it does not answer; None as far as is known."""
        entry = self._entries.get(target)
        return None if entry is None else entry.silent

    async def check(self) -> None:
        """Ask every server in use for a sign of life, and wake the users of those that change."""
        servers: dict[Hosts, list[PostgresTarget]] = {}
        for target in self._entries:
            servers.setdefault(target.hosts, []).append(target)
        await asyncio.gather(*map(self._check, servers.values()))

    async def _check(self, targets: Sequence[PostgresTarget]) -> None:
        """Those with a connection to spare are asked side by side, the others in turn.

        At many logins of a server that answers to none that would take minutes: it is silent to
        all who wait for it. One that answers to some may be a pooler, with a server for each.
        """
        spare = [one for one in targets if self._entries[one].idle]
        # Nobody else is there who could notice; the next one who comes will.
        waited = [one for one in targets if self._entries[one].leases and one not in spare]
        asked = [*spare, *waited[:1]]
        answers = await asyncio.gather(*map(self._ask, asked))
        for target, silent in zip(asked, answers, strict=True):
            self._heard(target, silent)
        dead = bool(answers) and None not in answers
        end = self._clock() + self._answer_seconds
        for target in waited[1:]:
            if dead:
                self._heard(target, self._silent(target))
            elif self._clock() < end:
                self._heard(target, await self._ask(target))

    async def _ask(self, target: PostgresTarget) -> PostgresError | None:
        """Why a server counts as silent; None: it has answered."""
        entry = self._entries.setdefault(target, _PostgresEntry())
        used_at, connection = self._idle(entry) or (self._clock(), None)
        silent: PostgresError | None = None
        entry.leases += 1  # it stays known while its connection is not on the shelf
        try:
            if connection is None:
                # Those in use may be at work on something long; whether the server is there
                # is asked beside them.
                try:
                    async with asyncio.timeout(self._answer_seconds):
                        await self._places_at(target.hosts).take()
                except TimeoutError:
                    return entry.silent  # that says nothing of the server
            async with asyncio.timeout(self._answer_seconds):
                if connection is None:
                    connection = await self._connect(target)
                with understood(target):
                    await PostgresAdmin(connection, target).ping()
        except TimeoutError:
            silent = self._silent(target)
        except OutboxError as error:
            # A refusal is an answer.
            if isinstance(error, PostgresError) and error.reason == Reason.POSTGRES_UNREACHABLE:
                silent = error
        finally:
            entry.leases -= 1
            # To be asked is no use: what nobody else uses is closed in its time.
            self._give_back(target, entry, connection, used_at, clean=silent is None)
        return silent

    def _silent(self, target: PostgresTarget) -> PostgresError:
        text = f"PostgreSQL at {target.address}: no answer within {self._answer_seconds:g} s"
        return PostgresError(text)

    def _heard(self, target: PostgresTarget, silent: PostgresError | None) -> None:
        entry = self._entries.get(target)
        if entry is None:
            return
        if silent is not None:
            idle, entry.idle = entry.idle, deque()
            for _, other in idle:
                other.terminate()
        changed = (silent is None) is not (entry.silent is None)
        entry.silent = silent
        if changed:
            self._wake_users(entry, "postgres answers" if silent is None else "postgres is silent")

    def _places_at(self, hosts: Hosts) -> Places:
        places = self._places.get(hosts)
        if places is None:
            places = self._places[hosts] = Places(self._per_server, lambda: self._spare(hosts))
        return places

    async def _spare(self, hosts: Hosts) -> bool:
        """Close the connection to a server that was not used for longest, of whatever login."""
        shelves = [one for target, one in self._entries.items() if target.hosts == hosts]
        shelf = min(
            (one for one in shelves if one.idle), key=lambda one: one.idle[0][0], default=None
        )
        if shelf is None:
            return False
        _, connection = shelf.idle.popleft()
        await _close_postgres(connection)
        return True

    def _idle(self, entry: _PostgresEntry) -> tuple[float, Any] | None:
        """One off the shelf, with the time of its last use."""
        while entry.idle:
            used_at, connection = entry.idle.pop()
            if not connection.is_closed():
                return used_at, connection
        return None

    def _give_back(
        self,
        target: PostgresTarget,
        entry: _PostgresEntry,
        connection: Any,
        used_at: float,
        *,
        clean: bool,
    ) -> None:
        """Onto the shelf; after an error nobody knows in which state the session is."""
        if connection is None:
            return
        room = len(entry.idle) < PER_TARGET
        if clean and room and not connection.is_closed() and not self._closing:
            entry.idle.append((used_at, connection))
            self._places_at(target.hosts).look()
        else:
            connection.terminate()

    async def _connect(self, target: PostgresTarget) -> Any:
        """A new connection, in a place that was taken for it."""
        places = self._places_at(target.hosts)
        try:
            connection = await postgres.connect(
                target, application_name="outbox-operator", guarded=True
            )
        except BaseException:
            places.leave()
            raise
        # Called once, whoever ends it.
        connection.add_termination_listener(lambda _: self._ended(target, places))
        return connection

    def _ended(self, target: PostgresTarget, places: Places) -> None:
        places.leave()
        self._terminated(target)

    async def _take(self, target: PostgresTarget, entry: _PostgresEntry, fresh: bool) -> Any:
        if not fresh and (found := self._idle(entry)) is not None:
            return found[1]
        if entry.refused and self._clock() - entry.refused[0] < REFUSAL_SECONDS:
            raise copy.copy(entry.refused[1])
        refusal: OutboxError | None = None
        await self._places_at(target.hosts).take()
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
        for hosts, places in list(self._places.items()):
            if places.is_unused:
                del self._places[hosts]

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
