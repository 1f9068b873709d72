"""Whether a login leads to where a stream was, and what is done and said until it may move."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Stream
from outbox_operator.api.v1alpha1.common import NatsConnection, StreamPlace
from outbox_operator.api.v1alpha1.consumer import DurableState, EventConsumerStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.stream_config import desired_stream
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.approval import Question
from outbox_operator.plan.passes.consumer import keeps_pods
from outbox_operator.plan.passes.durable import (
    DurableObserved,
    DurableResult,
    durable_result,
    plan_durable,
)
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.place import Sight, is_elsewhere, place_of, remembered
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.stream import StreamObserved, plan_stream, stream_result
from outbox_operator.plan.passes.stream_moving import Left
from outbox_operator.plan.sources import Source
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason
from support.passes import NOW, carried_out, paused
from support.resources import consumer, pipeline, stream

URL, OTHER_URL = "nats://nats:4222", "nats://other:4222"
NATS = NatsConnection(url=URL)


def place(**changes: Any) -> StreamPlace:
    return place_of(NATS, None, "A").model_copy(update=changes)


def sight(created: str | None = None, *, other_login: bool = False, **changes: Any) -> Sight:
    """With a stream of that age, or none."""
    exists = created is not None
    return Sight(place=place(**changes), created=created, exists=exists, other_login=other_login)


HERE, THERE, GONE = sight("t1"), sight("t2", account="B"), sight(account="B")


@pytest.mark.parametrize(
    ("before", "now", "elsewhere"),
    [
        (place(), HERE, False),
        # The very stream, whoever looks from wherever: an alias, an import, a domain.
        (place(), sight("t1", account="B", url=OTHER_URL, domain="hub", cluster="c"), False),
        # Lost or made anew where it was.
        (place(), sight(), False),
        (place(), sight("t2"), False),
        # Another account, of static configuration or of a JWT; other servers; another domain.
        (place(), GONE, True),
        (place(), THERE, True),
        (place(), sight(url=OTHER_URL), True),
        (place(), sight(domain="leaf"), True),
        (place(cluster="blue"), sight(cluster="green"), True),
        # An older version, and servers that do not say, tell nothing ...
        (None, GONE, False),
        (place(account=None), sight(account="B"), False),
        (place(), sight(account=None), False),
        (place(cluster="blue"), sight(), False),
        # ... but of a login that is another one than a moment ago.
        (place(account=None), sight(account="B", other_login=True), True),
        (place(), sight(account=None, other_login=True), True),
        (place(), sight(other_login=True), False),
    ],
)
def test_where_a_login_leads(before: StreamPlace | None, now: Sight, elsewhere: bool) -> None:
    assert is_elsewhere(before, "t1", now) is elsewhere


def test_what_a_server_does_not_say_stays_known() -> None:
    silent = place(account=None)
    assert remembered(place(), silent, moved=False).account == "A"
    assert remembered(place(), silent, moved=True).account is None
    assert remembered(None, silent, moved=False) == silent


def the_stream(approve: str | None = None, **seen: Any) -> Stream:
    """An EventStream that was seen in account A."""
    resource = stream()
    state = StreamState(name="ORDERS", created="t1", place=place(**seen), messages=9)
    annotations = {} if approve is None else {meta.APPROVE_PLAN_ANNOTATION: approve}
    return dataclasses.replace(
        resource,
        meta=dataclasses.replace(resource.meta, annotations=annotations),
        status=EventStreamStatus(stream=state),
    )


def pass_over(resource: Stream, now: Sight, **observed: Any) -> PassResult[EventStreamStatus]:
    config = desired_stream(resource.spec, Owner.of(resource.meta)) | {"allow_batched": True}
    found = ObservedStream(name="ORDERS", config=config, created=now.created)
    seen = StreamObserved(api_level=4, sight=now, stream=found if now.exists else None, **observed)
    plan = plan_stream(resource, seen)
    made = carried_out(plan, lambda c: ObservedStream(name=c["name"], config=c, created="new"))
    return stream_result(resource, plan, made, NOW, seen)


def approval(result: PassResult[EventStreamStatus]) -> str:
    assert result.status.pendingMove is not None
    return result.status.pendingMove.hash


@pytest.mark.parametrize("now", [GONE, THERE])
def test_a_stream_is_not_made_elsewhere_while_messages_wait(now: Sight) -> None:
    left = Left(waiting=4, seen=True)
    held = pass_over(the_stream(), now, left=left)
    part = held.parts[-1]
    assert (part.status, part.reason, part.stalled) == ("False", Reason.APPROVAL_PENDING, True)
    assert "nats://nats:4222, account B" in part.message
    assert "4 messages wait for consumers at nats://nats:4222, account A" in part.message
    assert held.status.stream == the_stream().status.stream
    assert f"approve plan {approval(held)}, set spec.approvedPlan" in part.message
    assert held.moves == ()
    resting = pass_over(paused(the_stream()), now, left=left)
    assert resting.parts[-1].reason is Reason.UPDATE_FROZEN
    # Another account's hash approves nothing.
    elsewhere = pass_over(the_stream(), sight(account="C"), left=left)
    assert pass_over(the_stream(approval(elsewhere)), now, left=left).moves == ()
    done = pass_over(the_stream(approval(held)), now, left=left)
    assert done.parts[-1].status == "True"
    assert "4 messages wait" in done.moves[0]
    assert done.acted_on == {meta.APPROVE_PLAN_ANNOTATION}
    assert done.corrections == ()  # nobody had a hand in it
    assert done.status.approvals is not None
    (decision,) = done.status.approvals.history
    assert (decision.plan, decision.state) == (approval(held), "Done")
    assert done.status.stream is not None
    assert done.status.stream.place == now.place


def test_nothing_waits_so_it_moves_by_itself() -> None:
    left = Left(waiting=0, seen=False)
    done = pass_over(the_stream(), GONE, left=left)
    assert "when it was looked at last" in done.moves[0]
    assert done.acted_on == frozenset()


def test_a_pipeline_decides_for_its_stream() -> None:
    left = Left(waiting=4, seen=True)
    # It declares it there, and has looked back itself.
    above = pipeline(nats={"url": URL})
    resource = the_stream(declared="another")
    spec = resource.spec.model_copy(update={"nats": above.spec.nats})
    resource = dataclasses.replace(resource, spec=spec)
    told = pass_over(resource, GONE, left=left, pipeline=above)
    assert (told.parts[-1].status, told.moves) == ("True", ())
    # It declares what it declared before: the Secret has changed, and a person decides on it.
    held = pass_over(the_stream(), GONE, left=left, pipeline=above)
    said = f"approve plan {approval(held)}, set spec.database.migrations.approvedPlan"
    assert said in held.parts[-1].message
    migrations = {"approvedPlan": approval(held)}
    database = {"connectionSecretRef": {"name": "db"}, "migrations": migrations}
    allowed = pipeline(nats={"url": URL}, database=database)
    done = pass_over(the_stream(), GONE, left=left, pipeline=allowed)
    assert "4 messages wait" in done.moves[0]


def test_a_stream_that_was_lost_where_it_was_is_made_again() -> None:
    done = pass_over(the_stream(), sight())
    assert "has been created again" in done.corrections[0]
    assert done.moves == ()


def the_consumer(**spec: Any) -> Consumer:
    """An EventConsumer whose stream was seen in account A, with messages that wait for it."""
    resource = consumer(**spec)
    state = DurableState(
        name="billing", stream="ORDERS", streamCreated="t1", place=place(), pending=3
    )
    return dataclasses.replace(resource, status=EventConsumerStatus(consumer=state))


BY_ITSELF = Source(
    stream="ORDERS", nats=NATS, dead_letter_prefix=None, dead_letter_stream=None
)  # fmt: skip
FOLLOWS = dataclasses.replace(
    BY_ITSELF, follows="orders", seen=StreamState(name="ORDERS", created="t1")
)
FOLLOWED = dataclasses.replace(FOLLOWS, seen=StreamState(name="ORDERS", created="t2"))
WAITS = Left(waiting=3, seen=False)


def look(resource: Consumer, source: Source, now: Sight, left: Left) -> DurableResult:
    found = ObservedStream(name="ORDERS", config={}, created=now.created)
    seen = DurableObserved(api_level=4, sight=now, left=left, stream=found if now.exists else None)
    plan = plan_durable(resource, source, seen)
    made = carried_out(plan, lambda c: ObservedConsumer(name=c["name"], stream="ORDERS", config=c))
    return durable_result(resource, source, plan, made, None, NOW, seen)


@pytest.mark.parametrize(
    ("source", "now", "left", "held", "says"),
    [
        (BY_ITSELF, THERE, WAITS, True, None),
        (BY_ITSELF, THERE, Left(waiting=0, seen=True), False, "nothing waited"),
        (BY_ITSELF, sight("t2"), WAITS, False, None),  # lost where it was, and made again
        # Its EventStream looks back for it.
        (FOLLOWS, THERE, Left(waiting=0, seen=True), True, None),
        (FOLLOWED, THERE, WAITS, False, None),
        (dataclasses.replace(FOLLOWED, follows=None), THERE, WAITS, False, None),
        (dataclasses.replace(FOLLOWS, follows=None), THERE, WAITS, True, None),
    ],
)
def test_a_durable_consumer_stays_with_its_stream(
    source: Source, now: Sight, left: Left, held: bool, says: str | None
) -> None:
    result = look(the_consumer(), source, now, left)
    assert (result.held, result.located) == (held, not held)
    assert (result.parts[-1].reason is Reason.APPROVAL_PENDING) is held
    assert (result.moved is None) is (says is None)
    assert says is None or says in str(result.moved)
    moved = now is THERE
    assert bool(result.corrections) is (not moved)
    state = result.state
    assert (state is None) is held
    if state is not None:
        assert (state.streamCreated, state.place) == (now.created, now.place)


def test_a_consumer_by_itself_is_approved_by_itself() -> None:
    held = look(the_consumer(), BY_ITSELF, THERE, WAITS)
    assert held.pending_move is not None
    approved = held.pending_move.hash
    assert held.question == Question(part="Stream", plan=approved, waits=True)
    assert f"approve plan {approved}, set spec.approvedPlan" in held.parts[-1].message
    resource = the_consumer(approvedPlan=approved)
    done = look(resource, BY_ITSELF, THERE, WAITS)
    assert (done.held, done.question) == (False, Question(part="Stream", plan=approved))


IN_PLACE = DurableResult(parts=(), located=True)
AWAY = DurableResult(parts=())


@pytest.mark.parametrize(
    ("durable", "inbox", "changed", "see"),
    [
        (IN_PLACE, InboxResult(located=True), True, None),
        # What is declared besides is carried out whatever is away.
        (AWAY, InboxResult(), False, None),
        (AWAY, InboxResult(located=True), True, ConditionType.CONSUMER_READY),
        (IN_PLACE, InboxResult(), True, ConditionType.DATABASE_REACHABLE),
        (IN_PLACE, InboxResult(held=True), False, ConditionType.SCHEMA_APPLIED),
        (DurableResult(parts=(), held=True), InboxResult(located=True), False,
         ConditionType.CONSUMER_READY),
    ],
)  # fmt: skip
def test_pods_follow_a_login_once_it_is_known_where_it_leads(
    durable: DurableResult, inbox: InboxResult, changed: bool, see: ConditionType | None
) -> None:
    why = keeps_pods(durable, inbox, changed=changed)
    assert (why is None) if see is None else (see in str(why))
