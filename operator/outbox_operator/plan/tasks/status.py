"""What the status of a task says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from outbox_operator.api.conditions import (
    LONGEST_MESSAGE,
    Condition,
    ConditionStatus,
    ConditionType,
    merge,
)
from outbox_operator.api.v1alpha1.task import (
    LONGEST_TEXT,
    MOST_FAILURES,
    Failure,
    OutboxTaskStatus,
    TaskResult,
)
from outbox_operator.counted import counted
from outbox_operator.plan.status.conditions import stamp
from outbox_operator.reasons import Reason
from outbox_operator.wire.headers import without_strays

_LONGEST_ID: Final = 256
CALM: Final = frozenset(
    {
        Reason.RUNNING,
        Reason.SUSPENDED,
        Reason.WAITS_FOR_TASK,
        Reason.COMPLETED,
        Reason.DRY_RUN,
    }
)
"""Nothing is wrong, and nobody has to act."""
GONE_TEXT: Final = "gone before their turn came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task is. An action answers each slice with what it is afterwards.

    Attributes:
        selected: Events that it is about; None: not counted (yet).
        where: From where to go on, for the action alone. Ends up in the status: JSON, a few
            kilobytes, no payload and no key of an event.
        finished: Nothing is left to do.
        gives_up: It ends before that, because too much could not be done.
        result: What an action answers that answers something.
        pause_seconds: Nothing can be done at the moment; look again after this time.
        note: What is going on, for people.
    """

    selected: int | None = None
    done: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False
    gives_up: bool = False
    result: TaskResult | None = None
    pause_seconds: float | None = None
    note: str = ""

    @property
    def handled(self) -> int:
        """Events that are done or could not be."""
        return self.done + self.failed

    def failing(self, event_id: str, reason: Reason, message: str, *, count: int = 1) -> Progress:
        """With one more event that could not be done, and `count` - 1 that nobody lists."""
        listed = self.failures
        if len(listed) < MOST_FAILURES:
            one = Failure(
                id=without_strays(event_id)[:_LONGEST_ID],
                reason=reason,
                message=cut(message, LONGEST_TEXT),
            )
            listed = (*listed, one)
        return replace(self, failed=self.failed + count, failures=listed)


def cut(text: str, longest: int) -> str:
    """A text that fits, with a mark where it was cut."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def verified_of(
    status: OutboxTaskStatus, requested_by: str | None, *, compares: bool
) -> bool | None:
    """Whether somebody made sure of who asked; None: the task does not say who.

    That happens when a task is made: what the operator found when it saw the task first holds,
    whatever the cluster does of later ones.

    Args:
        status: As it was written last.
        requested_by: Who asked, by the specification.
        compares: Whether the cluster compares it now.
    """
    if requested_by is None:
        return None
    return compares if status.requestedByVerified is None else status.requestedByVerified


def progress_of(status: OutboxTaskStatus) -> Progress:
    """As the last slice left it."""
    return Progress(
        selected=status.selected,
        done=status.done,
        failed=status.failed,
        failures=tuple(status.failures),
        where=status.progress or {},
        result=status.result,
    )


def with_progress(status: OutboxTaskStatus, progress: Progress) -> OutboxTaskStatus:
    """A status with what a slice came to."""
    return status.model_copy(
        update={
            "selected": progress.selected,
            "done": progress.done,
            "failed": progress.failed,
            "failures": list(progress.failures),
            "progress": dict(progress.where) or None,
            "result": progress.result,
        }
    )


def standing(
    status: OutboxTaskStatus,
    reason: Reason,
    message: str,
    *,
    now: datetime,
    generation: int,
    complete: bool = False,
    failed: bool = False,
) -> OutboxTaskStatus:
    """A status with the conditions of how a task stands.

    Args:
        status: With everything else.
        reason: Why it is not complete, or how it ended.
        message: For people.
        now: The time.
        generation: Of the specification that was looked at.
        complete: It ended well.
        failed: It ended otherwise.
    """
    text = cut(message, LONGEST_MESSAGE)
    suspended = reason is Reason.SUSPENDED
    fresh = [
        _condition(ConditionType.COMPLETE, complete, reason, text),
        _condition(
            ConditionType.FAILED, failed, reason if failed else Reason.NOTHING_FAILED,
            text if failed else "",
        ),
        _condition(
            ConditionType.SUSPENDED, suspended, reason if suspended else Reason.ACTIVE, ""
        ),
    ]  # fmt: skip
    ended = complete or failed
    return status.model_copy(
        update={
            "observedGeneration": generation,
            "conditions": merge(status.conditions, fresh, now=now, generation=generation),
            "waitsFor": status.waitsFor if reason is Reason.WAITS_FOR_TASK else None,
            "completionTime": stamp(now) if ended else None,
            # Of no use any more, and the largest part.
            "selection": None if ended else status.selection,
            "progress": None if ended else status.progress,
        }
    )


def settled(progress: Progress, *, dry_run: bool) -> Progress:
    """What a task comes to that has nothing left to do: each selected event is accounted for.

    One that nobody did was not there when its turn came. More than were selected are done when
    events of their keys came after the task began, and had to go along; actions that can tell count
    those as selected.
    """
    if progress.selected is None or dry_run or progress.gives_up:
        return progress
    gone = progress.selected - progress.handled
    if gone > 0:
        progress = progress.failing(counted(gone, "event"), Reason.NOT_FOUND, GONE_TEXT, count=gone)
    return replace(progress, selected=progress.handled)


def ending(progress: Progress, *, dry_run: bool) -> tuple[Reason, str, bool]:
    """Reason, message and whether a task that has nothing left to do ended well."""
    selected = "" if progress.selected is None else counted(progress.selected, "event")
    if dry_run:
        if progress.selected is not None and progress.failed:
            selected = f"{progress.selected - progress.failed} of {selected}"
        answered = progress.result.summary if progress.result else "" if selected else progress.note
        text = answered or f"{selected or 'nothing'} would be done"
        return Reason.DRY_RUN, f"{text}; nothing was changed", True
    if progress.gives_up:
        text = (
            f"{counted(progress.failed, 'event')} could not be done, which is enough; "
            f"{progress.done} of "
            f"{progress.selected} are done, the others were left as they are. Remove the cause "
            "that `failures` shows, then make a new task"
        )
        return Reason.TOO_MANY_FAILURES, text, False
    if progress.failed:
        of = counted(progress.selected or 0, "event is", "events are")
        text = f"{progress.done} of {of} done, {counted(progress.failed, 'is', 'are')} not"
        if progress.failures:
            first = progress.failures[0]
            text += f"; the first: {first.id}: {first.message or first.reason}"
        return Reason.SOME_FAILED, text, False
    said = progress.result.summary if progress.result else ""
    done = progress.selected
    text = "" if done is None else counted(done, "event is done", "events are done")
    return Reason.COMPLETED, progress.note or said or text, True


def said_while_trying(conditions: Iterable[Mapping[str, Any]], note: str) -> tuple[Reason, str]:
    """Reason and message of a task that writes down what it is about to do.

    Why the last try failed stays said until one gets through: else the task would say in turns that
    it runs and that it cannot, an event each time.
    """
    for one in conditions:
        if one.get("type") == ConditionType.COMPLETE and one["reason"] not in CALM:
            return Reason(one["reason"]), str(one.get("message") or "")
    return Reason.RUNNING, note


def may_go_on(body: Mapping[str, Any] | None, uid: str) -> bool:
    """Whether nobody has deleted or suspended a task that is at work.

    Args:
        body: As the watch has it now; None: it is gone.
        uid: Of the task; another one of its name is not meant.
    """
    if body is None or body["metadata"].get("uid") != uid:
        return False
    suspended = (body.get("spec") or {}).get("suspend") is True
    return not (suspended or body["metadata"].get("deletionTimestamp"))


def is_finished(conditions: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the conditions of a task, as the API server has them, say that it ended."""
    ends = {ConditionType.COMPLETE.value, ConditionType.FAILED.value}
    return any(one.get("type") in ends and one.get("status") == "True" for one in conditions)


def is_working(conditions: Iterable[Mapping[str, Any]]) -> bool:
    """The same, that it is at work."""
    return any(
        one.get("type") == ConditionType.COMPLETE and one.get("reason") == Reason.RUNNING
        for one in conditions
    )


def seconds_to_live(status: OutboxTaskStatus, ttl: int | None, now: datetime) -> float | None:
    """Seconds until a task that ended is to be deleted, 0 when it is due; None: it stays."""
    if ttl is None or status.completionTime is None:
        return None
    due = datetime.fromisoformat(status.completionTime) + timedelta(seconds=ttl)
    return max(0.0, (due - now).total_seconds())


def ended_labels(status: OutboxTaskStatus, namespace: str) -> tuple[str, ...]:
    """Of the series that says when a task like this ended last: `numbers.TASK_ENDED`."""
    target, failed = status.target, ConditionType.FAILED.value
    well = not any(one.type == failed and one.status == "True" for one in status.conditions)
    return (
        target.kind if target else "", namespace, target.name if target else "",
        status.action or "", "complete" if well else "failed",
    )  # fmt: skip


def _condition(kind: ConditionType, holds: bool, reason: Reason, message: str) -> Condition:
    status: ConditionStatus = "True" if holds else "False"
    return Condition(type=kind.value, status=status, reason=reason.value, message=message)
