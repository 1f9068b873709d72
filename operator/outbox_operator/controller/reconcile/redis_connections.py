"""Connections to Redis that reconcilers share: one per server and login.

Redis has no word for what changed at a key, so passes look; a connection that breaks wakes every
resource that used it, so that statuses follow within moments.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.controller.reconcile.places import IDLE_SECONDS, REFUSAL_SECONDS
from outbox_operator.errors import OutboxError

if TYPE_CHECKING:
    from outbox_operator.adapters.redis.admin import RedisAdmin

log = logging.getLogger(__name__)


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: set[Any] = field(default_factory=set)
    admin: RedisAdmin | None = None
    used_at: float = 0.0
    refused: tuple[float, OutboxError] | None = None


class RedisConnections:
    """Shared connections to Redis, by login.

    Args:
        wake: Called with every user of a connection that broke.
        clock: Monotonic seconds.
    """

    def __init__(self, wake: Callable[[Any, str], None], clock: Callable[[], float]) -> None:
        self._wake = wake
        self._clock = clock
        self._entries: dict[RedisLogin, _Entry] = {}

    async def admin(self, login: RedisLogin, user: Any) -> RedisAdmin:
        """Administration over the shared connection of a login.

        Args:
            login: The login.
            user: Who is woken when the connection breaks.

        Raises:
            RedisError: Unreachable; names address and reason.
            CredentialsError: The server refused the login.
        """
        # Here, because the driver takes 8 MiB, and most clusters have no Redis.
        from outbox_operator.adapters.redis.admin import RedisAdmin

        entry = self._entries.setdefault(login, _Entry())
        entry.users.add(user)
        entry.used_at = self._clock()
        async with entry.lock:
            if entry.admin is not None and entry.admin.lost:
                await _close(entry)
            if entry.admin is not None:
                return entry.admin
            if entry.refused and self._clock() - entry.refused[0] < REFUSAL_SECONDS:
                raise copy.copy(entry.refused[1])
            try:
                entry.admin = await RedisAdmin.open(
                    login, name="outbox-operator", on_lost=lambda: self._broke(login)
                )
            except OutboxError as error:
                entry.refused = (self._clock(), copy.copy(error))
                raise
            entry.refused = None
            return entry.admin

    def _broke(self, login: RedisLogin) -> None:
        entry = self._entries.get(login)
        log.info("redis disconnected", extra={"address": login.address})
        for user in list(entry.users) if entry else ():
            self._wake(user, "redis disconnected")

    def forget(self, user: Any) -> None:
        """A resource is gone: do not wake it any more."""
        for entry in self._entries.values():
            entry.users.discard(user)

    async def sweep(self) -> None:
        """Close what nobody used for a while (rotated credentials, deleted resources)."""
        for login, entry in list(self._entries.items()):
            if self._clock() - entry.used_at > IDLE_SECONDS and not entry.lock.locked():
                del self._entries[login]
                await _close(entry)

    async def close(self) -> None:
        """Close all."""
        entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            await _close(entry)


async def _close(entry: _Entry) -> None:
    admin, entry.admin = entry.admin, None
    if admin is not None:
        await admin.close()
