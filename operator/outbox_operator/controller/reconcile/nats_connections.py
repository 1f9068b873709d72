"""Connections to NATS that reconcilers share.

One per server and login, whatever the number of resources (hosted NATS limits connections). A
connection that breaks or comes back wakes every resource that used it, so that statuses follow
within moments instead of at the next resync.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from outbox_operator.adapters.nats import connection as nats_adapter
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.advisories import Heard, listen_for_changes
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.errors import disconnected_error
from outbox_operator.adapters.nats.frame_reader import AnswerRoom
from outbox_operator.controller.reconcile.places import IDLE_SECONDS, REFUSAL_SECONDS
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)


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
        self._rooms: WeakValueDictionary[str, AnswerRoom] = WeakValueDictionary()
        """By namespace."""

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
                    room=self._room(entry),
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

    def _room(self, entry: _NatsEntry) -> AnswerRoom:
        """Where large answers come in: that of a namespace which uses the login."""
        namespace = next((one.namespace for one in entry.users if isinstance(one, ObjectKey)), "")
        room = self._rooms.get(namespace)
        if room is None:
            room = self._rooms[namespace] = AnswerRoom()
        return room

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
