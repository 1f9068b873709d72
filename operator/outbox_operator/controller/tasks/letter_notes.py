"""What tasks are about to send, noted on the consumer: that outlives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from outbox_operator.api import meta
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.letter_places import (
    UNCERTAIN,
    Place,
    failing,
    is_wanted,
    sendable,
    sent,
)
from outbox_operator.errors import ConflictError
from outbox_operator.plan.tasks.announced import Announced, announced, noting, of_others
from outbox_operator.plan.tasks.letters import kept
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import StreamSelection, StreamWhere
from outbox_operator.reasons import Reason

_NOTED_SECONDS: Final = 0.5


def notes_of_others(work: Work, stream: str, created: str | None) -> list[Announced]:
    """What other tasks have announced of the letters of a consumer, and may have sent.

    Args:
        work: Of the task that comes after them.
        stream: The dead-letter stream.
        created: When that was made.
    """
    found = announced(work.consumer.meta.annotations.get(meta.LETTERS_ANNOTATION))
    return of_others(found, work.task.meta.uid, stream, created)


async def note(work: Work, ones: list[Announced]) -> None:
    """Note announcements in the place of all that were; nothing to say: the note goes.

    Raises:
        ConflictError: The consumer is gone or another one: then nothing may be sent.
    """
    consumer = work.consumer.meta
    text = noting(ones)
    written = await work.context.kube.merge_metadata(
        work.context.ref(ObjectKey.of(consumer)), annotations={meta.LETTERS_ANNOTATION: text}
    )
    if written is None or written["metadata"]["uid"] != consumer.uid:
        raise ConflictError(f"{consumer.key} is gone or another one now")


def announcing(work: Work, place: Place, where: StreamWhere) -> Announced:
    return Announced(
        task=work.task.meta.uid, stream=place.stream, created=place.created, batch=where.batch,
        source=where.source,
    )  # fmt: skip


async def look_at_notes(
    work: Work, progress: Progress, where: StreamWhere, place: Place, selection: StreamSelection
) -> Progress:
    """Tell which letters a task that is no more has sent, or may have; one such task at a time."""
    all_of_them = notes_of_others(work, place.stream, place.created)
    notes = [one for one in all_of_them if one.task not in where.looked]
    if not notes:
        where = where.model_copy(update={"looked": ()})
        return replace(progress, where=kept(where.model_copy(update={"noted": True})))
    one = notes[0]
    letters = [
        replace(letter, data=b"")
        for sequence in one.batch
        if (letter := await place.letters.get(sequence)) is not None
    ]
    found, sure = await sent(letters, one.source, place)
    unclear, left = list(where.uncertain), list[int]()
    for letter in letters:
        meant = letter.sequence <= selection.up_to and is_wanted(work, letter)
        if letter.sequence in found:
            await place.letters.purge(letter.sequence)
            progress = replace(progress, done=progress.done + meant)
        elif sure or not sendable(letter, place):
            continue
        elif meant:
            progress, where = failing(progress, where, letter, Reason.UNCERTAIN, UNCERTAIN)
            unclear.append(letter.sequence)
        else:
            left.append(letter.sequence)
    looked = (*where.looked, one.task)
    where = where.model_copy(update={"uncertain": tuple(unclear), "looked": looked})
    progress = replace(progress, where=kept(where))
    await work.save(progress)
    others = [each for each in all_of_them if each is not one]
    await note(work, [*others, one.model_copy(update={"batch": tuple(left)})])
    # What was noted comes back by the watch.
    return replace(progress, pause_seconds=_NOTED_SECONDS)
