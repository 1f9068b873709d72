"""How what objects rest on is asked: many outboxes of a database, many streams of an account."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.stream_list import AT_ONCE
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.errors import understood
from outbox_operator.adapters.postgres.numbers import TOGETHER
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import OutboxError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.decide import own_metadata
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.postgres.state import DesiredDatabase, OutboxNumbers
from outbox_operator.reasons import Reason

if TYPE_CHECKING:
    from outbox_operator.controller.reconcile.resting import Surroundings

log = logging.getLogger(__name__)

GLANCE_SECONDS: Final = 5.0
"""Longest look at some outboxes together. A table that somebody has locked holds up all of them,
and then those that are looked at afterwards: passes look at each by itself."""


@dataclass(frozen=True, slots=True)
class OutboxQuestion:
    """How an outbox is that was as wanted; answered by its numbers.

    Attributes:
        desired: What it is to be like.
        uid: Of the pipeline whose mark it has.
        fingerprint: Of its catalog, which was as wanted.
    """

    desired: DesiredDatabase
    uid: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """A database with a login.

    Attributes:
        login: Of the role that owns the tables.
        identity: Which database it led to.
    """

    login: PostgresTarget
    identity: str

    async def ask(
        self, context: Surroundings, questions: Sequence[OutboxQuestion], *, whole: bool
    ) -> Sequence[OutboxNumbers | None]:
        """As `Place.ask`. Those that cannot be looked at hold up only a few others.

        As a whole is asked what the catalog says; a pass compares it that finds it otherwise.
        """
        answers: list[OutboxNumbers | None] = []
        for first in range(0, len(questions), TOGETHER):
            some = questions[first : first + TOGETHER]
            try:
                # Each time anew: passes wait for the same few connections.
                async with context.postgres.lease(self.login) as admin:
                    async with asyncio.timeout(GLANCE_SECONDS):
                        with understood(self.login):
                            answers += await self._some(context, admin, some, whole=whole)
            except TimeoutError:
                log.info("%d outboxes are looked at one by one: no answer in time", len(some))
                answers += [None] * len(some)
            except OutboxError as error:
                if error.reason == Reason.POSTGRES_UNREACHABLE:
                    raise
                log.info("%d outboxes are looked at one by one: %s", len(some), error)
                answers += [None] * len(some)
        return answers

    async def _some(
        self,
        context: Surroundings,
        admin: PostgresAdmin,
        some: Sequence[OutboxQuestion],
        *,
        whole: bool,
    ) -> list[OutboxNumbers | None]:
        answers = await admin.glances([(one.desired, one.uid) for one in some], self.identity)
        if not whole:
            return answers
        found = await admin.fingerprints([one.desired for one in some])
        for number, (question, fingerprint) in enumerate(zip(some, found, strict=True)):
            if fingerprint != question.fingerprint:
                context.doubted.add(question.uid)
                answers[number] = None
        return answers


@dataclass(frozen=True, slots=True)
class JetStreamQuestion:
    """How streams and a durable consumer are.

    Attributes:
        streams: Names.
        durable: Stream and name of the durable consumer; None: there is none to ask for.
        waiting: How many pulls waited for messages.
    """

    streams: tuple[str, ...]
    durable: tuple[str, str] | None = None
    waiting: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class JetStreamSeen:
    """The answer: what is there.

    Attributes:
        where: Cluster and account that the login leads to.
        streams: In the order of their names.
        durable: The durable consumer, with whether anybody waits for its messages.
    """

    where: tuple[str | None, str | None]
    streams: tuple[ObservedStream | None, ...]
    durable: ObservedConsumer | None = None

    @classmethod
    def of(
        cls,
        where: tuple[str | None, str | None],
        streams: Sequence[ObservedStream | None],
        durable: ObservedConsumer | None = None,
    ) -> JetStreamSeen:
        """What is there, without what changes from one moment to the next."""
        if durable is not None:
            # How many pulls wait right now depends on when one looks.
            durable = replace(durable, waiting=min(durable.waiting, 1))
        return cls(where, tuple(one and _plain(one) for one in streams), durable)


def _plain(stream: ObservedStream) -> ObservedStream:
    """A stream without what a list leaves out: who leads it, and what the server notes on it."""
    own = own_metadata(stream.config.get("metadata"))
    return replace(stream, leader=None, config={**stream.config, "metadata": own})


@dataclass(frozen=True, slots=True)
class JetStreamPlace:
    """An account of NATS with a login."""

    auth: NatsAuth

    async def ask(
        self, context: Surroundings, questions: Sequence[JetStreamQuestion], *, whole: bool
    ) -> Sequence[JetStreamSeen | None]:
        """As `Place.ask`: streams by the page where the login may, durable consumers by name.

        As a whole is asked how many pulls wait, which a pass says.
        """
        admin = await context.nats.admin(self.auth)
        where = await admin.whereabouts()
        streams = await admin.streams({name for one in questions for name in one.streams})
        room = asyncio.Semaphore(AT_ONCE)

        async def seen(question: JetStreamQuestion) -> JetStreamSeen | None:
            durable = None
            if question.durable is not None:
                async with room:
                    durable = await admin.consumer_info(*question.durable)
                if whole and durable is not None and durable.waiting != question.waiting:
                    return None
            found = [streams.get(name) for name in question.streams]
            return JetStreamSeen.of(where, found, durable)

        return await asyncio.gather(*(seen(one) for one in questions))
