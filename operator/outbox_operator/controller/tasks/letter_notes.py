"""What tasks are about to send, noted on the consumer: that outlives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import Finding, TaskResult
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
from outbox_operator.counted import counted
from outbox_operator.errors import ConflictError
from outbox_operator.plan.tasks.announced import (
    Announced,
    Entry,
    SourceNoted,
    announced,
    noting,
    of_others,
    with_announced,
)
from outbox_operator.plan.tasks.letters import kept
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import StreamSelection, StreamWhere
from outbox_operator.reasons import Reason

_TRIES: Final = 5


async def notes_of_others(work: Work, stream: str, created: str | None) -> list[Announced]:
    """What other tasks have announced of the letters of a consumer, and may have sent.

    Asked of the API server: the watch may not have brought what ended a moment ago.

    Args:
        work: Of the task that comes after them.
        stream: The dead-letter stream.
        created: When that was made.

    Raises:
        ConflictError: The consumer is gone, or its note cannot be read.
    """
    entries, _ = await _noted(work)
    return _of_others(work, entries, stream, created)


def _of_others(
    work: Work, entries: Iterable[Entry], stream: str, created: str | None
) -> list[Announced]:
    return of_others(
        entries, task=work.task.meta.uid, consumer=work.consumer.meta.uid, stream=stream,
        created=created,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Noted:
    """What stands beside an announcement.

    Attributes:
        others: What other tasks have announced of the same letters.
        strange: How many entries this version does not understand.
    """

    others: list[Announced]
    strange: int


async def note(work: Work, mine: Announced) -> Noted:
    """Note an announcement in the place of the same task's; without letters that goes.

    Raises:
        ConflictError: The consumer is gone or another one, or its note cannot be read: then
            nothing may be sent.
        WriteConflictError: Others keep writing to the consumer.
    """
    ref = work.context.ref(ObjectKey.of(work.consumer.meta))
    for left in reversed(range(_TRIES)):
        entries, found = await _noted(work)
        before = (found.get("annotations") or {}).get(meta.LETTERS_ANNOTATION)
        text = noting(with_announced(entries, mine))
        strange = sum(not isinstance(one, Announced) for one in entries)
        if text == before:
            break
        try:
            written = await work.context.kube.merge_metadata(
                ref,
                resource_version=found["resourceVersion"],
                annotations={meta.LETTERS_ANNOTATION: text},
            )
        except WriteConflictError:  # whoever wrote meanwhile may have noted something
            if not left:
                raise
            continue
        if written is None:
            raise ConflictError(f"{work.consumer.meta.key} is gone")
        break
    return Noted(_of_others(work, entries, mine.stream, mine.created), strange)


def doubts(work: Work, progress: Progress, strange: int) -> TaskResult | None:
    """What a task says at its end of entries that nobody understood; None: there are none.

    Args:
        work: Of the task.
        progress: Up to its end.
        strange: How many there are.
    """
    if not strange:
        return None
    consumer = work.consumer.meta
    found = Finding(
        severity="Warning", check="NoteNotUnderstood", object=consumer.key,
        message=f"annotation {meta.LETTERS_ANNOTATION}: "
        f"{counted(strange, 'entry is', 'entries are')} not as this "
        "version writes them: letters that other tasks had sent may have been sent again",
        remedy=f"kubectl annotate evc/{consumer.name} {meta.LETTERS_ANNOTATION}- "
        f"-n {consumer.namespace}  # if no other version wrote them, which may come back",
    )  # fmt: skip
    return TaskResult(
        summary=f"{counted(progress.done, 'event is', 'events are')} done", findings=[found]
    )


async def _noted(work: Work) -> tuple[list[Entry], Mapping[str, Any]]:
    """The note of the consumer, and its metadata."""
    consumer = work.consumer.meta
    body = await work.context.kube.get(work.context.ref(ObjectKey.of(consumer)))
    if body is None or body["metadata"]["uid"] != consumer.uid:
        raise ConflictError(f"{consumer.key} is gone or another one now")
    entries = announced((body["metadata"].get("annotations") or {}).get(meta.LETTERS_ANNOTATION))
    if entries is None:
        raise ConflictError(
            f"annotation {meta.LETTERS_ANNOTATION} of {consumer.key} is none that this version "
            "writes, so nobody knows which letters were sent by tasks that ended in the middle. "
            "If they may be sent again, remove it: kubectl annotate "
            f"evc/{consumer.name} {meta.LETTERS_ANNOTATION}- -n {consumer.namespace}"
        )
    return entries, body["metadata"]


def announcing(work: Work, place: Place, where: StreamWhere) -> Announced:
    """What a task is about to send, or nothing any more."""
    source = where.source
    return Announced(
        task=work.task.meta.uid, consumer=work.consumer.meta.uid, stream=place.stream,
        created=place.created, batch=where.batch,
        source=None if source is None else SourceNoted.model_validate(source.model_dump()),
    )  # fmt: skip


async def look_at_notes(
    work: Work, progress: Progress, where: StreamWhere, place: Place, selection: StreamSelection
) -> Progress:
    """Tell which letters a task that is no more has sent, or may have; one such task at a time."""
    others = await notes_of_others(work, place.stream, place.created)
    notes = [one for one in others if one.mark not in where.looked]
    if not notes:
        looked = tuple(one.mark for one in others)
        where = where.model_copy(update={"looked": looked, "noted": True})
        return replace(progress, where=kept(where))
    one = notes[0]
    letters = [
        replace(letter, data=b"")
        for sequence in one.batch
        if (letter := await place.letters.get(sequence)) is not None
    ]
    found, sure = await sent(letters, one.source, place)
    unclear, left = list(where.uncertain), list[int]()
    up_to = selection.up_to if where.up_to is None else where.up_to
    for letter in letters:
        meant = where.after < letter.sequence <= up_to and is_wanted(work, letter)
        if letter.sequence in found:
            await place.letters.purge(letter.sequence)
            progress = replace(progress, done=progress.done + meant)
        elif sure or not sendable(letter, place) or letter.sequence in where.uncertain:
            continue  # or it is listed already, before an operator ended here
        elif meant:
            progress, where = failing(progress, where, letter, Reason.UNCERTAIN, UNCERTAIN)
            unclear.append(letter.sequence)
        else:
            left.append(letter.sequence)
    rest = one.model_copy(update={"batch": tuple(left)})
    looked = (*where.looked, rest.mark)
    where = where.model_copy(update={"uncertain": tuple(unclear), "looked": looked})
    progress = replace(progress, where=kept(where))
    await work.save(progress)
    await note(work, rest)
    return progress
