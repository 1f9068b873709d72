"""A task as it stands, as facts and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import parse_status
from outbox_operator.api.v1alpha1.task import REFS, TARGETS, Failure, OutboxTaskStatus, TaskResult
from outbox_operator.cli.cluster.report import count, moment, prose
from outbox_operator.cli.cluster.screen import Screen, Tone
from outbox_operator.plan.amounts import span
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """A task.

    Attributes:
        ended: Whether it is over.
        well: It ended, all was done, and it found nothing that is an error.
        reason: How it stands or ended.
        requested_by_verified: Whether the API server compared that; None: nobody said.
    """

    namespace: str
    name: str
    action: str
    kind: str
    target: str
    dry_run: bool
    ended: bool
    well: bool
    reason: str
    message: str = prose()
    selected: int | None
    done: int
    failed: int
    failures: tuple[Mapping[str, Any], ...] = prose()
    result: Mapping[str, Any] | None = prose()
    requested_by: str | None
    requested_by_verified: bool | None
    started_at: datetime | None
    completed_at: datetime | None


def task(body: Mapping[str, Any]) -> TaskFacts:
    """What is true of a task, from the object."""
    spec, metadata = body.get("spec") or {}, body["metadata"]
    status = parse_status(body, OutboxTaskStatus)
    complete = _condition(status, ConditionType.COMPLETE)
    failed = _condition(status, ConditionType.FAILED)
    ref = next((one for one in REFS if one in spec), "pipelineRef")
    is_complete = complete is not None and complete.status == "True"
    said = failed if failed is not None and failed.status == "True" else complete
    return TaskFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        action=next((one for one in TARGETS if one in spec), "unknown"),
        kind=REFS[ref],
        target=str((spec.get(ref) or {}).get("name", "")),
        dry_run=bool(spec.get("dryRun")),
        ended=is_complete or said is failed is not None,
        well=is_complete and not status.failed and not _has_errors(status.result),
        reason=said.reason if said else Reason.NOT_OBSERVED,
        message=said.message if said else "no operator has looked at it yet",
        selected=status.selected,
        done=status.done,
        failed=status.failed,
        failures=tuple(_failure(one) for one in status.failures),
        result=None if status.result is None else status.result.model_dump(mode="json"),
        requested_by=spec.get("requestedBy"),
        requested_by_verified=status.requestedByVerified,
        started_at=moment(status.startTime),
        completed_at=moment(status.completionTime),
    )


def progress(facts: TaskFacts) -> str:
    """Where it is, in one line."""
    if facts.selected is None:
        return f"{facts.name}: {facts.reason}: {facts.message}".rstrip(": ")
    failed = f", {facts.failed} failed" if facts.failed else ""
    return f"{facts.name}: {facts.reason}, {facts.done} of {count(facts.selected)} done{failed}"


def lines(all_: Sequence[TaskFacts], screen: Screen, *, goes_on: bool = True) -> Iterator[str]:
    """How tasks stand or ended; `goes_on`: what is not at its end does, without this command."""
    for facts in all_:
        yield from _lines(facts, screen, "goes on" if goes_on else "not at its end")


def _lines(facts: TaskFacts, screen: Screen, unfinished: str) -> Iterator[str]:
    tone: Tone = "good" if facts.well else "bad" if facts.ended else "warn"
    took = ""
    if facts.started_at and facts.completed_at:
        took = f" after {span((facts.completed_at - facts.started_at).total_seconds())}"
    head = (
        f"OutboxTask {facts.namespace}/{facts.name}: {facts.action} of {facts.kind} {facts.target}"
    )
    yield from screen.wrap(head)
    state = screen.paint(facts.reason, tone)
    yield f"  {state}{took}" if facts.ended else f"  {state}, {unfinished}"
    if facts.message:
        yield from screen.tell(facts.message, "  ")
    for one in facts.failures:
        text = f"{one['id']}: {one['reason']}: {one['message']}".rstrip(": ")
        yield from screen.tell(text, "    ", hang="      ")
    unlisted = facts.failed - len(facts.failures)
    if unlisted > 0:
        yield f"    and {unlisted} more that failed"
    if facts.result is not None:
        yield from _result(facts.result, screen)


def _result(result: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    if result["counts"]:
        counted = ", ".join(f"{name} {number}" for name, number in result["counts"].items())
        yield from screen.wrap(counted, "  ")
    for found in result["findings"]:
        about = f" {found['object']}" if found["object"] else ""
        text = f"{found['severity']} {found['check']}{about}: {found['message']}"
        yield from screen.tell(text, "  ", hang="    ")
        if found["remedy"]:
            yield from screen.tell(found["remedy"], "    ")
    if result["omitted"]:
        yield f"  and {result['omitted']} more findings"


def _condition(status: OutboxTaskStatus, type_: ConditionType) -> Any:
    return next((one for one in status.conditions if one.type == type_), None)


def _has_errors(result: TaskResult | None) -> bool:
    return result is not None and any(one.severity == "Error" for one in result.findings)


def _failure(one: Failure) -> Mapping[str, Any]:
    return one.model_dump(mode="json")
