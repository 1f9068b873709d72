"""One pass of the operator over a stream or a durable consumer, for tests of plan and server."""

from __future__ import annotations

from typing import Any

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.plan.jetstream import consumers, streams
from outbox_operator.plan.jetstream.decide import Config, Create, Decision, Update
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.state import Owner

OWNER = Owner(uid="uid-of-orders", key="EventStream/shop/orders")
CONSUMER_OWNER = Owner(uid="uid-of-billing", key="EventConsumer/shop/billing")


def stream_spec(name: str = "ORDERS", **fields: Any) -> EventStreamSpec:
    """A specification; subjects default to `<name>.>` unless the stream copies others."""
    if "mirror" not in fields and "sources" not in fields:
        fields.setdefault("subjects", [f"{name}.>"])
    return EventStreamSpec.model_validate(
        {"nats": {"url": "nats://nats:4222"}, "name": name, **fields}
    )


def consumer_spec(**fields: Any) -> EventConsumerSpec:
    """A specification of a durable consumer without workload."""
    return EventConsumerSpec.model_validate({"streamRef": {"name": "orders"}, **fields})


async def pass_stream(
    admin: JetStreamAdmin,
    desired: Config,
    *,
    owner: Owner = OWNER,
    settled: bool = False,
    **claim: Any,
) -> Decision:
    """Look, decide, do; the decision."""
    decision = streams.decide_stream(
        desired,
        await admin.stream_info(desired["name"]),
        claim=Claim(owner=owner, **claim),
        settled=settled,
        api_level=admin.api_level,
    )
    match decision:
        case Create(config=config):
            await admin.create_stream(config)
        case Update(config=config):
            await admin.update_stream(config)
    return decision


async def pass_consumer(
    admin: JetStreamAdmin,
    stream: str,
    desired: Config,
    *,
    owner: Owner = CONSUMER_OWNER,
    settled: bool = False,
    handled: bool = False,
    **claim: Any,
) -> Decision:
    """Look, decide, do; the decision."""
    home = await admin.stream_info(stream)
    decision = consumers.decide_consumer(
        desired,
        await admin.consumer_info(stream, desired["name"]),
        claim=Claim(owner=owner, **claim),
        settled=settled,
        api_level=admin.api_level,
        handled=handled,
        stream_config=home.config if home else None,
    )
    match decision:
        case Create(config=config):
            await admin.create_consumer(stream, config)
        case Update(config=config):
            await admin.update_consumer(stream, config)
    return decision
