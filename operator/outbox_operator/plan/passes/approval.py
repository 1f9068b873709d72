"""What persons say of a plan that waits, by whatever way, and what becomes of it. Pure.

Three ways lead here: the field `approvedPlan`, an OutboxTask, and the annotation of versions
before. Each names the plan by its hash and counts once: what a pass has taken note of stands in
`status.approvals`, and is in force until the plan has run or another one waits. Tasks speak in the
order in which they were made, not in which passes hear of them: one that is heard late, or again
after the history has forgotten it, does not outdo what was said after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.api.v1alpha1.approval import Approvals, DecidedPart, Decision
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.status.conditions import Part, stamp
from outbox_operator.reasons import Reason

LONGEST_HISTORY: Final = 10
LONGEST_REASON: Final = 500
ANNOTATION: Final = f"annotation {meta.APPROVE_PLAN_ANNOTATION}"
_PIPELINE_FIELD: Final = "spec.database.migrations.approvedPlan"
_INBOX_FIELD: Final = "spec.inbox.approvedPlan"
_ARCHIVE_FIELD: Final = "spec.handler.archive.migrations.approvedPlan"
_FIELD: Final = "spec.approvedPlan"

Decided = Pipeline | Consumer | Stream
"""What has plans that wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What an OutboxTask says of a plan.

    Attributes:
        task: Its UID.
        name: Its name.
        plan: Hash of the plan.
        approves: Or rejects.
        by: Who asked for the task; None: it does not say.
        verified: Whether the API server made sure of that.
        time: When the task was made, RFC 3339.
        reason: Why, for a rejection.
    """

    task: str
    name: str
    plan: str
    approves: bool
    by: str | None = None
    verified: bool = False
    time: str = ""
    reason: str | None = None

    @property
    def order(self) -> tuple[str, bool, str]:
        """Of two of one second, which is all that the API server tells, a no is the later one."""
        return self.time, not self.approves, self.task


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a pass found that a person decides.

    Attributes:
        part: Of what.
        before: Hash of the plan that waited when the status was written last.
        plan: Hash of the plan that waits or has just been carried out; None: there is none.
        waits: Whether it still does.
    """

    part: DecidedPart
    before: str | None = None
    plan: str | None = None
    waits: bool = False

    @classmethod
    def unchanged(cls, part: DecidedPart, before: str | None) -> Question | None:
        """What nobody could look at is taken to be as it was."""
        return None if before is None else cls(part=part, before=before, plan=before, waits=True)


def field_of(resource: Decided) -> str:
    """Path of the field that approves a plan of a resource."""
    spec = resource.spec
    if isinstance(spec, EventConsumerSpec):
        if archive_of(spec) is not None:
            return _ARCHIVE_FIELD
        return _FIELD if spec.inbox is None else _INBOX_FIELD
    return _FIELD if isinstance(spec, EventStreamSpec) else _PIPELINE_FIELD


def last_word(
    resource: Decided, part: DecidedPart, plan: str, votes: Sequence[Vote] = ()
) -> Decision | None:
    """What was said last of a plan that waits; None: nobody has said anything.

    Args:
        resource: With its last status.
        part: What the plan is of.
        plan: Its hash.
        votes: Of tasks, the oldest first.
    """
    said = [one for one in _history(resource) if (one.part, one.plan) == (part, plan)]
    for one in _fresh(resource, votes):
        if one.plan == plan:
            _insert(said, one.model_copy(update={"part": part}))
    return said[-1] if said and said[-1].state == "Open" else None


def allows(word: Decision | None) -> bool:
    """Whether a plan that needs approval may run."""
    return word is not None and word.decision == "Approved"


def held(
    resource: Decided, kind: ConditionType, plan: str, word: Decision | None, waits: str
) -> Part:
    """The condition of a part whose plan may not run.

    Args:
        resource: Whose it is.
        kind: The condition.
        plan: Hash of the plan.
        word: What was said last of it.
        waits: What waits, and what a person can do instead of approving, in sentences.
    """
    if word is not None and word.decision == "Rejected":
        reason = Reason.PLAN_REJECTED
        who = f" by {word.by}" if word.by else ""
        when = f" at {word.time}"
        why = f": {word.reason.rstrip('.')}" if word.reason else ""
        text = f"plan {plan} was rejected{who}{when}{why}. It does not run unless it is approved"
    else:
        reason = Reason.APPROVAL_PENDING
        text = f"{waits}. To approve plan {plan}, set {field_of(resource)}"
        text += _remark(resource, plan)
    return Part(type=kind, status="False", reason=reason, message=text, stalled=True)


def _remark(resource: Decided, plan: str) -> str:
    """On an approval that is not one of this plan."""
    annotation = resource.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    if annotation:
        return f" (the annotation approves {annotation[:64]!r}, another plan)"
    declared = _declared(resource)
    if declared is None:
        return ""
    if declared != plan:
        return f" ({declared!r} there is another plan)"
    return " (it has approved this plan once, and does so again once it was taken out and put back)"


def approvals_after(
    resource: Decided, questions: Iterable[Question | None], votes: Sequence[Vote], now: datetime
) -> Approvals | None:
    """`status.approvals` after a pass; None: nobody has decided anything yet.

    Args:
        resource: With its last status.
        questions: Of each part that was looked at.
        votes: Of tasks, the oldest first.
        now: Time of the pass.
    """
    history, fresh = _history(resource), _fresh(resource, votes)
    declared, spent = _declared(resource), _spent(resource)
    annotation, heeded = _annotation(resource), _heeded(resource)
    for question in questions:
        if question is None:
            continue
        shown = {question.plan, question.before} - {None}
        taken = [one for one in fresh if one.plan in shown]
        for one in taken:
            time = one.time or stamp(now)
            _insert(history, one.model_copy(update={"part": question.part, "time": time}))
        history = _settled(history, question)
        through = {one.through for one in taken}
        spent = declared if field_of(resource) in through else spent
        heeded = annotation if ANNOTATION in through else heeded
    spent = spent if spent == declared else None
    heeded = heeded if heeded == annotation else None
    if not history and spent is None and heeded is None:
        return None
    return Approvals(history=_kept(history), spentPlan=spent, spentAnnotation=heeded)


def outdone(vote: Vote, approvals: Approvals | None) -> bool:
    """Whether a task that was made later has decided on the same plan."""
    history = approvals.history if approvals else []
    return any(
        one.task is not None and one.plan == vote.plan and _order(one) > vote.order
        for one in history
    )


def _insert(history: list[Decision], one: Decision) -> None:
    """Put a decision where it belongs: behind all, but for those of tasks that were made later.

    What a field or an annotation says has no time but that of the pass that saw it, which may be
    long after it was said: a task is never older than that.
    """
    later = (
        index
        for index, other in enumerate(history)
        if one.task
        and other.task
        and (other.part, other.plan) == (one.part, one.plan)
        and _order(other) > _order(one)
    )
    history.insert(next(later, len(history)), one)


def _order(one: Decision) -> tuple[str, bool, str]:
    """As `Vote.order`."""
    return one.time, one.decision == "Rejected", one.task or ""


def _kept(history: list[Decision]) -> list[Decision]:
    """The newest; and of a plan that waits, whatever was said of others, the last words.

    That of a task is kept beside a later one of a field: by it tasks that are still at work, and
    of which nothing is kept, are known to be older.
    """
    waiting = {(one.part, one.plan) for one in history if one.state == "Open"}
    last = {
        (one.part, one.plan, one.task is not None): index
        for index, one in enumerate(history)
        if (one.part, one.plan) in waiting
    }
    recent = range(len(history) - LONGEST_HISTORY, len(history))
    return [one for at, one in enumerate(history) if at in recent or at in last.values()]


def _settled(history: list[Decision], question: Question) -> list[Decision]:
    """The decisions of a part, once it is known what waits there now."""
    last = {one.plan: index for index, one in enumerate(history) if one.part == question.part}
    return [
        one.model_copy(update={"state": _state(one, question, last=last.get(one.plan) == index)})
        if (one.part, one.state) == (question.part, "Open")
        else one
        for index, one in enumerate(history)
    ]


def _state(one: Decision, question: Question, *, last: bool) -> str:
    if not last:
        return "Replaced"
    if question.waits:
        return "Open" if one.plan == question.plan else "Outdated"
    return "Done" if one.decision == "Approved" else "Outdated"


def annotation_counted(
    resource: Decided, questions: Sequence[Question | None], approvals: Approvals | None
) -> bool:
    """Whether the annotation has been heeded, so that it can go; or nothing waits any more.

    It stays until then: a resource definition of the version before keeps no `status.approvals`.
    """
    value = resource.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    if value is None:
        return False
    history = approvals.history if approvals else []
    if any((o.through, o.plan) == (ANNOTATION, value) and o.state != "Open" for o in history):
        return True
    return all(question is not None and not question.waits for question in questions)


def _fresh(resource: Decided, votes: Sequence[Vote]) -> list[Decision]:
    """What was said and no status speaks of yet; what stops comes last and wins."""
    history = _history(resource)
    found: list[Decision] = []
    annotation = _annotation(resource)
    counted = {one.plan for one in history if (one.through, one.state) == (ANNOTATION, "Open")}
    if annotation and annotation not in counted and annotation != _heeded(resource):
        found.append(Decision(plan=annotation, decision="Approved", through=ANNOTATION))
    declared = _declared(resource)
    if declared is not None and declared != _spent(resource):
        field = field_of(resource)
        found.append(Decision(plan=declared, decision="Approved", through=field))
    tasks = {one.task for one in history}
    found += [
        Decision(
            plan=vote.plan,
            decision="Approved" if vote.approves else "Rejected",
            by=vote.by,
            verified=vote.verified,
            through=f"OutboxTask {vote.name}",
            time=vote.time,
            task=vote.task,
            reason=vote.reason[:LONGEST_REASON] if vote.reason else None,
        )
        for vote in votes
        if vote.task not in tasks
    ]
    return found


def _history(resource: Decided) -> list[Decision]:
    before = resource.status.approvals
    return list(before.history) if before else []


def _spent(resource: Decided) -> str | None:
    before = resource.status.approvals
    return before.spentPlan if before else None


def _annotation(resource: Decided) -> str | None:
    return resource.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)


def _heeded(resource: Decided) -> str | None:
    """What the annotation said that has been counted: it may not have been removed yet."""
    before = resource.status.approvals
    return before.spentAnnotation if before else None


def _declared(resource: Decided) -> str | None:
    spec = resource.spec
    if isinstance(spec, EventConsumerSpec):
        if (archive := archive_of(spec)) is not None:
            return archive.migrations.approvedPlan
        return spec.inbox.approvedPlan if spec.inbox else spec.approvedPlan
    if isinstance(spec, EventStreamSpec):
        return spec.approvedPlan
    return spec.database.migrations.approvedPlan
