"""What the reconcilers of streams and of durable consumers share."""

from __future__ import annotations

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.secrets import secret_names
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError


async def connect(context: Context, meta: Meta, nats: NatsConnection) -> JetStreamAdmin:
    """JetStream administration over the shared connection of a resource's login.

    Raises:
        CredentialsError: A Secret is missing or refused; it is read anew at the next look.
        NatsError: Unreachable.
        UnsupportedServerError: No JetStream, or too old.
    """
    key = ObjectKey.of(meta)
    try:
        auth = await context.secrets.nats_auth(meta.namespace, nats, "spec.nats")
        return await context.nats.admin(auth, key)
    except CredentialsError:
        context.secrets.forget(meta.namespace, secret_names(nats))
        raise
