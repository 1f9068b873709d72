"""Resets of durable consumers: where to, and how. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.task_actions import ResetConsumer, moment
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.jetstream import starts
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.decide import Config
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.tasks.letters import Remembered
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

CLOCKS_SECONDS: Final = 300.0
"""The inbox forgets what was handled since so long before: its clock is not the stream's."""


class ResetSelection(Remembered):
    """Where a durable consumer is to begin, settled when the task starts.

    Attributes:
        created: When its stream was made; RFC 3339.
        sequence: Of the message to go on with.
        start: The same as configuration, for one that is made anew.
        since: What it has handled before this time is not delivered again; None: all may be.
        text: The place, for people.
    """

    stream: str
    created: str | None = None
    sequence: int
    start: dict[str, Any]
    since: datetime | None = None
    text: str


class ResetWhere(Remembered):
    """How far a reset is.

    Attributes:
        phase: PodsEnding: its pods end. Moving: they have, and nothing reads.
        forgotten: So many events the inbox has forgotten.
        announced: How often something was about to be changed. Each time is written down first,
            which fails when another operator is at it.
    """

    phase: Literal["PodsEnding", "Moving"] = "PodsEnding"
    forgotten: int = 0
    announced: int = 0


def time_of(wanted: ResetConsumer) -> datetime | None:
    """The time to go back to; None: the place is given otherwise."""
    return moment(wanted.time or "").astimezone(UTC) if wanted.to == "Time" else None


def settle(
    wanted: ResetConsumer,
    stream: ObservedStream,
    first_stored: datetime | None,
    now: datetime,
    *,
    reached: int | None = None,
) -> ResetSelection:
    """Decide where to begin.

    Args:
        wanted: As the task says it.
        stream: As it is now.
        first_stored: When it stored the first message that it has; None: it has none.
        now: The time.
        reached: Sequence of the first message since `time_of`, or behind the last.

    Raises:
        TaskFailedError: The stream no longer has that place, has not got so far, or is a work
            queue, which has one place only.
    """
    name, first, last = stream.name, stream.first_sequence, stream.last_sequence
    if retention_of(stream) == "workqueue" and wanted.to != "Start":
        raise TaskFailedError(
            f"resetConsumer.to: {wanted.to}: stream {name} has retention WorkQueue: it has what "
            "nobody has acknowledged, and what is passed over would stay for ever; wanted Start. "
            "To drop what waits, purge the stream"
        )
    since, start = None, None
    if wanted.to == "End":
        sequence, since, text = last + 1, now, "what comes from now on"
    elif wanted.to == "Start":
        sequence, start = max(1, first), starts.START
        text = _start(name, first, first_stored)
    elif wanted.to == "Sequence":
        sequence, since = wanted.sequence or 0, first_stored
        text = f"message {sequence} of stream {name}"
        if sequence > last + 1:
            raise TaskFailedError(f"resetConsumer.sequence: stream {name} has come to {last} only")
        if sequence < first:
            raise _gone(f"message {sequence}", name, first, first_stored)
    else:
        since = time_of(wanted) or now
        sequence = last + 1 if reached is None else reached
        text = f"messages of stream {name} since {format_time(since)}"
        if since > now:
            raise TaskFailedError(
                "resetConsumer.time is in the future; wanted a time that has been"
            )
        if first > 1 and (first_stored is None or since < first_stored):
            raise _gone(f"messages since {format_time(since)}", name, first, first_stored)
    return ResetSelection(
        stream=name,
        created=stream.created,
        sequence=sequence,
        start=start or starts.at_sequence(sequence),
        since=since,
        text=text,
    )


def retention_of(stream: ObservedStream) -> str:
    """As the JetStream API says it: limits, interest or workqueue."""
    return str(stream.config.get("retention") or "limits")


def check_stream(selection: ResetSelection, stream: ObservedStream | None) -> ObservedStream:
    """The stream as it is now; TaskFailedError: it is not the one that the place is in."""
    if stream is None or stream.created != selection.created:
        raise TaskFailedError(
            f"stream {selection.stream} was deleted or is another one now; make a new task",
            reason=Reason.TARGET_GONE,
        )
    return stream


def check_place(
    wanted: ResetConsumer,
    selection: ResetSelection,
    stream: ObservedStream,
    first_stored: datetime | None,
) -> str:
    """The place as it is now, for people: waiting may have taken long, and streams drop messages.

    Args:
        wanted: As the task says it.
        selection: As it was settled.
        stream: As it is now.
        first_stored: When it stored the first message that it has; None: it has none.

    Raises:
        TaskFailedError: It no longer has what was to be delivered again.
    """
    name, first = stream.name, stream.first_sequence
    if wanted.to == "Start":
        return _start(name, max(1, first), first_stored)
    if wanted.to != "End" and first > selection.sequence:
        raise _gone(f"{selection.text}, when the task began", name, first, first_stored)
    return selection.text


def check_inbox(consumer: Meta, found: str, known: str | None) -> None:
    """See that the inbox is where the consumer has it.

    Args:
        consumer: Whose it is.
        found: Which database its Secret leads to.
        known: Which one has the inbox, by the status of the consumer; None: it does not say.

    Raises:
        DependencyError: Another one, and nobody has decided that it moves.
    """
    if known is not None and found != known:
        raise DependencyError(
            f"the Secret of the inbox of {consumer.key} leads to another database (identity "
            f"{found}) than the one that has it (identity {known}): see its condition "
            f"SchemaApplied. kubectl outbox plan show evc/{consumer.name} -n {consumer.namespace}",
            reason=Reason.APPROVAL_PENDING,
        )


def place_now(wanted: ResetConsumer, selection: ResetSelection, found: ObservedConsumer) -> int:
    """Sequence to go on with: at the end nothing that was handled meanwhile comes again."""
    if wanted.to == "End":
        return max(selection.sequence, found.ack_floor + 1)
    return selection.sequence


def goes_in_place(
    stream: ObservedStream,
    found: ObservedConsumer,
    sequence: int,
    api_level: int,
    *,
    lowest: int | None,
) -> bool:
    """Whether a durable consumer is reset as it stands, or else is deleted and made anew.

    Args:
        stream: Its stream.
        found: As it is.
        sequence: Of the message to go on with.
        api_level: What the server knows.
        lowest: The server resets it to no place before; None: to none at all.

    Raises:
        TaskFailedError: Only made anew, and what waits for it would be gone meanwhile.
    """
    able = lowest is not None and sequence >= lowest
    if able and api_level >= starts.RESET_LEVEL:
        return True
    if retention_of(stream) == "interest":
        policy = found.config.get("deliver_policy")
        needs = (
            f"that needs nats-server 2.14 (JetStream API level {starts.RESET_LEVEL}), found API "
            f"level {api_level}"
            if able
            else f"the server does that with deliverPolicy All, and not with {policy!r} here"
        )
        raise TaskFailedError(
            f"stream {stream.name} has retention Interest: while durable consumer {found.name} is "
            f"made anew, the stream drops what waits for it. It has to be reset in place; {needs}"
        )
    return False


def _start(stream: str, first: int, stored: datetime | None) -> str:
    return f"the first message that stream {stream} has ({_first(first, stored)})"


def _first(sequence: int, stored: datetime | None) -> str:
    return "it has none" if stored is None else f"{sequence}, stored at {format_time(stored)}"


def _gone(what: str, stream: str, first: int, stored: datetime | None) -> TaskFailedError:
    return TaskFailedError(
        f"{what}: stream {stream} no longer has them; its first message is "
        f"{'none' if stored is None else _first(first, stored)}. Take that with to: Start; a "
        "replay of history may still have what was before",
        reason=Reason.NO_LONGER_KEPT,
    )


def forgets_since(selection: ResetSelection) -> datetime | None:
    """From when on the inbox forgets what was handled; None: all."""
    if selection.since is None:
        return None
    try:
        return selection.since - timedelta(seconds=CLOCKS_SECONDS)
    except OverflowError:  # in the year 1
        return None


def config_at(desired: Config, start: Config, task_uid: str) -> Config:
    """The durable consumer as it is made anew."""
    return starts.placed(desired, start, task_uid)
