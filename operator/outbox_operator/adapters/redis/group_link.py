"""The two connections over which a consumer group is read, and what its errors mean.

Used by `group`. One connection waits for entries, which takes no other command meanwhile; answers
and questions go over the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from outbox_operator.adapters.redis.connection import Wire
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.scripts import Script
from outbox_operator.errors import OutboxError, RedisError
from outbox_operator.reasons import Reason
from outbox_operator.telemetry.readiness import ServerState

log = logging.getLogger(__name__)

_MISSING: Final = ("NOGROUP", "UNBLOCKED", "no such key")


class GroupLink:
    """Both connections. Make one with `GroupLink.open`.

    Args:
        login: Of both.
        where: Which group of which stream, for messages.

    Attributes:
        where: As given.
        reading: Waits for entries.
        answering: Takes everything else.
    """

    def __init__(self, login: RedisLogin, where: str, reading: Wire, answering: Wire) -> None:
        self.reading = reading
        self.answering = answering
        self._login = login
        self.where = where

    @classmethod
    async def open(
        cls,
        login: RedisLogin,
        *,
        name: str,
        where: str,
        state: ServerState,
        on_lost: Callable[[], None],
    ) -> GroupLink:
        """Connect and log in, twice.

        Args:
            name: Shown in the server's list of clients.
            state: Told how it went.
            on_lost: Called when a connection is gone, unless by `close`.

        Raises:
            OutboxError: The server is away or does not let us in, or the login is malformed.
        """
        with state.reporting():
            reading = await Wire.open(login, name=f"{name} reads", on_lost=on_lost)
            try:
                answering = await Wire.open(login, name=name, on_lost=on_lost)
            except BaseException:
                await reading.close()
                raise
        state.set(True, f"connected to {login.address}")
        return cls(login, where, reading, answering)

    @property
    def lost_as(self) -> OutboxError | None:
        """Why one of them is gone."""
        return self.reading.lost_as or self.answering.lost_as

    async def close(self) -> None:
        """End both at once."""
        await self.reading.close()
        await self.answering.close()

    async def ask(self, *command: str | bytes | int) -> Any:
        """Send a command and wait for its answer.

        Raises:
            OutboxError: The server refuses it, or is away.
        """
        try:
            return await self.answering.ask(self.where, *command)
        except RedisError as error:
            raise self.named(error) from error

    async def run(self, script: Script, key: str, *texts: str | bytes | int) -> Any:
        """Run a script over a key.

        Raises:
            OutboxError: As `ask`.
        """
        return await self.run_over([key], script, *texts)

    async def run_over(self, keys: list[str], script: Script, *texts: str | bytes | int) -> Any:
        """Run a script over some keys.

        Raises:
            OutboxError: As `ask`.
        """
        try:
            return await self.answering.run(self.where, script, keys, *texts)
        except RedisError as error:
            raise self.named(error) from error

    def named(self, error: RedisError) -> RedisError:
        """An error of the server, as what it means here."""
        if any(text in error.message for text in _MISSING):
            return RedisError(
                f"{self.where} does not exist at {self._login.address}: key or group is missing",
                reason=Reason.CONSUMER_MISSING,
            )
        return error

    async def groups(self, key: str) -> tuple[str, ...]:
        """Names of the groups of a key; none: it is not there. Raises OutboxError as `ask`."""
        try:
            found = await self.answering.ask(self.where, "XINFO", "GROUPS", key)
        except RedisError as error:
            if "no such key" in error.message:
                return ()
            raise
        names = (dict(zip(one[::2], one[1::2], strict=True)).get(b"name", b"") for one in found)
        return tuple(name.decode("utf-8", "replace") for name in names)

    async def still_in(self, keys: Iterable[str], group: str, reader: str) -> set[str]:
        """The keys in whose groups a reader still is that was given entries there.

        Of others it is said that they were made anew: nothing else tells, and entries may go by
        that nobody is given.

        Raises:
            OutboxError: As `ask`.
        """
        found = set[str]()
        for key in keys:
            readers = await self.ask("XINFO", "CONSUMERS", key, group)
            names = [dict(zip(one[::2], one[1::2], strict=True)).get(b"name") for one in readers]
            if reader.encode() in names:
                found.add(key)
                continue
            log.error(
                "%s: in key %s it was deleted and made anew while it was read here, or the name %s "
                "was taken out of it: what it skips, nobody is given",
                self.where, key, reader,
            )  # fmt: skip
        return found
