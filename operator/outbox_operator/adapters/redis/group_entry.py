"""One entry of a stream, as a consumer group delivers it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from outbox_operator.adapters.redis.entries import content, parse_id
from outbox_operator.wire.durable import Durable
from outbox_operator.wire.headers import EVENT_TIME
from outbox_operator.wire.times import parse_time

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST: Final = 253_402_300_799_000
"""Milliseconds since 1970 that a time may have."""


class Place(NamedTuple):
    """Which entry it is, without what is in it: what waits for its time takes up no more than this.

    Attributes:
        key: The key it is in.
        id: As the server writes it.
        sequence: That of its delivery.
    """

    key: str
    id: bytes
    sequence: int


class Answering(Protocol):
    """Takes the answers for entries: the group that they came from."""

    epoch: int
    durable: Durable

    def ack(self, entry: Entry) -> None:
        """See `Delivery`."""

    def rest(self, entry: Entry, seconds: float) -> None:
        """See `Delivery.nak`."""

    def in_progress(self, entry: Entry) -> None:
        """See `Delivery`."""

    async def confirm(self) -> None:
        """See `Source`."""

    async def store_letter(self, entry: Entry, key: str, headers: Mapping[str, str]) -> bool:
        """See `Delivery.store_copy`."""


class Entry:
    """See `Delivery`.

    Args:
        source: Its group.
        place: Which of the group's keys it is in, and how many there are.
        key: Name of that.
        entry_id: As the server writes it.
        texts: Names and values of its fields in turn.
        deliveries: How often it was delivered.

    Attributes:
        id: As given.
    """

    __slots__ = ("_source", "data", "deliveries", "epoch", "headers", "id", "sequence", "stream")

    def __init__(
        self,
        source: Answering,
        place: tuple[int, int],
        key: str,
        entry_id: bytes,
        texts: Sequence[bytes],
        deliveries: int,
    ) -> None:
        number, part = parse_id(entry_id)
        index, keys = place
        self._source = source
        self.id = entry_id
        self.stream = key
        self.sequence = ((number << 64) | part) * keys + index
        self.deliveries = deliveries
        self.epoch = source.epoch
        self.headers, self.data = content(key, entry_id, texts)

    @property
    def place(self) -> Place:
        """Which it is."""
        return Place(self.stream, self.id, self.sequence)

    @property
    def number(self) -> int:
        """How the stream counts it: that of the event in its shard."""
        return int(self.id.partition(b"-")[0])

    @property
    def subject(self) -> str:
        """The key it is in."""
        return self.stream

    @property
    def durable(self) -> Durable:
        """What it came through."""
        return self._source.durable

    def when_stored(self) -> dt.datetime:
        """When its event was written; an entry of somebody else has the time in its id."""
        written = parse_time(self.headers.get(EVENT_TIME))
        if written is not None:
            return written
        return _EPOCH + dt.timedelta(milliseconds=min(self.number, _LATEST))

    def replaces(self, other: Entry) -> bool:
        """Whether an answer must be given to this one: a new session has a new group."""
        return self._source is not other._source

    def ack(self) -> None:
        """It is done.

        Raises:
            RedisError: More answers wait than are kept; it comes again.
        """
        self._source.ack(self)

    def nak(self, seconds: float = 0.0) -> None:
        """Deliver it again, after `seconds`."""
        self._source.rest(self, seconds)

    def term(self, reason: str) -> None:
        """Never deliver it again; Redis keeps no reasons.

        Raises:
            RedisError: As `ack`.
        """
        self._source.ack(self)

    def in_progress(self) -> None:
        """Nobody else is to be given it for another ackWait."""
        self._source.in_progress(self)

    async def confirm(self) -> None:
        """See `Source`."""
        await self._source.confirm()

    async def store_copy(self, subject: str, headers: Mapping[str, str]) -> bool:
        """Put a copy into another stream, and acknowledge this one with it.

        Returns:
            Whether it was stored; not if another reader has acknowledged the entry meanwhile.

        Raises:
            OutboxError: Another reader has it, or the server is away, full, or refuses.
        """
        return await self._source.store_letter(self, subject, headers)
