"""Redis Streams as a sink of the relay: a key for each shard, entries with ids of our own.

Called by the relay through `adapters.sink`. A stream has a companion, a hash with the time of its
creation, and who may append: `made_stream` makes both. What is not of this process is in scripts.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from outbox_operator.adapters.redis.connection import ANSWER_SECONDS, Listener, Wire
from outbox_operator.adapters.redis.entries import (
    DATA_FIELD,
    LARGEST_NUMBER,
    companion,
    parse_id,
    tail_message,
)
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.run import RedisRun
from outbox_operator.adapters.redis.scripts import OF_RELAY, READ, SHUT_OUT
from outbox_operator.adapters.sink import Fence, Owner, StreamFacts, TailMessage
from outbox_operator.errors import OutboxError, RedisError, SpecError
from outbox_operator.reasons import Reason

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""As NATS takes by default: events of a pipeline fit wherever it publishes to."""
_READ_ENTRIES: Final = 500
_MOST_BYTES: Final = 64 * 1024
"""Of a field that is no payload; longer ones are somebody else's."""
_EVICTING: Final = "allkeys-"
"""Policies that take keys away which are to stay."""


class RedisSink:
    """See `Sink`. Make one with `RedisSink.open`."""

    def __init__(
        self, login: RedisLogin, name: str, largest: int, read_login: Callable[[], RedisLogin]
    ) -> None:
        self._login = login
        self._name = name
        self._largest = largest
        self._read_login = read_login
        self._wire: Wire | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lost_as: OutboxError | None = None

    @classmethod
    async def open(
        cls,
        read_login: Callable[[], RedisLogin],
        *,
        name: str,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> RedisSink:
        """Connect.

        Args:
            read_login: Reads how to log in, which may change.
            name: Shown in the server's list of clients.
            max_message_bytes: Larger messages are refused.
            answer_seconds: Longest silence of the server while an answer is due.

        Raises:
            OutboxError: The server is away or does not let us in, or the login is malformed.
        """
        sink = cls(read_login(), name, max_message_bytes, read_login)
        sink._wire = await Wire.open(
            sink._login, name=name, on_lost=sink._mark_lost, answer_seconds=answer_seconds
        )
        return sink

    @property
    def address(self) -> str:
        """See `Sink`."""
        return self._login.address

    @property
    def lost(self) -> bool:
        """See `Sink`."""
        return self._lost_as is not None or self._live.lost_as is not None

    @property
    def _live(self) -> Wire:
        if self._wire is None:
            raise ValueError("a sink is made with RedisSink.open")
        return self._wire

    def on_lost(self, callback: Callable[[], None]) -> None:
        """See `Sink`."""
        self._callbacks.append(callback)

    def lost_error(self) -> OutboxError:
        """See `Sink`."""
        found = self._lost_as or self._live.lost_as
        return found or RedisError(f"Redis at {self.address}: the connection was lost")

    def end_if_outdated(self) -> None:
        """See `Sink`."""
        if self._read_login() != self._login:
            self._live.fail(
                RedisError(f"Redis at {self.address}: there is a new login, connecting anew")
            )

    async def facts(self, subjects: str) -> StreamFacts:
        """See `Sink`."""
        doing = f"stream {subjects}"
        for script in OF_RELAY:  # a restart, or SCRIPT FLUSH, makes the server forget them
            await self._live.ask(doing, "SCRIPT", "LOAD", script.text)
        created = await self._live.ask(doing, "HGET", companion(subjects), "created")
        if created is None:
            raise _missing(self.address, companion(subjects))
        await self._check_memory(doing)
        taken = await self.last_sequence(subjects)
        if taken > LARGEST_NUMBER:
            raise RedisError(
                f"Redis at {self.address}: somebody else has published to stream {subjects} with "
                f"id {taken}: no larger one is left for events. Delete the key; the operator makes "
                "it anew",
                reason=Reason.FOREIGN_ENTRIES,
            )
        return StreamFacts(
            stream=subjects,
            subjects=(">",),
            max_message_bytes=self._largest,
            keeps_tail=True,
            duplicate_window_seconds=0,
            fences=True,
            republishes=False,
            unfit="",
            created=created.decode(),
            taken=taken,
        )

    def open_run(
        self,
        *,
        owner: Owner,
        fence: Fence | None,
        ordered: bool,
        subjects: str,
        on_ack: Callable[[int, float], None] | None = None,
    ) -> RedisRun:
        """See `Sink`."""
        return RedisRun(
            self._live, key=subjects, owner=owner, fence=fence, ordered=ordered,
            largest=self._largest, on_ack=on_ack,
        )  # fmt: skip

    async def shut_out(self, owner: Owner, subjects: str, last: TailMessage | None) -> bool:
        """See `Sink`."""
        key = companion(subjects)
        doing = f"stream {subjects}: become its publisher"
        what, found = await self._live.run(doing, SHUT_OUT, [key], owner.name, owner.epoch)
        if what == b"MISSING":
            raise _missing(self.address, key)
        if what == b"OWNER":
            raise RedisError(
                f"Redis at {self.address}: stream {subjects} knows a later owner of the shard, of "
                f"epoch {found.decode()}; ours is {owner.epoch}. If the database was restored to "
                f"an earlier time, HDEL {key} epoch",
                reason=Reason.FENCE_REFUSED,
            )
        return True

    async def last_of(self, subjects: str) -> TailMessage | None:
        """See `Sink`."""
        found = await self._read(subjects, "XREVRANGE", "+", "-", 1)
        return found[0] if found else None

    async def last_sequence(self, subjects: str) -> int:
        """See `Sink`."""
        try:
            found = await self._live.ask(f"stream {subjects}", "XINFO", "STREAM", subjects)
        except RedisError as error:
            if "no such key" in error.message:
                raise _missing(self.address, subjects) from error
            raise
        info: dict[bytes, Any] = dict(zip(found[::2], found[1::2], strict=True))
        return parse_id(info[b"last-generated-id"])[0]

    async def message_at(self, subjects: str, sequence: int) -> TailMessage | None:
        """See `Sink`."""
        found = await self._read(subjects, "XRANGE", f"{sequence}-0", f"{sequence}-0", 1)
        return found[0] if found else None

    async def tail(self, subjects: str, after_sequence: int) -> AsyncIterator[TailMessage]:
        """See `Sink`."""
        at = after_sequence
        while True:
            # What another has put between two numbers of ours is passed over with the first.
            found = await self._read(subjects, "XRANGE", f"{at + 1}-0", "+", _READ_ENTRIES)
            for message in found:
                yield message
            if len(found) < _READ_ENTRIES:
                return
            at = found[-1].sequence

    async def listen(
        self, subject: str, callback: Callable[[], None], accepted: Callable[[], None]
    ) -> OutboxError:
        """See `Sink`. Over a connection of its own: one that listens takes no other command."""
        return await Listener.listen(self._login, self._name, subject, callback, accepted)

    async def close(self) -> None:
        """See `Sink`."""
        self._callbacks.clear()
        await self._live.close()

    async def _read(
        self, key: str, command: str, first: str, last: str, most: int
    ) -> Sequence[TailMessage]:
        found = await self._live.run(
            f"stream {key}: read entries", READ, [key],
            command, first, last, most, DATA_FIELD.decode(), _MOST_BYTES,
        )  # fmt: skip
        return [tail_message(key, entry) for entry in found]

    async def _check_memory(self, doing: str) -> None:
        """Refuse a server that takes keys away which are to stay."""
        text: bytes = await self._live.ask(doing, "INFO", "memory")
        lines = dict(
            line.split(":", 1)
            for line in text.decode("utf-8", "replace").splitlines()
            if ":" in line
        )
        policy = lines.get("maxmemory_policy", "")
        if policy.startswith(_EVICTING) and lines.get("maxmemory", "0") != "0":
            raise SpecError(
                f"Redis at {self.address}: maxmemory-policy {policy} takes streams away when "
                "memory is short: events would be lost. Set noeviction, or a policy for keys that "
                "expire (volatile-…)"
            )

    def _mark_lost(self) -> None:
        self._lost_as = self._live.lost_as if self._wire is not None else None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            with contextlib.suppress(Exception):
                callback()


def _missing(address: str, key: str) -> RedisError:
    return RedisError(f"Redis at {address}: there is no key {key}", reason=Reason.STREAM_NOT_FOUND)
