"""A pass over an EventConsumer: what is planned over what was found, and what is said then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer, desired_consumer
from outbox_operator.plan.jetstream.starts import LeftAt
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.consumer import consumer_result, is_asleep
from outbox_operator.plan.passes.durable import (
    DurableObserved,
    DurableResult,
    durable_result,
    not_ready,
    plan_durable,
)
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.source import StreamNotFoundError, resolve_any
from outbox_operator.plan.sources import Source
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import ok
from outbox_operator.plan.status.workload import Replicas, WorkloadResult
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from support.passes import NOW, carried_out, paused
from support.resources import consumer

AWAY = NatsError("no answer")
SOURCE = Source(
    stream="ORDERS", nats=NatsConnection(url="nats://nats:4222"), dead_letter_prefix="dlq.ORDERS",
    dead_letter_stream="ORDERS_DLQ",
)  # fmt: skip
ORDERS = ObservedStream(name="ORDERS", config={})


def kept(resource: Consumer, **changes: Any) -> ObservedConsumer:
    """The durable consumer as the server has it when all is well."""
    config = desired_consumer(
        resource.spec, "billing", Owner.of(resource.meta), runtime=False, api_level=4
    )
    return ObservedConsumer(
        name="billing", stream="ORDERS", config=config | changes, ack_floor=5, pending=0
    )


def test_a_reference_stays_in_its_namespace() -> None:
    """Whether another one has such a stream is not said: it may be another tenant's."""
    with pytest.raises(StreamNotFoundError) as caught:
        resolve_any(consumer(), None)
    assert caught.value.message == (
        "spec.streamRef.name: EventStream shop/orders does not exist (yet); references do not "
        "cross namespaces"
    )


def run(
    resource: Consumer,
    observed: DurableObserved,
    letters: int | OutboxError | None = 2,
    error: OutboxError | None = None,
) -> DurableResult:
    observed = dataclasses.replace(observed, api_level=4)
    plan = plan_durable(resource, SOURCE, observed)
    applied = carried_out(
        plan,
        lambda c: ObservedConsumer(name=c["name"], stream="ORDERS", config=c),
        error,
        -1 if error is None else 0,
    )
    return durable_result(resource, SOURCE, plan, applied, letters, NOW, observed)


Found = Callable[[Consumer], DurableObserved]


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (lambda c: DurableObserved(stream=ORDERS), [Change.CREATED]),
        (lambda c: DurableObserved(stream=ORDERS, consumer=kept(c)), [Change.NOOP]),
        (lambda c: DurableObserved(stream=ORDERS, consumer=kept(c, ack_wait=7)),
         [Change.PATCHED]),
        (lambda c: DurableObserved(unreachable=AWAY), []),
        (lambda c: DurableObserved(unreadable=AWAY), []),
        (lambda c: DurableObserved(), []),
    ],
)  # fmt: skip
def test_what_is_planned(found: Found, changes: list[Change]) -> None:
    resource = consumer()
    observed = dataclasses.replace(found(resource), api_level=4)
    assert [one.change for one in plan_durable(resource, SOURCE, observed).steps] == changes


@pytest.mark.parametrize(
    ("found", "letters", "said"),
    [
        (lambda c: DurableObserved(stream=ORDERS), 2,
         [("NatsReachable", "True", "Connected"), ("ConsumerReady", "True", "InSync")]),
        (lambda c: DurableObserved(unreachable=AWAY), None,
         [("NatsReachable", "False", "NatsUnreachable"),
          ("ConsumerReady", "Unknown", "NatsUnreachable")]),
        (lambda c: DurableObserved(unreadable=AWAY), None,
         [("NatsReachable", "True", "Connected"), ("ConsumerReady", "False", "NatsUnreachable")]),
        (lambda c: DurableObserved(), None,
         [("NatsReachable", "True", "Connected"), ("ConsumerReady", "False", "StreamNotFound")]),
        (lambda c: DurableObserved(stream=ORDERS, consumer=kept(c, metadata={})), 2,
         [("NatsReachable", "True", "Connected"), ("ConsumerReady", "False", "ConsumerExists")]),
        (lambda c: DurableObserved(stream=ORDERS, consumer=kept(c)), AWAY,
         [("NatsReachable", "True", "Connected"), ("ConsumerReady", "False", "NatsUnreachable")]),
    ],
)  # fmt: skip
def test_what_is_said(
    found: Found, letters: int | OutboxError | None, said: list[tuple[str, str, str]]
) -> None:
    resource = consumer()
    result = run(resource, found(resource), letters)
    assert [(one.type, one.status, one.reason) for one in result.parts] == said


def test_a_stream_that_is_not_there_yet_is_waited_for() -> None:
    """Time will help, and something will tell: no error, no growing pause."""
    assert not run(consumer(), DurableObserved()).parts[-1].failing
    assert not not_ready(StreamNotFoundError("gone")).failing


def test_a_step_that_fails_keeps_the_numbers_of_the_last_status() -> None:
    resource = consumer()
    result = run(resource, DurableObserved(stream=ORDERS), error=AWAY)
    assert (result.state, result.parts[-1].reason) == (None, Reason.NATS_UNREACHABLE)


def test_a_paused_durable_consumer_is_left_as_it_is() -> None:
    resource = paused(consumer())
    result = run(resource, DurableObserved(stream=ORDERS, consumer=kept(resource, ack_wait=7)))
    assert result.parts[-1].reason == Reason.UPDATE_FROZEN
    assert result.state is not None  # its numbers are read all the same


def test_the_sum() -> None:
    before = EventConsumerStatus(
        consumer=DurableState(name="billing", stream="ORDERS", ackFloor=5), replicas=3
    )
    resource = dataclasses.replace(consumer(), status=before)
    durable = run(resource, DurableObserved(stream=ORDERS, consumer=kept(resource)))
    replicas = Replicas(wanted=2, existing=2, ready=1, updated=2)
    pods = WorkloadResult(
        part=ok(ConditionType.WORKLOAD_AVAILABLE, Reason.MINIMUM_REPLICAS),
        numbers=replicas,
        selector="a=b",
        drifts=("Deployment billing was changed",),
        restarted=True,
    )
    result = consumer_result(resource, durable, InboxResult(), pods, NOW, pods=replicas)
    status = result.status
    assert status.consumer is not None
    assert (status.consumer.ackFloor, status.consumer.deadLetters) == (5, 2)
    assert (status.replicas, status.readyReplicas, status.selector) == (2, 1, "a=b")
    assert result.drifts == pods.drifts
    assert result.acted_on == {meta.RESTART_ANNOTATION}
    assert not result.busy  # nothing moved
    moved = dataclasses.replace(
        resource, status=EventConsumerStatus(consumer=DurableState(name="b", stream="ORDERS"))
    )
    assert consumer_result(moved, durable, InboxResult(), pods, NOW, pods=replicas).busy
    nobody_looked = consumer_result(
        resource, durable, InboxResult(), WorkloadResult(), NOW, pods=replicas
    )
    assert nobody_looked.status.replicas == 3


def test_a_durable_that_went_with_its_stream_is_made_again_and_said() -> None:
    """The last pass found no stream, so that nothing was in force any more."""
    state = DurableState(name="billing", stream="ORDERS", ackFloor=41)
    lost = dataclasses.replace(consumer(), status=EventConsumerStatus(consumer=state))
    result = run(lost, DurableObserved(api_level=4, stream=ORDERS))
    assert result.corrections == (
        "durable consumer billing was missing and has been created again; all up to message 41 "
        "of stream ORDERS had been handled",
    )
    other = dataclasses.replace(
        consumer(), status=EventConsumerStatus(consumer=state.model_copy(update={"name": "other"}))
    )
    assert run(other, DurableObserved(api_level=4, stream=ORDERS)).corrections == ()
    assert run(consumer(), DurableObserved(api_level=4, stream=ORDERS)).corrections == ()


def test_one_that_a_reset_deleted_is_made_where_it_was() -> None:
    resource = consumer()
    left = LeftAt(
        task="t1", consumer=resource.meta.uid, stream="ORDERS", created=ORDERS.created, sequence=6
    )
    noted = dataclasses.replace(
        resource.meta, annotations={meta.RESET_LEFT_ANNOTATION: left.text()}
    )
    resource = dataclasses.replace(resource, meta=noted)
    (step,) = plan_durable(resource, SOURCE, DurableObserved(api_level=4, stream=ORDERS)).steps
    assert step.wanted["opt_start_seq"] == 6
    assert run(resource, DurableObserved(stream=ORDERS)).reset_over
    at_it = DurableObserved(api_level=4, stream=ORDERS, resetting="back")
    plan = plan_durable(resource, SOURCE, at_it)
    assert plan.steps == ()
    assert plan.problem is not None
    assert plan.problem.reason is Reason.WAITS_FOR_TASK
    there = dataclasses.replace(at_it, consumer=kept(resource))
    assert not run(resource, there).reset_over


@pytest.mark.parametrize(
    ("spec", "wanted", "asleep"),
    [
        ({"autoscaling": {"minReplicas": 0}}, 0, True),
        ({"autoscaling": {"minReplicas": 0}}, 1, False),
        ({"autoscaling": {"minReplicas": 0}}, None, False),
        # A number of others, or a person's: no event changes it.
        ({"autoscaling": {"mode": "External"}, "replicas": 0}, 0, False),
        ({"autoscaling": {"minReplicas": 0}, "state": "Stopped"}, 0, False),
        ({"replicas": 0}, None, False),
    ],
)
def test_who_is_looked_at_often(spec: dict[str, Any], wanted: int | None, asleep: bool) -> None:
    one = consumer(handler={"http": {"url": "http://billing/"}}, **spec)
    scaled = None if wanted is None else AutoscalingStatus(wantedReplicas=wanted)
    status = one.status.model_copy(update={"autoscaling": scaled})
    one = dataclasses.replace(one, status=status)
    assert is_asleep(one) is asleep
    assert not is_asleep(paused(one))


def test_somebody_elses_durable_does_not_count_as_ours_at_the_next_pass() -> None:
    resource = consumer()
    theirs = dataclasses.replace(kept(resource, metadata={}), created="2026-01-01T00:00:00Z")
    state = DurableState(name="billing", stream="ORDERS", created=theirs.created)
    for before in (None, None, state):  # the last one is a status of before
        if before is not None:
            status = resource.status.model_copy(update={"consumer": before})
            resource = dataclasses.replace(resource, status=status)
        result = run(resource, DurableObserved(stream=ORDERS, consumer=theirs))
        part = result.parts[-1]
        assert (part.status, str(part.reason)) == ("False", "ConsumerExists")
        assert result.state is None
        said = Condition(
            type=part.type.value, status="False", reason=str(part.reason), observedGeneration=1
        )
        status = EventConsumerStatus(consumer=result.state, conditions=[said])
        resource = dataclasses.replace(resource, status=status)
