"""Dead letters of a consumer in Redis: given to its group once more, or removed.

The entry of a letter is still in its stream, acknowledged: the group is given it again, and no
other group is, in the step that removes the letter. So all that is announced is what is counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from outbox_operator.controller.reconcile.redis_stream import connect_redis
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.letter_count import count
from outbox_operator.errors import ConflictError, TaskFailedError
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import StreamNotFoundError, resolve_any
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.tasks.group_letters import (
    NO_LONGER_KEPT_TEXT,
    GroupSelection,
    GroupWhere,
)
from outbox_operator.plan.tasks.letters import (
    KEY_STOPPED_TEXT,
    hashed,
    is_enough,
    kept,
    remembered,
    stop,
    wanted_letters,
)
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import is_meant
from outbox_operator.reasons import Reason

if TYPE_CHECKING:  # with it comes the driver: see `redis_connections`
    from outbox_operator.adapters.redis.letter_admin import GroupLetter, LetterAdmin

SCANNED_AT_ONCE: Final = 2000
"""Letters that a slice looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    letters: LetterAdmin
    group: str
    keys: tuple[str, ...]


class GroupLetters:
    """What handing over and purging have in common."""

    async def freeze(self, work: Work) -> Frozen:
        """Everything up to the last letter that there is."""
        place = await _find(work)
        selection = GroupSelection(key=place.letters.key, up_to=await place.letters.last())
        return Frozen(selection=selection.model_dump(mode="json"))

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Count a stretch, or do a batch."""
        selection = remembered(GroupSelection, work.selection)
        where = remembered(GroupWhere, progress.where)
        place = await _find(work)
        if place.letters.key != selection.key:
            raise TaskFailedError(
                f"dead letters go to key {place.letters.key} now, and went to {selection.key} when "
                "this task began; make a new task",
                reason=Reason.TARGET_GONE,
            )
        if not where.counted:
            letters = _letters(work, place, where.after, selection.up_to)
            return await count(
                work, progress, where, letters, selection.up_to, most=SCANNED_AT_ONCE
            )
        if work.dry_run:
            return replace(progress, where={}, finished=True)
        if where.batch:  # somebody was at it
            return await self._do_batch(work, progress, where, place, begun=True)
        up_to = selection.up_to if where.up_to is None else where.up_to
        chosen, looked_at, looked, at_end = list[str](), where.after, 0, True
        async for letter in _stretch(place, where.after, up_to):
            looked_at, looked = letter.id, looked + 1
            if _is_wanted(work, place, letter):
                chosen.append(letter.id)
            if len(chosen) >= work.most or looked >= SCANNED_AT_ONCE or work.time_left <= 0:
                at_end = False
                break
        where = where.model_copy(update={"after": looked_at})
        if not chosen:
            return replace(progress, where={} if at_end else kept(where), finished=at_end)
        where = where.model_copy(update={"batch": tuple(chosen)})
        await work.save(replace(progress, where=kept(where)))
        return await self._do_batch(work, progress, where, place, begun=False)

    async def _do_batch(
        self, work: Work, progress: Progress, where: GroupWhere, place: _Place, *, begun: bool
    ) -> Progress:
        """Do what was announced, as far as there is time.

        Args:
            work: What is to be done.
            progress: Up to here.
            where: The same.
            place: Where the letters are.
            begun: Whether somebody was at it before: what is gone, they did.
        """
        left = list(where.batch)
        while left and work.time_left > 0:
            done = await self._do(progress, where, place, left[0])
            if done is None:  # else somebody purged it: the end of the task says how many
                progress = replace(progress, done=progress.done + begun)
            else:
                progress, where = done
            if is_enough(where.stopped):
                return replace(progress, finished=True, gives_up=True)
            left.pop(0)
            where = where.model_copy(update={"batch": tuple(left)})
        return replace(progress, where=kept(where))

    async def _do(
        self, progress: Progress, where: GroupWhere, place: _Place, letter_id: str
    ) -> tuple[Progress, GroupWhere] | None:
        """None: the letter is gone."""
        raise NotImplementedError


class PurgeGroupLetters(GroupLetters):
    """Give dead letters of a consumer up."""

    async def _do(
        self, progress: Progress, where: GroupWhere, place: _Place, letter_id: str
    ) -> tuple[Progress, GroupWhere] | None:
        if not await place.letters.remove(letter_id):
            return None
        return replace(progress, done=progress.done + 1), where


class ReplayGroupLetters(GroupLetters):
    """Have the events of dead letters handled once more."""

    async def _do(
        self, progress: Progress, where: GroupWhere, place: _Place, letter_id: str
    ) -> tuple[Progress, GroupWhere] | None:
        from outbox_operator.adapters.redis.letter_admin import Again

        letter = await place.letters.get(letter_id)
        if letter is None:
            return None
        if letter.key and hashed(letter.key) in where.stopped:
            return _failing(progress, where, letter, Reason.KEY_STOPPED, KEY_STOPPED_TEXT)
        # Anybody who may write letters says where they came from.
        known = letter.stream in place.keys
        answer = await place.letters.again(letter, place.group) if known else Again.OTHER
        if answer is Again.GONE:
            return None
        if answer is Again.OTHER:
            return _failing(progress, where, letter, Reason.NO_LONGER_KEPT, NO_LONGER_KEPT_TEXT)
        return replace(progress, done=progress.done + 1), where


async def _find(work: Work) -> _Place:
    """Where the consumer's letters are, if all of it is the consumer's own.

    Raises:
        TaskFailedError: There is no such place.
        OutboxError: It cannot be looked at now.
    """
    from outbox_operator.adapters.redis.group_admin import GroupAdmin
    from outbox_operator.adapters.redis.letter_admin import LetterAdmin

    consumer, body = work.consumer, work.event_stream
    source = resolve_any(consumer, body)
    if not isinstance(source, RedisSource) or body is None:
        raise TaskFailedError(
            f"EventConsumer {consumer.meta.name} reads no stream in Redis any more; make a new "
            "task",
            reason=Reason.TARGET_GONE,
        )
    admin = await connect_redis(work.context, consumer.meta, source.redis)
    groups, group = GroupAdmin(admin), durable_name(consumer)
    for key in source.keys:
        mark = (await admin.key(key)).mark
        if mark is None or mark.uid != body["metadata"]["uid"]:
            raise ConflictError(
                f"key {key} does not carry the mark of EventStream {source.follows}: see that "
                "stream's condition StreamReady"
            )
        seen = await groups.group(key, group, consumer.meta.uid)
        if seen.found is None:
            raise StreamNotFoundError(f"group {group} of key {key} does not exist (yet)")
        if seen.mark is None or seen.mark.uid != consumer.meta.uid:
            raise ConflictError(
                f"group {group} of key {key} carries another mark than that of "
                f"{consumer.meta.key}: see that consumer's condition ConsumerReady"
            )
    return _Place(letters=LetterAdmin(admin, source.letters), group=group, keys=tuple(source.keys))


async def _stretch(place: _Place, after: str | None, up_to: str) -> AsyncIterator[GroupLetter]:
    from outbox_operator.adapters.redis.letter_admin import FIRST

    async for letter in place.letters.behind(after or FIRST, up_to):
        yield letter


async def _letters(
    work: Work, place: _Place, after: str | None, up_to: str
) -> AsyncIterator[tuple[str, str | None]]:
    """Ids of letters, and of the events that are meant."""
    async for letter in _stretch(place, after, up_to):
        yield letter.id, _id_of(letter) if _is_wanted(work, place, letter) else None


def _is_wanted(work: Work, place: _Place, letter: GroupLetter) -> bool:
    if not letter.reason or letter.consumer != place.group:
        return False
    return is_meant(
        wanted_letters(work.task.spec),
        event_id=_id_of(letter),
        event_type=letter.event_type,
        key=letter.key,
        reason=letter.reason,
        died=letter.time,
    )


def _id_of(letter: GroupLetter) -> str:
    """The event's id, or what the runtime calls an event without one."""
    return letter.event_id or f"{letter.stream}:{letter.number}"


def _failing(
    progress: Progress, where: GroupWhere, letter: GroupLetter, reason: Reason, text: str
) -> tuple[Progress, GroupWhere]:
    """A letter that stays, and its key with it."""
    return (
        progress.failing(_id_of(letter), reason, text),
        where.model_copy(update={"stopped": stop(where.stopped, letter.key)}),
    )
