"""What the reconcilers of streams and of durable consumers share: connect, judge, carry out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.drift import Drift
from outbox_operator.controller.reconcile.secrets import secret_names
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError
from outbox_operator.plan.jetstream.decide import Config, Create, Decision, InSync, Refused, Update
from outbox_operator.plan.status.conditions import Part, failed, ok, waiting
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

T = TypeVar("T")


async def connect(context: Context, meta: Meta, nats: NatsConnection) -> JetStreamAdmin:
    """JetStream administration over the shared connection of a resource's login.

    Raises:
        CredentialsError: A Secret is missing or refused; it is read anew at the next look.
        NatsError: Unreachable.
        UnsupportedServerError: No JetStream, or too old.
    """
    key = ObjectKey(meta.kind, meta.namespace, meta.name)
    try:
        auth = await context.secrets.nats_auth(meta.namespace, nats, "spec.nats")
        return await context.nats.admin(auth, key)
    except CredentialsError:
        context.secrets.forget(meta.namespace, secret_names(nats))
        raise


def live_owners(context: Context, kind: str) -> frozenset[str]:
    """UIDs of all resources of a kind; the mark of any other is nobody's."""
    return frozenset(body["metadata"]["uid"] for body in context.objects.of_kind(kind))


async def carry_out(
    decision: Decision,
    observed: T | None,
    *,
    what: str,
    kind: ConditionType,
    paused: bool,
    was_settled: bool,
    drift: Drift,
    create: Callable[[Config], Awaitable[T]],
    update: Callable[[Config], Awaitable[T]],
) -> tuple[T | None, Part]:
    """Do what was decided about a stream or a durable consumer.

    Args:
        decision: What to do.
        observed: The thing as it was found.
        what: "stream ORDERS".
        kind: Condition to report under.
        paused: Whether nothing may be changed.
        was_settled: Whether it was as desired before, so that its absence is drift.
        drift: Counts what is put back.
        create: Makes it.
        update: Changes it.

    Returns:
        The thing as it is now, and how that went.
    """
    if paused and isinstance(decision, Create | Update):
        text = f"{what} differs from the specification and is left so while paused"
        return observed, waiting(kind, Reason.UPDATE_FROZEN, text)
    match decision:
        case InSync():
            pass
        case Create(config=config):
            observed = await create(config)
            log.info("created %s", what)
            if was_settled:
                drift.corrected(f"{what} was missing and has been created again")
        case Update(config=config, changes=changes, drift=drifted, adopted=adopted):
            observed = await update(config)
            drift.adopted |= adopted
            log.info("updated %s", what)
            if drifted:
                drift.corrected(f"{what}: " + "; ".join(str(change) for change in changes))
        case Refused(error=error):
            return observed, failed(kind, error)
    return observed, ok(kind, Reason.IN_SYNC)
