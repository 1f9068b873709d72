"""Where the letters of a consumer are, which are meant, and which were sent already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.dead_letters import DeadLetters, Letter
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.sessions import check_stream_home, jetstream_of
from outbox_operator.errors import ConflictError, TaskFailedError
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.jetstream.transforms import published_as
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import StreamNotFoundError, resolve
from outbox_operator.plan.tasks.letters import stop, wanted_letters
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.plan.tasks.stream_letters import (
    SourceSeen,
    StreamWhere,
    is_meant,
    keeps_all,
)
from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters

LOOK_SECONDS: Final = 20.0
"""So long a slice looks for what may have been sent: well below what a step may take."""
UNCERTAIN: Final = (
    "it was about to be sent when the operator ended, and the stream cannot tell any more whether "
    "it has it. Replay it in a new task if a second delivery does no harm, else purge it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the letters of a consumer are, and where they came from."""

    admin: JetStreamAdmin
    letters: DeadLetters
    stream: str
    created: str | None
    last: int
    subject: str
    source: ObservedStream


async def find(work: Work) -> Place:
    """Where the consumer's letters are, if all of it is the consumer's own.

    Raises:
        TaskFailedError: There is no such place.
        OutboxError: It cannot be looked at now.
    """
    consumer, body = work.consumer, work.event_stream
    source = resolve(consumer, body)
    if source.dead_letter_stream is None or source.dead_letter_prefix is None or body is None:
        raise TaskFailedError(
            f"EventConsumer {consumer.meta.name} has no dead letters that the operator knows of: "
            "its EventStream declares no dead-letter stream, or its letters go elsewhere"
        )
    admin = await jetstream_of(work, source.nats)
    durable = durable_name(consumer)
    stream = await stream_of(admin, source.stream)
    await check_stream_home(work, admin, source.nats, stream.name, stream)
    found = await admin.consumer_info(source.stream, durable)
    if found is None:
        raise StreamNotFoundError(
            f"durable consumer {durable} of stream {source.stream} does not exist (yet)"
        )
    if found.owner_uid != consumer.meta.uid:
        raise ConflictError(
            f"durable consumer {durable} of stream {source.stream} carries another mark than "
            f"that of {consumer.meta.key}: see that consumer's condition ConsumerReady"
        )
    letters = await stream_of(admin, source.dead_letter_stream)
    if letters.owner_uid != body["metadata"]["uid"]:
        raise ConflictError(
            f"stream {letters.name} carries another mark than that of EventStream "
            f"{body['metadata']['name']}: see that stream's condition StreamReady"
        )
    return Place(
        admin=admin,
        letters=admin.dead_letters(letters.name),
        stream=letters.name,
        created=letters.created,
        last=letters.last_sequence,
        subject=dead_letters.subject(source.dead_letter_prefix, durable),
        source=stream,
    )


async def stream_of(admin: JetStreamAdmin, name: str) -> ObservedStream:
    found = await admin.stream_info(name)
    if found is None:
        raise StreamNotFoundError(f"stream {name} does not exist")
    return found


async def stretch(place: Place, after: int, up_to: int) -> AsyncIterator[tuple[int, Letter | None]]:
    """The letters behind a sequence, up to another one; None: the message is no dead letter."""
    async for sequence, letter in place.letters.behind(after, place.subject):
        if sequence > up_to:
            return
        yield sequence, letter


async def sent(
    letters: list[Letter], then: SourceSeen | None, place: Place
) -> tuple[set[int], bool]:
    """Which letters are in their stream since then, and whether the others surely are not.

    However long it takes, the next one who looks begins where this one ended.
    """
    # What says that it came from elsewhere cannot have been sent.
    may_be = [letter for letter in letters if sendable(letter, place)]
    since = then.last if then else 0
    found, all_of_it = await place.letters.replayed(
        may_be, place.source.name, since, seconds=LOOK_SECONDS
    )
    return found, all_of_it and keeps_all(then, await stream_of(place.admin, place.source.name))


def sendable(letter: Letter, place: Place) -> bool:
    """Whether there is a subject to send it to."""
    return published_as(letter.subject, place.source.config) is not None


def failing(
    progress: Progress, where: StreamWhere, letter: Letter, reason: Reason, text: str
) -> tuple[Progress, StreamWhere]:
    """A letter that stays, and its key with it."""
    stopped = stop(where.stopped, letter.key)
    return (
        progress.failing(id_of(letter), reason, text),
        where.model_copy(update={"stopped": stopped}),
    )


def is_wanted(work: Work, letter: Letter) -> bool:
    return is_meant(
        wanted_letters(work.task.spec),
        event_id=id_of(letter),
        event_type=letter.event_type,
        key=letter.key,
        reason=letter.reason,
        died=letter.time,
    )


def id_of(letter: Letter) -> str:
    """The event's id, or what the runtime calls an event without one."""
    return letter.event_id or f"{letter.stream}:{letter.stream_sequence}"
