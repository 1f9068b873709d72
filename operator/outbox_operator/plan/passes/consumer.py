"""A pass over an EventConsumer: the sum of its durable consumer, its inbox and its pods. Pure.

The first two have modules beside this one; the workload behind them is planned in
`plan.kubernetes` and judged in `plan.status.workload`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.approval import DecidedPart
from outbox_operator.api.v1alpha1.archive import ArchiveApiState, ArchiveState
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec, EventConsumerStatus
from outbox_operator.plan.archives import api_of, archive_of
from outbox_operator.plan.kubernetes.archive_api import api_url
from outbox_operator.plan.passes.approval import (
    Question,
    Vote,
    annotation_counted,
    approvals_after,
)
from outbox_operator.plan.passes.archive import KEPT_WHERE_ARCHIVE_WAS, ArchiveResult
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.moving import KEPT_UNTIL_DATABASE_SEEN, KEPT_WHERE_INBOX_WAS
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.stream_moving import (
    KEPT_UNTIL_STREAM_SEEN,
    KEPT_WHERE_DURABLE_WAS,
)
from outbox_operator.plan.scaling.result import Scaled
from outbox_operator.plan.status.conditions import failed, stamp
from outbox_operator.plan.status.sampled import of_archive, of_consumer
from outbox_operator.plan.status.workload import Replicas, WorkloadResult
from outbox_operator.reasons import Reason


def condition_types(spec: EventConsumerSpec, *, in_redis: bool = False) -> Sequence[ConditionType]:
    """The parts of an EventConsumer, which depend on what it declares."""
    reachable = ConditionType.REDIS_REACHABLE if in_redis else ConditionType.NATS_REACHABLE
    types = [reachable, ConditionType.CONSUMER_READY]
    if in_redis:
        types.append(ConditionType.GROUP_MOVED)
    if has_tables(spec):
        types += [ConditionType.DATABASE_REACHABLE, ConditionType.SCHEMA_APPLIED]
    if spec.handler is not None:
        types.append(ConditionType.WORKLOAD_AVAILABLE)
    if spec.autoscaling is not None:
        types.append(ConditionType.AUTOSCALING)
    if archive_of(spec) is not None:
        types.append(ConditionType.ARCHIVE_COMPLETE)
    if (archive := archive_of(spec)) is not None and archive.backfill is not None:
        types.append(ConditionType.ARCHIVE_BACKFILLED)
    if api_of(spec) is not None:
        types.append(ConditionType.API_AVAILABLE)
    return types


def has_tables(spec: EventConsumerSpec) -> bool:
    """Whether it has an inbox or an archive, which a pass looks at."""
    return spec.inbox is not None or archive_of(spec) is not None


def is_scaled(spec: EventConsumerSpec) -> bool:
    """Whether the operator decides how many pods there are."""
    return spec.autoscaling is not None and spec.autoscaling.builtin


def is_asleep(consumer: Consumer) -> bool:
    """Whether there are no pods because nothing waits: the first event has to be seen soon.

    Not of one that is paused, whose first event changes nothing.
    """
    spec, scaled = consumer.spec, consumer.status.autoscaling
    running = is_scaled(spec) and spec.state == "Running" and not consumer.meta.paused
    return running and scaled is not None and scaled.wantedReplicas == 0


def may_rest(spec: EventConsumerSpec, scaled: Scaled | None) -> bool:
    """Whether passes have nothing to see to at each look.

    They look at an inbox or an archive, empty it of what is old, and see to the number of pods.
    Where there are none because nothing waits, all that can wait.
    """
    if is_scaled(spec) and scaled is not None and scaled.count == 0:
        return spec.state == "Running"
    return not has_tables(spec) and spec.autoscaling is None


def keeps_pods(durable: DurableResult, inbox: InboxResult, *, changed: bool) -> str | None:
    """Why pods that run are left as they are; None: they may be as declared.

    Args:
        durable: Their durable consumer.
        inbox: Their inbox, or their archive.
        changed: Whether new ones would log in otherwise: where that leads has to be known first.
    """
    if durable.held:
        return KEPT_WHERE_DURABLE_WAS
    if inbox.held:
        archived = isinstance(inbox, ArchiveResult)
        return KEPT_WHERE_ARCHIVE_WAS if archived else KEPT_WHERE_INBOX_WAS
    if changed and not durable.located:
        return KEPT_UNTIL_STREAM_SEEN.format(ConditionType.CONSUMER_READY)
    return KEPT_UNTIL_DATABASE_SEEN if changed and not inbox.located else None


def restarting(consumer: Consumer) -> bool:
    """Whether a person asked for a restart that may be carried out."""
    return meta.RESTART_ANNOTATION in consumer.meta.annotations and not consumer.meta.paused


def _question(consumer: Consumer, inbox: InboxResult, durable: DurableResult) -> Question | None:
    """What a person decides about the inbox, or the archive."""
    archive = consumer.status.archive
    part: DecidedPart = "Inbox" if archive_of(consumer.spec) is None else "Schema"
    if archive is not None and archive.pendingPlan is not None:
        return _about(inbox.question, part, archive.pendingPlan.hash)
    known = consumer.status.pendingMove
    of_stream = None if durable.question is None else durable.question.plan
    before = None if known is None or known.hash == of_stream else known.hash
    declared = consumer.spec.inbox or archive_of(consumer.spec)
    if inbox.question is None and declared is None:
        return dataclasses.replace(Question(part=part), before=before)
    return _about(inbox.question, part, before)


def _about(question: Question | None, part: DecidedPart, before: str | None) -> Question | None:
    """A question, now that it is known what waited when the status was written last."""
    if question is None:
        return Question.unchanged(part, before)
    return dataclasses.replace(question, before=before)


def _archive_state(
    consumer: Consumer, durable: DurableResult, inbox: InboxResult, workload: WorkloadResult
) -> ArchiveState | None:
    """`status.archive`; None: none is declared, or nobody has seen it."""
    if archive_of(consumer.spec) is None:
        return None
    state = inbox.state if isinstance(inbox, ArchiveResult) else consumer.status.archive
    if state is not None:
        state = state.model_copy(update={"api": _api_state(consumer, state, workload)})
    if state is None or durable.state is None:
        return state
    lag = durable.state.pending + durable.state.ackPending
    return state.model_copy(update={"lag": lag})


def _api_state(
    consumer: Consumer, before: ArchiveState, workload: WorkloadResult
) -> ArchiveApiState | None:
    """`status.archive.api`; what nobody could look at stays as it was."""
    if api_of(consumer.spec) is None:
        return None
    if workload.beside is None:
        return before.api
    _, pods = workload.beside
    return ArchiveApiState(url=api_url(consumer), replicas=pods.existing, readyReplicas=pods.ready)


def consumer_result(
    consumer: Consumer,
    durable: DurableResult,
    inbox: InboxResult,
    workload: WorkloadResult,
    now: datetime,
    *,
    pods: Replicas,
    votes: Sequence[Vote] = (),
    scaled: Scaled | None = None,
) -> PassResult[EventConsumerStatus]:
    """What a pass over an EventConsumer comes to.

    Args:
        consumer: The resource.
        durable: Its durable consumer.
        inbox: Its inbox table, or its archive.
        workload: Its pods, as this pass left them.
        now: Time of the pass.
        pods: As its Deployment says it.
        votes: What tasks say of plans.
        scaled: What autoscaling decided; None: the number of pods is declared, or is as it was.
    """
    status, state, busy = consumer.status, durable.state, False
    if state is not None:
        before = status.consumer
        busy = before is None or before.ackFloor != state.ackFloor or state.pending > 0
        status = status.model_copy(update={"consumer": state, "sampledAt": stamp(now)})
    if consumer.spec.autoscaling is None:
        status = status.model_copy(update={"autoscaling": None})
    elif scaled is not None:
        status = status.model_copy(update={"autoscaling": scaled.status})
    if workload.numbers is not None:
        update = {
            "replicas": workload.numbers.existing,
            "readyReplicas": workload.numbers.ready,
            "selector": workload.selector,
        }
        status = status.model_copy(update=update)
    if consumer.spec.inbox is None or inbox.database is not None:
        status = status.model_copy(update={"inboxDatabase": inbox.database})
    status = status.model_copy(
        update={"archive": _archive_state(consumer, durable, inbox, workload)}
    )
    acted_on = {meta.RESTART_ANNOTATION} if workload.restarted else set()
    if durable.reset_over and meta.RESET_LEFT_ANNOTATION in consumer.meta.annotations:
        acted_on.add(meta.RESET_LEFT_ANNOTATION)
    question = _question(consumer, inbox, durable)
    questions = [question, durable.question]
    approvals = approvals_after(consumer, questions, votes, now)
    if annotation_counted(consumer, questions, approvals):
        acted_on.add(meta.APPROVE_PLAN_ANNOTATION)
    declared = consumer.spec.inbox or archive_of(consumer.spec)
    asked = inbox.question is not None or declared is None
    pending = durable.pending_move or (inbox.pending_move if asked else status.pendingMove)
    status = status.model_copy(update={"approvals": approvals, "pendingMove": pending})
    archived = inbox if isinstance(inbox, ArchiveResult) else ArchiveResult()
    of_pods = () if workload.part is None else (workload.part,)
    if archived.api_error is not None:  # its pods cannot tell
        of_pods = (*of_pods, failed(ConditionType.API_AVAILABLE, archived.api_error))
    elif workload.beside is not None:
        of_pods = (*of_pods, workload.beside[0])
    of_scaling = None if scaled is None else scaled.part
    of_numbers = tuple(
        part for part in (of_scaling, archived.complete, archived.backfilled) if part is not None
    )
    return PassResult(
        parts=(*durable.parts, *inbox.parts, *of_pods, *of_numbers),
        status=status,
        ready_reason=Reason.IN_SYNC,
        busy=busy,
        drifts=workload.drifts,
        corrections=(*durable.corrections, *inbox.corrections),
        acted_on=frozenset(acted_on),
        moves=tuple(one for one in (durable.moved, inbox.moved) if one is not None),
        scaled=() if scaled is None or scaled.change is None else (scaled.change,),
        notices=durable.notices,
        sampled=of_consumer(
            consumer,
            state,
            durable.unread_seconds,
            pods,
            now,
            scaled=status.autoscaling,
            archive=of_archive(status.archive, fresh=archived.fresh),
        ),
    )
