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
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.plan.passes.approval import (
    Question,
    Vote,
    annotation_counted,
    approvals_after,
)
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.moving import KEPT_UNTIL_DATABASE_SEEN, KEPT_WHERE_INBOX_WAS
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.stream_moving import (
    KEPT_UNTIL_STREAM_SEEN,
    KEPT_WHERE_DURABLE_WAS,
)
from outbox_operator.plan.scaling.result import Scaled
from outbox_operator.plan.status.conditions import (
    stamp,
)
from outbox_operator.plan.status.sampled import of_consumer
from outbox_operator.plan.status.workload import Replicas, WorkloadResult
from outbox_operator.reasons import Reason


def keeps_pods(durable: DurableResult, inbox: InboxResult, *, changed: bool) -> str | None:
    """Why pods that run are left as they are; None: they may be as declared.

    Args:
        durable: Their durable consumer.
        inbox: Their inbox.
        changed: Whether new ones would log in otherwise: where that leads has to be known first.
    """
    if durable.held:
        return KEPT_WHERE_DURABLE_WAS
    if inbox.held:
        return KEPT_WHERE_INBOX_WAS
    if changed and not durable.located:
        return KEPT_UNTIL_STREAM_SEEN.format(ConditionType.CONSUMER_READY)
    return KEPT_UNTIL_DATABASE_SEEN if changed and not inbox.located else None


def restarting(consumer: Consumer) -> bool:
    """Whether a person asked for a restart that may be carried out."""
    return meta.RESTART_ANNOTATION in consumer.meta.annotations and not consumer.meta.paused


def _question(consumer: Consumer, inbox: InboxResult, durable: DurableResult) -> Question | None:
    """What a person decides about the inbox."""
    known = consumer.status.pendingMove
    of_stream = None if durable.question is None else durable.question.plan
    before = None if known is None or known.hash == of_stream else known.hash
    if inbox.question is None and consumer.spec.inbox is not None:
        return Question.unchanged("Inbox", before)
    return dataclasses.replace(inbox.question or Question(part="Inbox"), before=before)


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
        inbox: Its inbox table.
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
    acted_on = {meta.RESTART_ANNOTATION} if workload.restarted else set()
    if durable.reset_over and meta.RESET_LEFT_ANNOTATION in consumer.meta.annotations:
        acted_on.add(meta.RESET_LEFT_ANNOTATION)
    question = _question(consumer, inbox, durable)
    questions = [question, durable.question]
    approvals = approvals_after(consumer, questions, votes, now)
    if annotation_counted(consumer, questions, approvals):
        acted_on.add(meta.APPROVE_PLAN_ANNOTATION)
    asked = inbox.question is not None or consumer.spec.inbox is None
    pending = durable.pending_move or (inbox.pending_move if asked else status.pendingMove)
    status = status.model_copy(update={"approvals": approvals, "pendingMove": pending})
    of_pods = () if workload.part is None else (workload.part,)
    return PassResult(
        parts=(*durable.parts, *inbox.parts, *of_pods, *(() if scaled is None else (scaled.part,))),
        status=status,
        ready_reason=Reason.IN_SYNC,
        busy=busy,
        drifts=workload.drifts,
        corrections=(*durable.corrections, *inbox.corrections),
        acted_on=frozenset(acted_on),
        moves=tuple(one for one in (durable.moved, inbox.moved) if one is not None),
        scaled=() if scaled is None or scaled.change is None else (scaled.change,),
        sampled=of_consumer(
            consumer, state, durable.unread_seconds, pods, now, scaled=status.autoscaling
        ),
    )
