"""Answers for entries of a consumer group: acknowledged, at work, to be handled again later.

Used by `group`. Answers outlive the connection: those that a server may not have got are given
again on the next one, which changes nothing where it had.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from outbox_operator.adapters.redis.group_entry import Place
from outbox_operator.adapters.redis.group_link import GroupLink
from outbox_operator.adapters.redis.scripts import KEEP
from outbox_operator.errors import OutboxError, RedisError

_MOST_WAITING: Final = 100_000
"""Acknowledgements kept while the server is away; what does not fit comes again."""
_AT_ONCE: Final = 1000
"""Ids in a command: the server does nothing else meanwhile."""
_MOST_SECONDS: Final = 86_400.0 * 30
Answered = dict[int, Place]
"""By sequence."""


class GroupAnswers:
    """What is to be said to the server, and what waits here for its time.

    Args:
        group: Name of the group.
        reader: The name under which this process reads.
        on_refused: Called with the sequences of entries whose acknowledgement the server refused,
            and why.
        on_due: Called when some of `due` may be handled again, or less rests here.
        on_deleted: Called with a key, and how many of its entries were deleted that are to be kept.

    Attributes:
        due: Entries that rested long enough.
    """

    def __init__(
        self,
        group: str,
        reader: str,
        *,
        on_refused: Callable[[list[int], OutboxError], None],
        on_due: Callable[[], None],
        on_deleted: Callable[[str, int], None],
    ) -> None:
        self.due: Answered = {}
        self._group = group
        self._reader = reader
        self._on_refused = on_refused
        self._on_due = on_due
        self._on_deleted = on_deleted
        self._link: GroupLink | None = None
        self._acks: Answered = {}
        self._sent: Answered = {}
        self._beats: Answered = {}
        self._flushing = False
        self._sending: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._rests: dict[int, tuple[Place, float, asyncio.TimerHandle]] = {}

    def use(self, link: GroupLink) -> None:
        """Answer over new connections from now on, what the last ones may have lost first."""
        self._link = link
        self._acks = {**self._sent, **self._acks}
        self._sent = {}
        self.flush()

    def lost(self) -> None:
        """The connection is gone."""
        self._link = None
        self._settled.set()

    def ack(self, entry: Place) -> None:
        """See `Entry`."""
        if len(self._acks) + len(self._sent) >= _MOST_WAITING:
            raise RedisError(f"group {self._group}: {_MOST_WAITING} acknowledgements are not sent")
        self._acks[entry.sequence] = entry
        self._soon()

    def in_progress(self, entry: Place) -> None:
        """See `Entry`."""
        self._beats[entry.sequence] = entry
        self._soon()

    def rest(self, entry: Place, seconds: float) -> None:
        """Have an entry handled again, after some seconds."""
        seconds = min(seconds, _MOST_SECONDS)
        self.forget(entry.sequence)
        timer = asyncio.get_running_loop().call_later(seconds, self._rested, entry.sequence)
        self._rests[entry.sequence] = entry, time.monotonic() + seconds, timer

    def _rested(self, sequence: int) -> None:
        self.due[sequence] = self._rests.pop(sequence)[0]
        self._on_due()

    @property
    def resting(self) -> int:
        """How many entries wait here for their next try."""
        return len(self._rests) + len(self.due)

    def forget(self, sequence: int) -> None:
        """An entry came again by itself, or another reader has it."""
        rested = self._rests.pop(sequence, None)
        if rested is not None:
            rested[2].cancel()
        self.due.pop(sequence, None)

    def acknowledged(self, sequence: int) -> bool:
        """Whether the acknowledgement of an entry is under way."""
        return sequence in self._acks or sequence in self._sent

    def keep_resting(self) -> None:
        """Say of what waits here that it is not left alone."""
        self._beats.update({number: each[0] for number, each in self._rests.items()})
        self._beats.update(self.due)
        self._soon()

    def _soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what there is, if the connection is up."""
        self._flushing = False
        if self._sending is None and self._link is not None and (self._acks or self._beats):
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """What comes meanwhile goes together with the next command."""
        try:
            while self._link is not None and (self._acks or self._beats):
                await self._send_acks(self._link)
                await self._send_beats(self._link)
        except OutboxError as error:
            # That we are at work the server does not want to hear: others are going to be given it.
            if self._link is not None and self._link.lost_as is None:
                self._on_refused([], error)
        finally:
            self._sending = None
            self._settled.set()

    async def _send_acks(self, link: GroupLink) -> None:
        acks, self._acks = self._acks, {}
        self._sent.update(acks)
        for key, entries in _by_key(acks):
            refused: OutboxError | None = None
            try:
                await link.ask("XACK", key, self._group, *(entry.id for entry in entries))
            except OutboxError as error:
                if link.lost_as is not None:
                    raise
                refused = error
            for entry in entries:
                self._sent.pop(entry.sequence, None)
            if refused is not None:
                self._on_refused([entry.sequence for entry in entries], refused)
            self._settled.set()

    async def _send_beats(self, link: GroupLink) -> None:
        beats, self._beats = self._beats, {}
        for key, entries in _by_key(beats):
            await self._keep(link, key, entries, 0.0)

    async def _keep(self, link: GroupLink, key: str, entries: list[Place], alone: float) -> None:
        """Say of entries that they have been left alone for so many seconds."""
        gone, deleted = await link.run(
            KEEP, key, self._group, self._reader, int(alone * 1000),
            *(entry.id for entry in entries),
        )  # fmt: skip
        missing = set(gone)
        for entry in entries:
            if entry.id in missing:
                self.forget(entry.sequence)
        if deleted:
            self._on_deleted(key, int(deleted))
        if missing:
            self._on_due()

    async def confirm(self) -> None:
        """Wait until the server has said something to each acknowledgement given so far.

        Raises:
            RedisError: The connection is lost.
        """
        given = {**self._acks, **self._sent}
        while any(self.acknowledged(sequence) for sequence in given):
            if self._link is None:
                raise RedisError(f"group {self._group}: acknowledgements wait for Redis")
            self._settled.clear()
            self.flush()
            await self._settled.wait()

    async def give_up(self, ack_wait: float) -> None:
        """Let every reader have what rests here, as soon as it is due.

        Raises:
            OutboxError: The server is away; then they have it after ackWait.
        """
        now = time.monotonic()
        left = [(entry, due) for entry, due, _ in self._rests.values()]
        left += [(entry, now) for entry in self.due.values()]
        for entry, _ in left:
            self.forget(entry.sequence)
        at_once: Answered = {}
        for entry, due in left:
            if due <= now:
                at_once[entry.sequence] = entry
            elif self._link is not None:
                alone = max(0.0, ack_wait - (due - now))
                await self._keep(self._link, entry.key, [entry], alone)
        for key, entries in _by_key(at_once):
            if self._link is not None:
                await self._keep(self._link, key, entries, ack_wait)


def _by_key(answered: Answered) -> list[tuple[str, list[Place]]]:
    """Entries of each key, so many in a list as go into a command."""
    keys: dict[str, list[Place]] = {}
    for entry in answered.values():
        keys.setdefault(entry.key, []).append(entry)
    return [
        (key, entries[at : at + _AT_ONCE])
        for key, entries in keys.items()
        for at in range(0, len(entries), _AT_ONCE)
    ]
