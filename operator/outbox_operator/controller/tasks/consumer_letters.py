"""Dead letters of a consumer: messages of its dead-letter stream, sent again or purged.

The stream itself is what freezes the set: its sequences only grow. A batch is announced in the
status, and on the consumer for those who come when the task is gone; then each letter is published
and deleted. Whoever finds an announced letter still there looks for it where it would have been
published, because the operator may have ended in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from outbox_operator.adapters.nats.dead_letters import Letter
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.letter_count import count
from outbox_operator.controller.tasks.letter_notes import announcing, doubts, look_at_notes, note
from outbox_operator.controller.tasks.letter_places import (
    UNCERTAIN,
    Place,
    failing,
    find,
    id_of,
    is_wanted,
    sendable,
    sent,
    stretch,
)
from outbox_operator.errors import NatsError, TaskFailedError
from outbox_operator.plan.jetstream.transforms import published_as
from outbox_operator.plan.tasks.letters import (
    KEY_STOPPED_TEXT,
    hashed,
    is_enough,
    kept,
    remembered,
)
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import (
    StreamSelection,
    StreamWhere,
    drops_copies,
)
from outbox_operator.reasons import Reason

SCANNED_AT_ONCE: Final = 500
"""Messages that a slice looks at."""
_OF_THE_LETTER: Final = frozenset({Reason.MESSAGE_TOO_LARGE, Reason.NO_STREAM_RESPONSE})


class _ConsumerLetters:
    """What replaying and purging have in common."""

    may_be_sent: bool
    """Whether a letter that was announced and is still there may have been sent."""

    async def freeze(self, work: Work) -> Frozen:
        """Everything up to the last message that there is."""
        place = await find(work)
        selection = StreamSelection(
            stream=place.stream, created=place.created, subject=place.subject, up_to=place.last
        )
        return Frozen(selection=selection.model_dump(mode="json"))

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Count a stretch, or do a batch."""
        selection = remembered(StreamSelection, work.selection)
        where = remembered(StreamWhere, progress.where)
        place = await find(work)
        if (place.stream, place.created) != (selection.stream, selection.created):
            raise TaskFailedError(
                f"stream {selection.stream}, which held the dead letters, was deleted or is "
                "another one now; make a new task",
                reason=Reason.TARGET_GONE,
            )
        if not where.counted:
            letters = _letters(work, place, where.after, selection.up_to)
            return await count(
                work, progress, where, letters, selection.up_to, most=SCANNED_AT_ONCE
            )
        if work.dry_run:
            return replace(progress, where={}, finished=True)
        if self.may_be_sent and not where.noted:
            return await look_at_notes(work, progress, where, place, selection)
        if where.batch:  # somebody was at it
            progress = await self._resume(work, progress, where, place)
        else:
            progress = await self._batch(work, progress, where, place, selection)
        if progress.finished and self.may_be_sent:
            noted = await note(work, announcing(work, place, StreamWhere()))
            progress = replace(progress, result=doubts(work, progress, noted.strange))
        return progress

    async def _batch(
        self,
        work: Work,
        progress: Progress,
        where: StreamWhere,
        place: Place,
        selection: StreamSelection,
    ) -> Progress:
        """Announce the next letters, and do them."""
        up_to = selection.up_to if where.up_to is None else where.up_to
        chosen, looked_at, looked, at_end = list[int](), where.after, 0, True
        async for sequence, letter in stretch(place, where.after, up_to):
            looked_at, looked = sequence, looked + 1
            if letter is not None and is_wanted(work, letter) and sequence not in where.uncertain:
                chosen.append(sequence)
            if len(chosen) >= work.most or looked >= SCANNED_AT_ONCE or work.time_left <= 0:
                at_end = False
                break
        if not chosen:
            after = where.model_copy(update={"after": looked_at})
            return replace(progress, where={} if at_end else kept(after), finished=at_end)
        before = where
        where = where.model_copy(update={"after": looked_at})
        where = where.announcing(chosen, place.source)
        if self.may_be_sent:
            noted = await note(work, announcing(work, place, where))
            if any(one.mark not in before.looked for one in noted.others):
                # While this one was suspended another went by, and may have sent some of these.
                return replace(progress, where=kept(before.model_copy(update={"noted": False})))
        await work.save(replace(progress, where=kept(where)))
        for sequence in chosen:
            letter = await place.letters.get(sequence)
            if work.time_left <= 0:
                # The rest was not begun: it is announced anew.
                where = where.model_copy(update={"after": sequence - 1})
                break
            progress, where = await self._do(progress, where, place, letter)
            if is_enough(where.stopped):
                return replace(progress, finished=True, gives_up=True)
        return replace(progress, where=kept(_done(where)))

    async def _resume(
        self, work: Work, progress: Progress, where: StreamWhere, place: Place
    ) -> Progress:
        """Letters that were announced, and may be done."""
        looked = self.may_be_sent and not drops_copies(where, place.source)
        if looked:
            progress, where = await _look(progress, where, place)
            if is_enough(where.stopped):
                return replace(progress, finished=True, gives_up=True)
            await work.save(progress)
        left = list(where.batch)
        while left and work.time_left > 0:
            letter = await place.letters.get(left[0])
            if work.time_left <= 0:
                break
            if letter is None and not looked:
                progress = replace(progress, done=progress.done + 1)
            else:
                progress, where = await self._do(progress, where, place, letter)
            if is_enough(where.stopped):
                return replace(progress, finished=True, gives_up=True)
            left.pop(0)
            where = where.model_copy(update={"batch": tuple(left)})
            # One by one: what is done is written down before the next, which may fail.
            progress = replace(progress, where=kept(where if left else _done(where)))
            await work.save(progress)
        return progress

    async def _do(
        self,
        progress: Progress,
        where: StreamWhere,
        place: Place,
        letter: Letter | None,
    ) -> tuple[Progress, StreamWhere]:
        raise NotImplementedError


class PurgeConsumerLetters(_ConsumerLetters):
    """Give dead letters of a consumer up."""

    may_be_sent = False

    async def _do(
        self,
        progress: Progress,
        where: StreamWhere,
        place: Place,
        letter: Letter | None,
    ) -> tuple[Progress, StreamWhere]:
        if letter is not None:
            await place.letters.purge(letter.sequence)
        return replace(progress, done=progress.done + 1), where


class ReplayConsumerLetters(_ConsumerLetters):
    """Publish dead letters of a consumer where they came from."""

    may_be_sent = True

    async def _do(
        self,
        progress: Progress,
        where: StreamWhere,
        place: Place,
        letter: Letter | None,
    ) -> tuple[Progress, StreamWhere]:
        if letter is None:  # somebody purged it: the end of the task says how many are missing
            return progress, where
        if letter.key and hashed(letter.key) in where.stopped:
            return failing(progress, where, letter, Reason.KEY_STOPPED, KEY_STOPPED_TEXT)
        # Anybody who may write dead letters says where they came from, and the operator's login
        # may publish elsewhere, too.
        subject = published_as(letter.subject, place.source.config)
        if subject is None:
            text = (
                f"letter {letter.sequence} says that it was stored under a subject under which "
                f"stream {place.source.name} stores nothing that is published to it (subjects, "
                "subjectTransform): kubectl outbox dlq show has it"
            )
            return failing(progress, where, letter, Reason.SUBJECT_NOT_IN_STREAM, text)
        try:
            await place.letters.replay(letter, subject, place.source.name)
        except NatsError as error:
            if error.reason not in _OF_THE_LETTER:
                raise
            # A subject may have the key in it, and whoever writes letters writes anything there.
            text = error.message.replace(repr(subject), "its subject")
            return failing(progress, where, letter, error.reason, text)
        return replace(progress, done=progress.done + 1), where


def _done(where: StreamWhere) -> StreamWhere:
    return where.model_copy(update={"batch": (), "since": None, "source": None})


async def _look(
    progress: Progress, where: StreamWhere, place: Place
) -> tuple[Progress, StreamWhere]:
    """Tell which of an announced batch were sent. The others are announced anew."""
    letters = list[Letter]()
    for sequence in where.batch:
        letter = await place.letters.get(sequence)
        if letter is None:  # sent, and deleted after that
            progress = replace(progress, done=progress.done + 1)
        else:
            letters.append(replace(letter, data=b""))
    found, sure = await sent(letters, where.source, place)
    left = list[int]()
    for letter in letters:
        if letter.sequence in found:
            await place.letters.purge(letter.sequence)
            progress = replace(progress, done=progress.done + 1)
        elif sure or not sendable(letter, place):
            left.append(letter.sequence)
        else:
            progress, where = failing(progress, where, letter, Reason.UNCERTAIN, UNCERTAIN)
    where = where.announcing(left, place.source) if left else _done(where)
    return replace(progress, where=kept(where)), where


async def _letters(
    work: Work, place: Place, after: int, up_to: int
) -> AsyncIterator[tuple[int, str | None]]:
    """Sequences, and ids of the events that are meant."""
    async for sequence, letter in stretch(place, after, up_to):
        meant = letter is not None and is_wanted(work, letter)
        yield sequence, id_of(letter) if letter is not None and meant else None
