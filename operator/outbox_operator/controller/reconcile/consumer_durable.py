"""The durable consumer of an EventConsumer: made as declared, and read for the status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.letter_counts import NO_LETTERS, LetterCounts, LettersSeen
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.jetstream import Seen, connect, look_back, sight_of
from outbox_operator.controller.reconcile.oldest_unread import OldestUnread
from outbox_operator.controller.reconcile.outside import (
    JetStreamPlace,
    JetStreamQuestion,
    JetStreamSeen,
)
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.durable import (
    DurableObserved,
    DurableResult,
    durable_result,
    plan_durable,
)
from outbox_operator.plan.passes.stream_moving import NOTHING_KNOWN, Left, durable_elsewhere
from outbox_operator.plan.sources import Source
from outbox_operator.plan.standing import standing_still_for
from outbox_operator.plan.steps import Applied, Change

IdleSeen = tuple[JetStreamPlace, JetStreamQuestion, JetStreamSeen]
"""How an idle durable consumer is asked for again, and what was seen."""


class Durables:
    """Makes and reads the durable consumers of EventConsumers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._unread = OldestUnread()
        self._letters = LetterCounts()
        self._homes: dict[str, NatsAuth] = {}
        """By UID, the login with which the durable consumer was as wanted last."""

    async def ensure(
        self, resource: Consumer, source: Source, votes: Sequence[Vote]
    ) -> tuple[DurableResult, IdleSeen | None]:
        """Make the durable consumer as declared; and what was seen of one that is idle."""
        admin, observed = await self._gather(resource, source)
        plan = plan_durable(resource, source, observed, votes)
        applied: list[Applied[ObservedConsumer]] = []
        letters, unread, seen = NO_LETTERS, None, None
        if admin is not None:
            applied = await execute(
                plan.steps,
                create=lambda config: admin.create_consumer(source.stream, config),
                patch=lambda config: admin.update_consumer(source.stream, config),
            )
            if applied and applied[0].error is None:
                self._homes[resource.meta.uid] = admin.auth
            if applied and (now := applied[0].now) is not None:
                letters = await self._letters.look(resource, source, admin)
                first = observed.stream.first_sequence if observed.stream else 0
                unread = await self._unread.seconds(resource.meta.uid, admin, now, first)
                if applied[0].change is Change.NOOP and applied[0].error is None and unread == 0:
                    seen = await _seen(source, admin, observed, now, letters)
        result = durable_result(
            resource, source, plan, applied, letters.count, datetime.now(UTC), observed,
            unread_seconds=unread, votes=votes,
        )  # fmt: skip
        return result, seen

    async def _gather(
        self, resource: Consumer, source: Source
    ) -> tuple[JetStreamAdmin | None, DurableObserved]:
        """What there is, and the connection to change it with."""
        try:
            admin = await connect(self._context, resource.meta, source.nats)
        except OutboxError as error:
            return None, DurableObserved(unreachable=error)
        stream = consumer = unreadable = sight = None
        home, left = self._homes.get(resource.meta.uid), NOTHING_KNOWN
        try:
            stream = await admin.stream_info(source.stream)
            sight = await sight_of(admin, source.nats, stream, home)
            consumer = await admin.consumer_info(source.stream, durable_name(resource))
        except OutboxError as error:
            unreadable = error
        if sight is not None and durable_elsewhere(resource, sight, left) is not None:
            left = await self._look_back(resource, home)
        return admin, DurableObserved(
            unreadable=unreadable,
            api_level=admin.api_level,
            stream=stream,
            consumer=consumer,
            living=self._context.living(meta.CONSUMER),
            sight=sight,
            left=left,
            resetting=self.resetting(resource),
        )

    def resetting(self, resource: Consumer) -> str | None:
        """The task that makes it anew; None: there is none."""
        tasks = self._context.objects.of_kind(meta.TASK, resource.meta.namespace)
        return standing_still_for(resource.meta.uid, tasks)

    async def _look_back(self, resource: Consumer, home: NatsAuth | None) -> Left:
        """What waits for the durable consumer where it was."""
        before = resource.status.consumer
        counted = 0 if before is None else before.pending + before.ackPending
        if home is None or before is None:
            return Left(waiting=counted, seen=False)
        looking = self._context.nats.admin(home, ObjectKey.of(resource.meta))
        was = Seen(stream=before.stream, created=before.streamCreated, place=before.place)
        return await look_back(looking, was, [before.name], counted, same_login=True)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._unread.forget(uid)
        self._letters.forget(uid)
        self._homes.pop(uid, None)


async def _seen(
    source: Source,
    admin: JetStreamAdmin,
    observed: DurableObserved,
    consumer: ObservedConsumer,
    letters: LettersSeen,
) -> IdleSeen | None:
    """How an idle durable consumer is asked for again, and what was seen; None: it was not all."""
    if isinstance(letters.count, OutboxError) or not letters.whole:
        return None
    names, streams = [source.stream], [observed.stream]
    if source.dead_letter_stream is not None:
        names.append(source.dead_letter_stream)
        streams.append(letters.stream)
    durable = source.stream, consumer.name
    question = JetStreamQuestion(tuple(names), durable, consumer.waiting)
    answer = JetStreamSeen.of(await admin.whereabouts(), streams, consumer)
    return JetStreamPlace(admin.auth), question, answer
