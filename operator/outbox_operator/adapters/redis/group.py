"""Reads a consumer group of one or several streams: entries, answers, what others left, letters.

Called by the consumer runtime through `adapters.source`. The object outlives its connections:
`open` makes new ones, and answers that were under way are given again. Entries wait in Redis for
the reader that has them; what nobody spoke of for `ackWait` is taken over by whoever looks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from outbox_operator.adapters.redis.connection import ANSWER_SECONDS
from outbox_operator.adapters.redis.errors import said
from outbox_operator.adapters.redis.event_types import EventTypes
from outbox_operator.adapters.redis.group_answers import GroupAnswers
from outbox_operator.adapters.redis.group_entry import Entry
from outbox_operator.adapters.redis.group_letters import store_letter
from outbox_operator.adapters.redis.group_link import GroupLink
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.scripts import LEAVE, RETAKE, TAKE_OVER
from outbox_operator.adapters.source import Others, Unanswered
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError, RedisError
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.durable import Durable

log = logging.getLogger(__name__)

READER_PREFIX: Final = "outbox:"
"""Of the names under which processes of ours read; they are removed when they are gone."""
MOST_RESTING: Final = 1000
"""Entries that wait here for another try before nothing new is read."""
_BLOCK_SECONDS: Final = 0.5
"""How long the server holds a request for new entries."""
_LOOK_SECONDS: Final = 1.0
"""Between two looks for what others left."""
_AT_ONCE: Final = 500
_GONE_SECONDS: Final = 3600.0
"""After so long without a word a reader with nothing pending is removed."""
_TIDY_SECONDS: Final = 300.0
_FIRST: Final = b"0-0"
_epochs: Final = itertools.count(1)


class RedisGroup:
    """See `Source`. A reader of a group over the keys of a stream's shards.

    Args:
        read_login: Reads how to log in, which may change.
        name: Shown in the server's list of clients.
        stream: Name of the stream.
        keys: Of its shards.
        group: The group, which exists on each.
        event_types: Types of events to deliver, with wildcards as in subjects; others are
            acknowledged at once. Empty: all.
        ack_wait: Seconds after which others are given what nobody speaks of.
        state: Kept up to date while there is a connection.
        on_delivery: Called for each entry.
        on_change: Called when `requested`, `failure` or `epoch` changed.
        on_refused: Called with the sequence of an entry when the server refused an answer to it.

    Attributes:
        reader: The name under which this process reads; no two have the same.
    """

    ack_all: Final = False
    silent: Final = False
    """A connection without a sign of life is given up by itself."""
    most_in_flight: Final = MOST_RESTING

    def __init__(
        self,
        read_login: Callable[[], RedisLogin],
        *,
        name: str,
        stream: str,
        keys: Sequence[str],
        group: str,
        event_types: Collection[str] = (),
        ack_wait: float,
        state: ServerState,
        on_delivery: Callable[[Entry], None],
        on_change: Callable[[], None],
        on_refused: Callable[[int], None],
    ) -> None:
        self.reader = f"{READER_PREFIX}{os.uname().nodename}:{secrets.token_hex(4)}"
        self.requested = 0
        self.failure: OutboxError | None = None
        self.epoch = next(_epochs)
        self.ack_wait = math.inf
        self.unanswered_before = 0
        self.durable = Durable(stream, "", " ".join(sorted(event_types)), one_reader=False)
        self._login = read_login()
        self._read_login = read_login
        self._name = name
        self._keys = list(keys)
        self._group = group
        self._types = EventTypes(event_types)
        self._ack_wait = ack_wait
        self._state = state
        self._on_delivery = on_delivery
        self._on_change = on_change
        self._on_refused = on_refused
        self._where = f"group {group!r} of stream {stream}"
        self._link: GroupLink | None = None
        self._reading: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        self._retaking: asyncio.Task[None] | None = None
        self._closing = True
        self._wanted = asyncio.Event()
        self._cursors = dict.fromkeys(self._keys, _FIRST)
        self._given: set[str] = set()
        """Keys of which there came entries: our name is in their groups."""
        self._look_at = 0.0
        self._answers = GroupAnswers(
            group, self.reader, on_refused=self._refused, on_due=self._retake_due,
            on_deleted=self._say_deleted,
        )  # fmt: skip

    @property
    def connected(self) -> bool:
        """Whether the connections are up."""
        return self._link is not None and self.failure is None

    @property
    def has_new_login(self) -> bool:
        """Whether the files say otherwise than when we connected."""
        with contextlib.suppress(OutboxError):
            return self._read_login() != self._login
        return False

    async def open(self) -> None:
        """See `Source`."""
        await self.close()
        await self._cut()
        self._login = self._read_login()
        self.failure = None
        self._link = link = await GroupLink.open(
            self._login, name=self._name, where=self._where, state=self._state,
            on_lost=self._lost,
        )  # fmt: skip
        self._given = await link.still_in(self._given, self._group, self.reader)
        for key in self._keys:  # what changes nothing but our name, and shows that we may
            await link.ask("XCLAIM", key, self._group, self.reader, 0, _FIRST, "JUSTID")
            await link.ask("XACK", key, self._group, _FIRST)
        self._answers.use(link)
        self.ack_wait = self._ack_wait
        self.requested = 0
        self.epoch = next(_epochs)
        await self.verify()
        self._closing = False
        self._look_at = 0.0
        self._reading = asyncio.create_task(self._read(link))
        self._tending = asyncio.create_task(self._tend(link))

    async def others(self) -> Others:
        """See `Source`: the groups of the first key."""
        names = () if self._link is None else await self._link.groups(self._keys[0])
        return Others(f"groups of key {self._keys[0]}", names)

    async def close(self) -> None:
        """See `Source`."""
        self._closing = True
        self._wanted.set()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        self._reading = None

    async def end(self) -> None:
        """Give back what waits here, take the name out of the group, and disconnect."""
        await self.close()
        if self._link is not None:
            with contextlib.suppress(OutboxError):
                await self._answers.confirm()
                await self._answers.give_up(self._ack_wait)
                for key in self._keys:
                    await self._link.run(LEAVE, key, self._group, self.reader)
        await self._cut()

    async def _cut(self) -> None:
        for task in (self._tending, self._retaking):
            if task is not None:
                task.cancel()
        self._answers.lost()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _lost(self) -> None:
        error = None if self._link is None else self._link.lost_as
        if error is not None:
            if not self._closing:
                self._state.set(False, error.message)
            self.fail(error)

    def fail(self, error: OutboxError) -> None:
        """Say why nothing can arrive any more."""
        if self.failure is None:
            self.failure = error
            self._answers.lost()
            self._wanted.set()
            self._on_change()

    def forget_requests(self) -> None:
        """See `Source`."""
        self.requested = 0

    async def request(self, count: int) -> None:
        """See `Source`."""
        if self.connected and not self._closing:
            self.requested += count
            self._retake_due()

    def flush(self) -> None:
        """See `Source`."""
        self._answers.flush()

    async def confirm(self) -> None:
        """See `Source`."""
        await self._answers.confirm()

    async def verify(self) -> None:
        """See `Source`."""
        self.unanswered_before = (await self.unanswered()).count

    async def in_the_way(self) -> int:
        """See `Source`: what others have is in nobody's way."""
        return self._answers.resting

    async def unanswered(self) -> Unanswered:
        """See `Source`."""
        await self._answers.confirm()
        if self._link is None:
            raise self.failure or RedisError(f"{self._where}: not connected")
        count = 0
        for key in self._keys:
            count += int((await self._link.ask("XPENDING", key, self._group))[0])
        return Unanswered(count, after=-1)

    @property
    def _room(self) -> int:
        """How many entries may be read now."""
        return min(self.requested, MOST_RESTING - self._answers.resting, _AT_ONCE)

    async def _read(self, link: GroupLink) -> None:
        """Deliver what is requested: what others left first, then what is new."""
        try:
            while not self._closing:
                now = time.monotonic()
                if self._room <= 0:
                    self._wanted.clear()
                    await self._wanted.wait()
                elif now >= self._look_at:
                    await self._look(link)
                else:
                    await self._read_new(link, min(_BLOCK_SECONDS, self._look_at - now))
        except RedisError as error:
            self.fail(link.named(error))
        except OutboxError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - what no Redis answers would end this in silence
            kind = type(error).__name__
            self.fail(RedisError(f"{self._where}: no answer as Redis gives ({kind})"))

    async def _look(self, link: GroupLink) -> None:
        """Take over what nobody has spoken of for too long."""
        again = False
        for index, key in enumerate(self._keys):
            if self._room <= 0 or self._closing:
                return
            self._cursors[key], entries, deleted = await link.run(
                TAKE_OVER, key, self._group, self.reader, int(self._ack_wait * 1000),
                self._cursors[key], self._room,
            )  # fmt: skip
            self._say_deleted(key, int(deleted))
            self._deliver(index, entries)
            again = again or self._cursors[key] != _FIRST
        if not again:
            self._look_at = time.monotonic() + min(_LOOK_SECONDS, self._ack_wait / 4)

    async def _read_new(self, link: GroupLink, seconds: float) -> None:
        answer = await link.reading.send(
            "XREADGROUP", "GROUP", self._group, self.reader,
            "COUNT", max(1, self._room // len(self._keys)),
            "BLOCK", max(1, int(seconds * 1000)),
            "STREAMS", *self._keys, *[">"] * len(self._keys),
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds + ANSWER_SECONDS):
                found = await answer
        except TimeoutError:
            link.reading.fail(link.reading.silent())
            return
        if isinstance(found, ResponseError):
            raise link.reading.refused(said(found), self._where)
        for key, entries in found or ():
            self._given.add(key.decode())
            new = [(each, texts, 1) for each, texts in entries if texts]
            self._deliver(self._keys.index(key.decode()), new)

    def _deliver(self, index: int, entries: Sequence[Sequence[Any]]) -> None:
        key, keys = self._keys[index], len(self._keys)
        for entry_id, texts, deliveries in entries:
            entry = Entry(self, (index, keys), key, entry_id, texts, int(deliveries))
            self._answers.forget(entry.sequence)
            if self._answers.acknowledged(entry.sequence):
                continue
            if not self._types.wants(texts):
                self._answers.ack(entry.place)
                continue
            self.requested = max(0, self.requested - 1)
            try:
                self._on_delivery(entry)
            except Exception:
                # A bug of ours, which would end the task that reads, without a word.
                log.exception("%s: entry %r not taken, it comes again", self._where, entry_id)

    def _say_deleted(self, key: str, count: int) -> None:
        if count:
            log.error(
                "%s: key %s: %s deleted or trimmed before anybody had acknowledged it; what no "
                "handler has now nobody handles any more",
                self._where, key, counted(count, "entry was", "entries were"),
            )  # fmt: skip

    async def _tend(self, link: GroupLink) -> None:
        """Keep what waits here from others, and take names out that nobody uses any more."""
        tidied = time.monotonic()
        gone = int(_GONE_SECONDS * 1000)
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            self._answers.keep_resting()
            if time.monotonic() - tidied > _TIDY_SECONDS:
                tidied = time.monotonic()
                with contextlib.suppress(OutboxError):  # a name too many does no harm
                    for key in self._keys:
                        await link.run(LEAVE, key, self._group, "", READER_PREFIX, gone)

    def _retake_due(self) -> None:
        """Have what rested long enough delivered again, as far as it is requested; read on."""
        self._wanted.set()
        if self._retaking is not None and not self._retaking.done():
            return
        if self._answers.due and self.requested and self._link is not None and not self._closing:
            self._retaking = asyncio.create_task(self._retake(self._link))

    async def _retake(self, link: GroupLink) -> None:
        try:
            while self._answers.due and self.requested and not self._closing:
                due = self._answers.due
                key = next(iter(due.values())).key
                here = [each for each in due.values() if each.key == key]
                taken = here[: min(self.requested, _AT_ONCE)]
                _, entries, deleted = await link.run(
                    RETAKE, key, self._group, self.reader, *(each.id for each in taken)
                )
                for each in taken:
                    self._answers.forget(each.sequence)
                self._say_deleted(key, int(deleted))
                self._deliver(self._keys.index(key), entries)
                self._wanted.set()
        except OutboxError as error:
            if link.lost_as is None:  # else whoever owns it is told
                self.fail(error)

    def _refused(self, sequences: list[int], error: OutboxError) -> None:
        for sequence in sequences:
            self._on_refused(sequence)
        self.fail(error)

    # What entries answer.

    def ack(self, entry: Entry) -> None:
        """See `Entry`."""
        self._answers.ack(entry.place)

    def rest(self, entry: Entry, seconds: float) -> None:
        """See `Entry`."""
        self._answers.rest(entry.place, seconds)

    def in_progress(self, entry: Entry) -> None:
        """See `Entry`."""
        self._answers.in_progress(entry.place)

    async def store_letter(self, entry: Entry, key: str, headers: Mapping[str, str]) -> bool:
        """See `Entry`."""
        if self._link is None:
            raise self.failure or RedisError(f"{self._where}: not connected")
        return await store_letter(self._link, (self._group, self.reader), entry, key, headers)
