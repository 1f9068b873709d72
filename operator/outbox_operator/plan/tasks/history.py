"""Replays of history: their names, what is remembered between slices, who else would read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Meta, parse_consumer
from outbox_operator.api.v1alpha1.task import Finding, TaskResult
from outbox_operator.counted import counted
from outbox_operator.errors import DependencyError, SpecError, TaskFailedError
from outbox_operator.plan.jetstream.consumers import settles_itself
from outbox_operator.plan.tasks.letters import Remembered, kept
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason
from outbox_operator.wire.replay import MAX_NAME_CHARACTERS
from outbox_operator.wire.times import format_time

MOST_TIMES_COUNTED: Final = 5
_UID_CHARACTERS: Final = 8
_SHOWN_READERS: Final = 5


class HistorySelection(Remembered):
    """What a replay is about, settled when it starts.

    Attributes:
        to: Durable consumer that is to handle it.
        noted_since: When the schema began to note which rows were dead letters, if rows are from
            before that.
        database: Which one the rows are in.
    """

    snapshot: str
    up_to: int
    first: int | None = None
    to: str | None = None
    noted_since: datetime | None = None
    database: str | None = None


class HistoryWhere(Remembered):
    """How far a replay is; what is copied the outbox knows.

    Attributes:
        after: Counted up to this position.
        unfit: Rows found that cannot be copied.
        snapshot: In the place of the one of the selection, when it was counted anew.
        times: So often it was.
    """

    phase: Literal["Counting", "Copying", "Publishing"] = "Counting"
    after: int | None = None
    unfit: int = 0
    snapshot: str | None = None
    times: int = 0


def counted_anew(progress: Progress, where: HistoryWhere, snapshot: str) -> Progress:
    """Begin to count once more: a rebase made rows others than the snapshot saw.

    Nothing is copied yet, so that the rows of now are meant, as if the task had come after it.

    Args:
        snapshot: Of now.

    Raises:
        TaskFailedError: It was so again and again.
    """
    if where.times >= MOST_TIMES_COUNTED:
        raise TaskFailedError(
            "rows have other transactions each time they are counted, because of a rebase or by "
            "the hand of somebody who writes the column xid; nothing was sent. Make a new task",
            reason=Reason.UNCERTAIN,
        )
    anew = HistoryWhere(snapshot=snapshot, times=where.times + 1)
    return replace(progress, selected=0, where=kept(anew), note="counts anew after a rebase")


def replay_name(task: Meta) -> str:
    """Name of the replay of a task, for headers and message ids; no other task has it."""
    shown = task.name[: MAX_NAME_CHARACTERS - _UID_CHARACTERS - 1]
    return f"{shown}.{task.uid.replace('-', '')[:_UID_CHARACTERS]}"


def answered(progress: Progress, selection: HistorySelection, pipeline: Meta) -> TaskResult:
    """The answer at the end."""
    findings = []
    if selection.noted_since is not None:
        text = (
            f"of rows from before {format_time(selection.noted_since, 'seconds')}, when schema "
            "version 5 came, nobody knows which were dead letters: those that were released or "
            "given up before that were sent as well, as they were first written"
        )
        unknown = Finding(severity="Unknown", check="Unproven", object=pipeline.key, message=text)
        findings.append(unknown)
    return TaskResult(
        summary=f"{counted(progress.done, 'event was', 'events were')} sent again",
        findings=findings,
    )


def no_longer_kept(oldest: datetime | None, first: int | None) -> TaskFailedError:
    """Why a replay does not begin whose first rows are gone."""
    if oldest is None:
        there = "there are none at the moment"
    else:
        there = f"there are some from {format_time(oldest)} on (position {first})"
    return TaskFailedError(
        "the outbox no longer has all rows that are wanted, because spec.outbox.retention has "
        f"passed: {there}. Begin there, or set allowPartial (--allow-partial) to send what is "
        "left",
        reason=Reason.NO_LONGER_KEPT,
    )


def emptied_meanwhile(copied: int, position: int) -> TaskFailedError:
    """Why a replay ends that stood still for too long."""
    return TaskFailedError(
        f"{counted(copied, 'event was', 'events were')} copied, up to position "
        f"{position}; then the task stood still for "
        "longer than an hour, and rows behind that were emptied, because spec.outbox.retention has "
        "passed",
        reason=Reason.NO_LONGER_KEPT,
    )


def with_left_out(progress: Progress) -> Progress:
    """List what was selected and neither copied nor refused, when all rows were gone through."""
    left = (progress.selected or 0) - progress.handled
    if left <= 0:
        return progress
    return progress.failing(
        counted(left, "event"), Reason.NOT_FOUND,
        "were selected and not sent again: their rows are not as they were then, because of a "
        "rebase, or because they became dead letters meanwhile. Make a new task for them",
        count=left,
    )  # fmt: skip


def consumer_meant(
    name: str, stream: str, bodies: Iterable[Mapping[str, Any]], namespace: str, pipeline: str
) -> Consumer:
    """The EventConsumer that a replay is for.

    Args:
        name: As the task says it: of the object, or within its pipeline.
        stream: Where the events will be.
        bodies: All EventConsumers.
        namespace: Of the task.
        pipeline: Its target.

    Raises:
        TaskFailedError: There is none, it is no reader of the stream, or it has no runtime that
            could tell who is meant.
    """
    wanted = (name, f"{pipeline}-{name}")
    found = [
        body
        for body in bodies
        if body["metadata"]["namespace"] == namespace and body["metadata"]["name"] in wanted
    ]
    if not found:
        raise TaskFailedError(
            f"replayHistory.toConsumer: EventConsumer {name} does not exist in this namespace",
            reason=Reason.NOT_FOUND,
        )
    body = min(found, key=lambda one: wanted.index(one["metadata"]["name"]))
    consumer = parse_consumer(body, stored=True)
    reads = _reads(body)
    if reads is None or reads[0] != stream:
        raise TaskFailedError(
            f"replayHistory.toConsumer: EventConsumer {consumer.meta.name} reads "
            f"{f'stream {reads[0]}' if reads else 'no stream yet'}, the events go to {stream}",
            reason=Reason.INVALID_SPEC,
        )
    return consumer


def other_readers(
    stream: str, durables: Iterable[str], bodies: Iterable[Mapping[str, Any]], meant: str
) -> list[str]:
    """Durable consumers whose program does not know for whom a replay is.

    Args:
        durables: All of the stream.
        bodies: All EventConsumers.
        meant: The one that is to get it.
    """
    ours = set()
    for body in bodies:
        if (reads := _reads(body)) is not None and reads[0] == stream:
            try:
                if settles_itself(parse_consumer(body, stored=True).spec):
                    ours.add(reads[1])
            except SpecError:
                continue
    return sorted(set(durables) - ours - {meant})


def refused_for(readers: list[str], stream: str) -> TaskFailedError:
    """Why a replay to one consumer does not begin."""
    shown = ", ".join(readers[:_SHOWN_READERS])
    more = f" and {len(readers) - _SHOWN_READERS} more" if len(readers) > _SHOWN_READERS else ""
    return TaskFailedError(
        f"replayHistory.toConsumer: durable consumers {shown}{more} of stream {stream} are not "
        "read by the consumer runtime, so their programs would handle the events as well. See "
        "that they leave out messages whose Outbox-Replay-To names another durable consumer, then "
        "set allowOtherReaders (--allow-other-readers)",
        reason=Reason.OTHER_READERS,
    )


def check_renewed(body: Mapping[str, Any], kind: ConditionType, version: str) -> None:
    """See that the pods of a resource are of this version: those of before know no replays.

    Raises:
        DependencyError: They are being replaced; look again later.
    """
    status = body.get("status") or {}
    what = f"{body['kind']} {body['metadata']['name']}"
    if status.get("operatorVersion") != version:
        raise DependencyError(f"waits for {what} to be looked after by this version ({version})")
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and condition.get("reason") == Reason.ROLLING_OUT:
            raise DependencyError(f"waits for the pods of {what} to be of this version")


def readers_of(stream: str, bodies: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The EventConsumers that read a stream."""
    return [body for body in bodies if (reads := _reads(body)) is not None and reads[0] == stream]


def _reads(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Stream and durable consumer, as its last status says."""
    state = (body.get("status") or {}).get("consumer") or {}
    stream, name = state.get("stream"), state.get("name")
    return None if stream is None or name is None else (str(stream), str(name))
