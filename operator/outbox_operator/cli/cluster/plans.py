"""What waits for approval, who decided what, and the text of both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import parse_meta, parse_status
from outbox_operator.api.v1alpha1.approval import Decision
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.cli.cluster.report import ago, moment
from outbox_operator.cli.cluster.screen import Cell, Column, Screen, Tone, clean
from outbox_operator.plan.advice import SHORT
from outbox_operator.reasons import Reason

Status = OutboxPipelineStatus | EventStreamStatus | EventConsumerStatus
_PARTS: Final = {
    "Schema": "the outbox's schema",
    "Stream": "the stream",
    "Inbox": "the inbox",
    "Archive": "the archive",
}
_TONES: Final[Mapping[str, Tone]] = {"Approved": "good", "Rejected": "bad"}
_OF_MOVES: Final = (
    ConditionType.STREAM_READY, ConditionType.CONSUMER_READY, ConditionType.SCHEMA_APPLIED
)  # fmt: skip
_ASKED: Final = frozenset({Reason.APPROVAL_PENDING, Reason.PLAN_REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A plan that does not run yet.

    Attributes:
        part: Schema, Stream, Inbox or Archive.
        hash: Names it, for whoever decides.
        decision: Approved or Rejected; None: nobody has decided.
        statements: SQL that would run, in order.
        destructive: Whether data would be lost.
        text: What it is, and what to do instead, as the operator says it.
    """

    part: str
    hash: str
    decision: str | None
    statements: tuple[str, ...]
    destructive: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision of before; as `status.approvals.history`."""

    plan: str
    part: str
    decision: str
    state: str
    by: str | None
    verified: bool
    through: str
    reason: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The plans of one object.

    Attributes:
        waiting: What does not run yet.
        decisions: Those of before, the newest first.
    """

    namespace: str
    kind: str
    name: str
    waiting: tuple[Waiting, ...]
    decisions: tuple[Decided, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlansSeen:
    """The facts of `outbox plan show`."""

    at: datetime
    objects: tuple[Plans, ...]


def plans_of(body: Mapping[str, Any]) -> Plans:
    """The plans of a pipeline, stream or consumer, as the API server has it."""
    metadata = parse_meta(body)
    status: Status
    if metadata.kind == meta.PIPELINE:
        status = parse_status(body, OutboxPipelineStatus)
    elif metadata.kind == meta.STREAM:
        status = parse_status(body, EventStreamStatus)
    else:
        status = parse_status(body, EventConsumerStatus)
    history = tuple(status.approvals.history) if status.approvals else ()
    return Plans(
        namespace=metadata.namespace,
        kind=metadata.kind,
        name=metadata.name,
        waiting=tuple(_waiting(status, history)),
        decisions=tuple(_decided(one) for one in reversed(history)),
    )


def _waiting(status: Status, history: Sequence[Decision]) -> Iterator[Waiting]:
    said = {one.type: one for one in status.conditions if one.reason in _ASKED}
    if isinstance(status, OutboxPipelineStatus) and status.schema_ is not None:
        pending, part = status.schema_.pendingPlan, said.get(ConditionType.SCHEMA_APPLIED)
        if pending is not None:
            yield Waiting(
                part="Schema",
                hash=pending.hash,
                decision=_decision(history, pending.hash),
                statements=tuple(pending.statements),
                destructive=pending.destructive,
                text="" if part is None else part.message,
            )
    archive = status.archive if isinstance(status, EventConsumerStatus) else None
    migration = None if archive is None else archive.pendingPlan
    move = status.pendingMove
    asked = [] if move is None else [said[kind] for kind in _OF_MOVES if kind in said]
    asked = [one for one in asked if move is not None and move.hash in one.message]
    of_tables = any(one.type == ConditionType.SCHEMA_APPLIED for one in asked)
    if migration is not None and not of_tables:  # a move of it is decided about as a whole
        part = said.get(ConditionType.SCHEMA_APPLIED)
        yield Waiting(
            part="Archive",
            hash=migration.hash,
            decision=_decision(history, migration.hash),
            statements=tuple(migration.statements),
            destructive=False,
            text="" if part is None else part.message,
        )
    if move is not None:
        tables = "Inbox" if archive is None else "Archive"
        yield Waiting(
            part=tables if of_tables else "Stream",
            hash=move.hash,
            decision=_decision(history, move.hash),
            statements=tuple(migration.statements) if of_tables and migration else (),
            destructive=False,
            text=asked[0].message if asked else move.text,
        )


def _decision(history: Iterable[Decision], plan: str) -> str | None:
    found = [one.decision for one in history if (one.plan, one.state) == (plan, "Open")]
    return found[-1] if found else None


def _decided(one: Decision) -> Decided:
    return Decided(
        plan=one.plan,
        part=one.part,
        decision=one.decision,
        state=one.state,
        by=one.by,
        verified=one.verified,
        through=one.through,
        reason=one.reason,
        at=moment(one.time),
    )


def lines(seen: PlansSeen, screen: Screen) -> Iterator[str]:
    """What waits, with the statements as they would run, and who decided what."""
    if not seen.objects:
        yield "no plan waits"
    for number, one in enumerate(seen.objects):
        if number:
            yield ""
        yield from _object(one, seen.at, screen)


def _object(one: Plans, now: datetime, screen: Screen) -> Iterator[str]:
    yield f"{one.kind} {one.namespace}/{one.name}"
    if not one.waiting:
        yield "  no plan waits"
    for plan in one.waiting:
        yield ""
        yield from _plan(one, plan, screen)
    if one.decisions:
        yield ""
        yield "decisions"
        yield from screen.table(_COLUMNS, [_row(each, now) for each in one.decisions], "  ")
        if any(_is_hearsay(each) for each in one.decisions):
            yield "  * as the task says; the API server did not compare it"
        for each in one.decisions:
            if each.reason:
                yield from screen.wrap(f"{each.plan}: {each.reason}", "  ", hang="    ")


def _plan(one: Plans, plan: Waiting, screen: Screen) -> Iterator[str]:
    decision = plan.decision or "waits for approval"
    tone: Tone = _TONES.get(decision, "warn")
    lossy = ", destroys data" if plan.destructive else ""
    yield f"plan {plan.hash} of {_PARTS[plan.part]}{lossy}: {screen.paint(decision, tone)}"
    for statement in plan.statements:  # to be read, and to be run by hand: nothing is wrapped
        text = "\n".join(clean(line) for line in statement.splitlines())
        yield from (f"  {line}" for line in f"{text};".split("\n"))
    if plan.text:
        yield ""
        yield from screen.wrap(plan.text)
    if plan.decision != "Approved":
        yield ""
        yield "next"
        yield f"  {command(one, 'approve', plan.hash)}"
        if plan.decision is None:
            yield f"  {command(one, 'reject', plan.hash, '--reason TEXT')}"


def command(one: Plans, verb: str, plan: str, more: str = "") -> str:
    """The command that decides about a plan."""
    name = one.name if one.kind == meta.PIPELINE else f"{SHORT[one.kind]}/{one.name}"
    words = ["kubectl outbox plan", verb, name, plan, *([more] if more else ())]
    return f"{' '.join(words)} -n {one.namespace}"


_COLUMNS: Final = (
    Column("WHEN", wraps=True),
    Column("PLAN"),
    Column("DECISION"),
    Column("STATE"),
    Column("BY", wraps=True),
    Column("THROUGH", wraps=True),
)


def _is_hearsay(one: Decided) -> bool:
    return one.by is not None and not one.verified


def _row(one: Decided, now: datetime) -> list[str | Cell]:
    who = one.by or "-"
    return [
        ago(one.at, now),
        one.plan,
        Cell(one.decision, _TONES.get(one.decision, "plain")),
        one.state,
        f"{who}*" if _is_hearsay(one) else who,
        one.through.replace("OutboxTask ", "obt/", 1),
    ]
