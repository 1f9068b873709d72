"""A pass over an EventStream: what is planned over what was found, and what is said then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.api.resource import Stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.plan.jetstream.stream_config import desired_dead_letter_stream, desired_stream
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.stream import StreamObserved, plan_stream, stream_result
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change
from support.passes import NOW, carried_out, paused
from support.resources import stream

AWAY = NatsError("no answer")


def kept(resource: Stream, **changes: Any) -> ObservedStream:
    """The stream as the server has it when all is well."""
    config = desired_stream(resource.spec, Owner.of(resource.meta)) | {"allow_batched": True}
    return ObservedStream(name="ORDERS", config=config | changes, messages=5, last_sequence=5)


def letters(resource: Stream, **changes: Any) -> ObservedStream:
    """Its dead-letter stream."""
    config = desired_dead_letter_stream(resource.spec, Owner.of(resource.meta))
    assert config is not None
    return ObservedStream(name="ORDERS_DLQ", config=config | changes, messages=2)


def in_force(resource: Stream) -> Stream:
    """The same, after a pass that found all well."""
    ready = Condition(
        type=ConditionType.STREAM_READY.value, status="True", reason="InSync", observedGeneration=1
    )
    state = StreamState(name="ORDERS", lastSequence=5, driftCorrectedCount=3)
    return dataclasses.replace(resource, status=EventStreamStatus(conditions=[ready], stream=state))


def run(
    resource: Stream, observed: StreamObserved, error: OutboxError | None = None, fails: int = -1
) -> PassResult[EventStreamStatus]:
    plan = plan_stream(resource, observed)
    applied = carried_out(plan, lambda c: ObservedStream(name=c["name"], config=c), error, fails)
    return stream_result(resource, plan, applied, NOW, observed)


Found = Callable[[Stream], StreamObserved]


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (lambda s: StreamObserved(), [Change.CREATED, Change.CREATED]),
        (lambda s: StreamObserved(stream=kept(s)), [Change.NOOP, Change.CREATED]),
        (lambda s: StreamObserved(stream=kept(s), dead_letters=letters(s)),
         [Change.NOOP, Change.NOOP]),
        (lambda s: StreamObserved(stream=kept(s, max_msgs=7), dead_letters=letters(s)),
         [Change.PATCHED, Change.NOOP]),
        (lambda s: StreamObserved(unreachable=AWAY), []),
        (lambda s: StreamObserved(stream=AWAY), []),
        # What can be done is done, although the other one cannot be read.
        (lambda s: StreamObserved(dead_letters=AWAY), [Change.CREATED]),
        # Somebody else's: left alone, and so is what would copy it.
        (lambda s: StreamObserved(stream=kept(s, metadata={})), [Change.NOOP]),
    ],
)  # fmt: skip
def test_what_is_planned(found: Found, changes: list[Change]) -> None:
    resource = stream()
    observed = dataclasses.replace(found(resource), api_level=4)
    assert [step.change for step in plan_stream(resource, observed).steps] == changes


def test_a_paused_stream_is_left_as_it_is() -> None:
    resource = paused(stream())
    result = run(resource, StreamObserved(api_level=4, stream=kept(resource, max_msgs=7)))
    ready = result.parts[-1]
    assert (ready.type, ready.status, ready.reason) == (
        ConditionType.STREAM_READY, "False", "UpdateFrozen",
    )  # fmt: skip
    assert result.status.stream is not None  # its numbers are read all the same
    assert result.corrections == ()


@pytest.mark.parametrize(
    ("found", "type_", "status", "reason"),
    [
        (lambda s: StreamObserved(), ConditionType.STREAM_READY, "True", "InSync"),
        (lambda s: StreamObserved(unreachable=AWAY),
         ConditionType.NATS_REACHABLE, "False", "NatsUnreachable"),
        (lambda s: StreamObserved(stream=AWAY),
         ConditionType.STREAM_READY, "False", "NatsUnreachable"),
        (lambda s: StreamObserved(dead_letters=AWAY),
         ConditionType.STREAM_READY, "False", "NatsUnreachable"),
        (lambda s: StreamObserved(stream=kept(s, metadata={})),
         ConditionType.STREAM_READY, "False", "StreamExists"),
        (lambda s: StreamObserved(stream=kept(s), dead_letters=letters(s, metadata={})),
         ConditionType.STREAM_READY, "False", "StreamExists"),
    ],
)  # fmt: skip
def test_what_is_said(found: Found, type_: ConditionType, status: str, reason: str) -> None:
    resource = stream()
    result = run(resource, dataclasses.replace(found(resource), api_level=4))
    assert (result.parts[-1].type, result.parts[-1].status, result.parts[-1].reason) == (
        type_, status, reason,
    )  # fmt: skip


def test_numbers_of_both_streams_are_in_the_status() -> None:
    resource = stream()
    observed = StreamObserved(api_level=4, stream=kept(resource), dead_letters=letters(resource))
    result = run(resource, observed)
    state = result.status.stream
    assert state is not None
    assert (state.messages, state.deadLetters, state.lastSequence) == (5, 2, 5)
    assert result.status.sampledAt == "2026-01-02T03:04:05Z"
    assert result.busy  # nothing was known before
    assert not run(in_force(resource), observed).busy


def test_what_somebody_changed_is_counted_and_said() -> None:
    resource = in_force(stream())
    result = run(resource, StreamObserved(api_level=4, stream=kept(resource, max_msgs=7)))
    state = result.status.stream
    assert state is not None
    assert state.driftCorrectedCount == 3 + 2
    assert result.corrections == (
        "stream ORDERS was changed and has been put back: maxMessages: wanted -1, found 7",
        "stream ORDERS_DLQ was missing and has been created again",
    )
    assert state.lastDrift == result.corrections[-1]


@pytest.mark.parametrize("fails", [0, 1])
def test_a_step_that_fails_keeps_the_numbers_of_the_last_status(fails: int) -> None:
    resource = in_force(stream())
    observed = StreamObserved(api_level=4, stream=kept(resource, max_msgs=7))
    result = run(resource, observed, AWAY, fails)
    assert result.status == resource.status
    assert result.parts[-1].reason == "NatsUnreachable"
    assert len(result.corrections) == fails


@pytest.mark.parametrize("settled", [True, False])
def test_a_stream_that_was_lost_is_made_again_and_said(settled: bool) -> None:
    """Also when a pass came before that found something else amiss."""
    resource = in_force(stream())
    state = StreamState(name="ORDERS", messages=7, deadLetters=2)
    conditions = resource.status.conditions if settled else []
    status = EventStreamStatus(conditions=conditions, stream=state)
    result = run(dataclasses.replace(resource, status=status), StreamObserved(api_level=4))
    assert result.corrections == (
        "stream ORDERS was missing and has been created again; it held 7 messages when it was "
        "looked at last",
        "stream ORDERS_DLQ was missing and has been created again; it held 2 dead letters when "
        "it was looked at last",
    )
    # One that was never there is no loss.
    assert run(stream(), StreamObserved(api_level=4)).corrections == ()


def test_a_stream_that_nobody_declared_is_left_alone_at_every_pass() -> None:
    resource = stream()
    observed = StreamObserved(api_level=4, stream=kept(resource, metadata={}))
    for _ in range(3):
        result = run(resource, observed)
        assert (result.parts[-1].reason, result.status.stream) == ("StreamExists", None)
        resource = said(resource, result)


def test_a_stream_is_not_ours_because_an_earlier_status_speaks_of_it() -> None:
    resource = stream()
    exists = Condition(
        type=ConditionType.STREAM_READY.value, status="False", reason="StreamExists",
        observedGeneration=1,
    )  # fmt: skip
    status = EventStreamStatus(conditions=[exists], stream=StreamState(name="ORDERS"))
    observed = StreamObserved(api_level=4, stream=kept(resource, metadata={}))
    result = run(dataclasses.replace(resource, status=status), observed)
    assert result.parts[-1].reason == "StreamExists"


def said(resource: Stream, result: PassResult[EventStreamStatus]) -> Stream:
    """The resource with the status that a pass came to."""
    made = [
        Condition(type=p.type.value, status=p.status, reason=p.reason, observedGeneration=1)
        for p in result.parts
    ]
    status = result.status.model_copy(update={"conditions": made})
    return dataclasses.replace(resource, status=status)


def test_a_copy_of_what_is_not_there_is_not_ready() -> None:
    resource = stream()
    found = dataclasses.replace(kept(resource), not_copied=("AUDIT (stream not found)",))
    result = run(resource, StreamObserved(api_level=4, stream=found))
    ready = result.parts[-1]
    assert (ready.type, ready.status, ready.reason) == (
        ConditionType.READY, "False", "StreamNotFound",
    )  # fmt: skip
    assert ready.message == "stream ORDERS gets nothing of AUDIT (stream not found)"
    # And what is changed behind our back meanwhile is still drift.
    kinds = {one.type: one.status for one in result.parts}
    assert kinds[ConditionType.STREAM_READY] == "True"
