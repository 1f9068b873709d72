"""What the reconcilers of streams and of durable consumers share."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.common import NatsConnection, StreamPlace
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.secrets import secret_names
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError, OutboxError
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.passes.place import Sight, place_of
from outbox_operator.plan.passes.stream_moving import Left


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


async def sight_of(
    admin: JetStreamAdmin, nats: NatsConnection, found: ObservedStream | None, home: NatsAuth | None
) -> Sight:
    """What a login leads to.

    Args:
        admin: With that login.
        nats: As declared.
        found: The stream there.
        home: The login with which the stream was seen last, if this process did.

    Raises:
        NatsError: The server is away.
    """
    cluster, account = await admin.whereabouts()
    return Sight(
        place=place_of(nats, cluster, account),
        created=None if found is None else found.created,
        exists=found is not None,
        other_login=home is not None and not home.is_same_user(admin.auth),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A stream as it was seen last.

    Attributes:
        stream: Its name.
        created: When it was created.
        place: Where; None: nobody knows.
    """

    stream: str
    created: str | None
    place: StreamPlace | None


async def look_back(
    looking: Awaitable[JetStreamAdmin],
    before: Seen,
    durables: Iterable[str],
    counted: int,
    *,
    same_login: bool,
) -> Left:
    """What waits where a stream was.

    Args:
        looking: A login that led there.
        before: The stream there.
        durables: Its durable consumers.
        counted: Messages that they had not handled when they were counted last.
        same_login: Whether it is that very login; a Secret may hold another one by now.
    """
    name = before.stream
    try:
        admin = await looking
        found = await admin.stream_info(name)
        if found is None or found.created != before.created:
            _, account = await admin.whereabouts()
            known = before.place is not None and account == before.place.account is not None
            if same_login or known:
                return Left(waiting=0, seen=True)  # it went, and what waited with it
            return Left(waiting=counted, seen=False)
        infos = [await admin.consumer_info(name, durable) for durable in durables]
    except OutboxError:
        return Left(waiting=counted, seen=False)
    waiting = sum(one.pending + one.ack_pending for one in infos if one is not None)
    return Left(waiting=waiting, seen=True)
