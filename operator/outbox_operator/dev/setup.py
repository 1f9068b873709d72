"""Bring tables, streams and durable consumers into being: the operator's plans, carried out once.

Called by `dev.app` and the pytest plugin. Raises what the plans and adapters raise; there is no
reconciling here: the next start looks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator import version
from outbox_operator.adapters.execute import execute
from outbox_operator.adapters.nats import connection as nats
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.group_admin import GroupAdmin
from outbox_operator.adapters.redis.letter_admin import LetterAdmin
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.dev.manifest import Resources
from outbox_operator.errors import NotSupportedError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.stream_config import dead_letter_name
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.passes.archive_tables import desired_archive
from outbox_operator.plan.passes.durable import DurableObserved, plan_durable
from outbox_operator.plan.passes.redis_group import GroupObserved, oldest_seconds, plan_group
from outbox_operator.plan.passes.redis_stream import RedisObserved, plan_redis_stream
from outbox_operator.plan.passes.result import PassPlan
from outbox_operator.plan.passes.source import any_source_in, source_in
from outbox_operator.plan.passes.stream import StreamObserved, plan_stream
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.migrations import (
    DesiredDatabase,
    DesiredInbox,
    plan_inbox,
    plan_migrations,
)
from outbox_operator.plan.redis.keys import keys_of, letters_key
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Applied
from outbox_operator.wire.tables import quoted

NAME: Final = "outbox-dev"
_LOCK_SECONDS: Final = 5.0
_MOST_LETTERS: Final = 1000
"""In Redis, of all consumers: whose each is, it says itself."""


@asynccontextmanager
async def database(url: str) -> AsyncIterator[PostgresAdmin]:
    """Administration of a database, for the length of a block."""
    target = parse_url(url)
    connection = await postgres.connect(target, application_name=NAME)
    try:
        yield PostgresAdmin(connection, target)
    finally:
        await connection.close()


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamAdmin]:
    """Administration of JetStream, for the length of a block."""
    auth = NatsAuth(url=url)
    client = await nats.connect(auth, name=NAME)
    try:
        yield JetStreamAdmin(client, auth)
    finally:
        await client.close()


@asynccontextmanager
async def redis(url: str) -> AsyncIterator[RedisAdmin]:
    """Administration of Redis, for the length of a block."""
    admin = await RedisAdmin.open(RedisLogin(url=url), name=NAME)
    try:
        yield admin
    finally:
        await admin.close()


async def set_up(
    resources: Resources, *, database_url: str, nats_url: str, redis_url: str | None = None
) -> None:
    """Make everything that the resources declare outside Kubernetes.

    Raises:
        OutboxError: It cannot be made; says what and why.
    """
    await set_up_database(resources, database_url)
    await set_up_streams(resources, nats_url, redis_url)


async def set_up_database(resources: Resources, url: str) -> None:
    """Make the tables. Raises OutboxError."""
    async with database(url) as admin:
        for pipeline in resources.pipelines:
            await migrate(admin, pipeline)
        for consumer in resources.consumers:
            await _inbox(admin, consumer)
            await _archive(admin, consumer)


async def set_up_streams(resources: Resources, url: str, redis_url: str | None = None) -> None:
    """Make streams and durable consumers.

    Raises:
        OutboxError: They cannot be made; or a stream is in Redis, and nobody said where that is.
    """
    for stream in resources.streams:
        if stream.spec.redis is not None:
            await _redis_stream(redis_url, stream, stream.spec.redis)
    for consumer in resources.consumers:
        source = any_source_in(consumer, resources.source_of(consumer))
        if isinstance(source, RedisSource):
            async with redis(redis_url or "") as admin:
                await _group(admin, consumer, source)
    if not resources.needs_nats:
        return
    async with jetstream(url) as streams:
        for stream in resources.streams:
            if stream.spec.redis is None:
                await _stream(streams, stream)
        for consumer in resources.consumers:
            stream = resources.source_of(consumer)
            if stream.spec.redis is None:
                await _durable(streams, stream, consumer)


async def migrate(admin: PostgresAdmin, pipeline: Pipeline) -> None:
    """Bring the outbox of a pipeline to the current schema, and drop what is past its retention."""
    spec, claim = pipeline.spec, Claim(owner=Owner.of(pipeline.meta), adoption="Adopt")
    # No grants: on a laptop everybody logs in as the owner.
    desired = DesiredDatabase.of(spec, writers=(), relay_role=None)
    plan = plan_migrations(desired, await admin.observe(desired), claim)
    if not plan.empty:
        await admin.apply(
            plan,
            desired,
            claim,
            lock_timeout=_LOCK_SECONDS,
            operator_version=version.VERSION,
        )
    await admin.maintain(spec.database.schema_, seconds(spec.outbox.retention))


async def _inbox(admin: PostgresAdmin, consumer: Consumer) -> None:
    inbox = consumer.spec.inbox
    if inbox is None:
        return
    desired = DesiredInbox(schema=inbox.schema_, consumer_role=None)
    plan = plan_inbox(desired, await admin.observe(desired))
    if not plan.empty:
        await admin.apply_inbox(plan, desired, lock_timeout=_LOCK_SECONDS)


async def _archive(admin: PostgresAdmin, consumer: Consumer) -> None:
    """Bring an archive to what is declared; drop what is over, and add partitions for some days."""
    archive = archive_of(consumer.spec)
    if archive is None:
        return
    # Grants are left out, and so are those whom they are for.
    desired = replace(desired_archive(archive, "spec", writer=None), readers=())
    claim = Claim(owner=Owner.of(consumer.meta), adoption="Adopt")
    plan = plan_archive(desired, await admin.archive.observe(desired), claim)
    if not plan.empty:
        await admin.archive.apply(
            plan, desired, claim, lock_timeout=_LOCK_SECONDS, version=version.VERSION
        )
    await admin.archive.maintain(desired)


async def _stream(admin: JetStreamAdmin, stream: Stream) -> None:
    spec, letters = stream.spec, None
    if spec.deadLetter is not None:
        letters = await admin.stream_info(dead_letter_name(spec))
    observed = StreamObserved(
        api_level=admin.api_level,
        stream=await admin.stream_info(spec.name),
        dead_letters=letters,
        living=frozenset({stream.meta.uid}),
    )
    plan = plan_stream(stream, observed)
    _check(plan, await execute(plan.steps, create=admin.create_stream, patch=admin.update_stream))


async def _redis_stream(url: str | None, stream: Stream, declared: RedisConnection) -> None:
    if url is None:
        raise NotSupportedError(
            f"{stream.meta.key}: spec.redis: no Redis runs here; end outbox dev and start it with "
            "this manifest: it brings one"
        )
    async with redis(url) as admin:
        observed = RedisObserved(
            server=await admin.server(),
            keys=tuple([await admin.key(name) for name in keys_of(stream.spec)]),
            living=frozenset({stream.meta.uid}),
        )
        plan = plan_redis_stream(stream, declared, observed)
        _check(plan, await execute(plan.steps, create=admin.claim, patch=admin.claim))


async def _group(admin: RedisAdmin, consumer: Consumer, source: RedisSource) -> None:
    groups, name = GroupAdmin(admin), durable_name(consumer)
    uid = consumer.meta.uid
    found = tuple([await groups.group(key, name, uid) for key in source.keys])
    observed = GroupObserved(groups=found, living=frozenset({consumer.meta.uid}))
    plan = plan_group(consumer, source, observed)
    _check(plan, await execute(plan.steps, create=groups.make, patch=groups.make))


async def _durable(admin: JetStreamAdmin, stream: Stream, consumer: Consumer) -> None:
    name = stream.spec.name
    observed = DurableObserved(
        api_level=admin.api_level,
        stream=await admin.stream_info(name),
        consumer=await admin.consumer_info(name, durable_name(consumer)),
        living=frozenset({consumer.meta.uid}),
    )
    plan = plan_durable(consumer, source_in(consumer, stream), observed)
    applied = await execute(
        plan.steps,
        create=lambda config: admin.create_consumer(name, config),
        patch=lambda config: admin.update_consumer(name, config),
    )
    _check(plan, applied)


def _check(plan: PassPlan[Any], applied: Iterable[Applied[Any]]) -> None:
    """Raise what was refused or failed."""
    for one in applied:
        if one.error is not None:
            raise one.error
    if plan.problem is not None:
        raise plan.problem


async def stored(stream: Stream, streams: JetStreamAdmin, redis_url: str | None) -> int:
    """How many messages a stream holds. Raises OutboxError."""
    if stream.spec.redis is None:
        found = await streams.stream_info(stream.spec.name)
        return 0 if found is None else found.messages
    async with redis(redis_url or "") as admin:
        return sum([(await admin.key(name)).entries for name in keys_of(stream.spec)])


async def letters(redis_url: str | None, stream: Stream) -> int:
    """Dead letters of all consumers of a stream in Redis. Raises OutboxError."""
    async with redis(redis_url or "") as admin:
        return await admin.letters(letters_key(stream.spec.name))


@dataclass(frozen=True, slots=True)
class GroupNumbers:
    """A consumer in Redis as it is.

    Attributes:
        group: What it has in common with a durable consumer.
        dead_letters: Of this consumer; None: there are more at the key than are looked at.
        oldest_seconds: Age of the oldest event that is not handled; None: it does not say.
    """

    group: ObservedConsumer
    dead_letters: int | None
    oldest_seconds: float | None


async def group_numbers(
    redis_url: str | None, consumer: Consumer, source: RedisSource
) -> GroupNumbers | None:
    """How far a consumer in Redis is; None: its group is gone. Raises OutboxError."""
    name = durable_name(consumer)
    async with redis(redis_url or "") as admin:
        groups = GroupAdmin(admin)
        uid = consumer.meta.uid
        found = [(await groups.group(key, name, uid)).found for key in source.keys]
        facts = [each for each in found if each is not None]
        if len(facts) < len(found):
            return None
        dead = await LetterAdmin(admin, source.letters).count(name, _MOST_LETTERS)
    return GroupNumbers(
        ObservedConsumer(
            name=name,
            stream=source.stream,
            pending=sum(each.lag or 0 for each in facts),
            ack_pending=sum(each.pending for each in facts),
        ),
        dead,
        oldest_seconds(facts, datetime.now(UTC)),
    )


async def remove_streams(resources: Resources, url: str, redis_url: str | None = None) -> None:
    """Delete the streams of the resources, with their durable consumers and dead letters."""
    if redis_url is not None:
        async with redis(redis_url) as keys:
            for stream in resources.streams:
                for name in keys_of(stream.spec) if stream.spec.redis is not None else ():
                    await keys.drop(name, stream.meta.uid, letters_key(stream.spec.name))
    if not resources.needs_nats:
        return
    async with jetstream(url) as admin:
        for stream in resources.streams:
            if stream.spec.redis is not None:
                continue
            await admin.delete_stream(stream.spec.name)
            if stream.spec.deadLetter is not None:
                await admin.delete_stream(dead_letter_name(stream.spec))


async def create_database(url: str, name: str, *, template: str | None = None) -> None:
    """Create a database, as a copy of another that nobody is connected to.

    Args:
        url: Of a role that may do that.
    """
    await _execute(
        url,
        statement(
            "admin_create_database", database=quoted(name), template=quoted(template or "template1")
        ),
    )


async def drop_database(url: str, name: str) -> None:
    """Drop a database with everybody in it."""
    await _execute(url, statement("admin_drop_database", database=quoted(name)))


async def _execute(url: str, sql: str) -> None:
    target = parse_url(url)
    connection = await postgres.connect(target, application_name=NAME)
    try:
        with errors(target):
            await connection.execute(sql)
    finally:
        await connection.close()
