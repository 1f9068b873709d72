"""Reads the numbers of what `outbox dev` runs from its servers, for statuses."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Pipeline, Stream
from outbox_operator.cli.laptop import statuses
from outbox_operator.cli.laptop.statuses import DurableNumbers, Status, StreamNumbers
from outbox_operator.controller.reconcile.oldest_unread import OldestUnread
from outbox_operator.dev import setup
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.processes import pid_of
from outbox_operator.dev.runs import Run, run_of
from outbox_operator.errors import DependencyError, OutboxError
from outbox_operator.plan.jetstream.stream_config import dead_letter_name, dead_letter_prefix
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import any_source_in
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.redis.keys import keys_of, letters_key
from outbox_operator.plan.sources import RedisSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the servers are, and where each process has its files.

    Attributes:
        away: Why they are not there: their ports may be another's by now. None: they are.
    """

    database_url: str
    nats_url: str
    redis_url: str | None = None
    run: Path
    away: str | None = None

    def check(self) -> None:
        """Ask nothing of servers that are away.

        Raises:
            DependencyError: They are.
        """
        if self.away is not None:
            raise DependencyError(self.away)

    def runs(self, name: str) -> bool:
        """Whether a process of `outbox dev` lives."""
        return pid_of(self.run, name) is not None


async def look(resources: Resources, servers: Servers) -> dict[tuple[str, str, str], Status]:
    """The status of each object, by kind, namespace and name; what is away is said in it."""
    now, found = datetime.now(UTC), dict[tuple[str, str, str], Status]()
    runs = await _runs(resources, servers)
    async with AsyncExitStack() as stack:
        admin = await _entered(stack, servers, setup.database(servers.database_url))
        jetstream = await _entered(stack, servers, setup.jetstream(servers.nats_url))
        streams = {
            one.meta.key: await _stream(jetstream, one)
            if one.spec.redis is None
            else await _redis_stream(servers, one)
            for one in resources.streams
        }
        for stream in resources.streams:
            found[_key(stream)] = statuses.of_stream(stream, streams[stream.meta.key], now)
        for consumer in resources.consumers:
            own = resources.source_of(consumer)
            numbers = (
                await _durable(jetstream, own, consumer)
                if own.spec.redis is None
                else await _group(servers, own, consumer)
            )
            run = runs[f"consumer-{consumer.meta.name}"]
            found[_key(consumer)] = statuses.of_consumer(consumer, own, numbers, run, now)
        for pipeline in resources.pipelines:
            own = resources.stream_of(pipeline)
            found[_key(pipeline)] = statuses.of_pipeline(
                pipeline, own, await _rows(admin, pipeline), streams[own.meta.key],
                runs[f"relay-{pipeline.meta.name}"],
                {
                    one.meta.name: found[_key(one)]
                    for one in resources.consumers
                    if one.meta.namespace == pipeline.meta.namespace
                    and one.meta.labels.get(meta.PIPELINE_LABEL) == pipeline.meta.name
                },
                now,
            )  # fmt: skip
    return found


async def _runs(resources: Resources, servers: Servers) -> dict[str, Run]:
    """How each process does, by its name, whether there is to be one or not."""
    names = [f"relay-{one.meta.name}" for one in resources.pipelines]
    names += [f"consumer-{one.meta.name}" for one in resources.consumers]
    found = await asyncio.gather(*(run_of(servers.run, name) for name in names))
    # Where `outbox dev` does not run, nobody starts anything again.
    there = found if servers.away is None else [replace(one, ends=None) for one in found]
    return dict(zip(names, there, strict=True))


def _key(one: Pipeline | Stream | Consumer) -> tuple[str, str, str]:
    return one.meta.kind, one.meta.namespace, one.meta.name


async def _entered(
    stack: AsyncExitStack, servers: Servers, session: AbstractAsyncContextManager[T]
) -> T | OutboxError:
    """A session with a server; or why there is none."""
    try:
        servers.check()
        return await stack.enter_async_context(session)
    except OutboxError as error:
        return error


async def _rows(
    admin: PostgresAdmin | OutboxError, pipeline: Pipeline
) -> OutboxNumbers | OutboxError:
    if isinstance(admin, OutboxError):
        return admin
    try:
        return await admin.sample(pipeline.spec.database.schema_)
    except OutboxError as error:
        return error


async def _stream(
    admin: JetStreamAdmin | OutboxError, stream: Stream
) -> StreamNumbers | OutboxError:
    if isinstance(admin, OutboxError):
        return admin
    try:
        letters = None
        if stream.spec.deadLetter is not None:
            letters = await admin.stream_info(dead_letter_name(stream.spec))
        return StreamNumbers(
            stream=await admin.stream_info(stream.spec.name),
            dead_letters=None if letters is None else letters.messages,
        )
    except OutboxError as error:
        return error


async def _redis_stream(servers: Servers, stream: Stream) -> StreamNumbers | OutboxError:
    """As of JetStream: what both have."""
    try:
        servers.check()
        async with setup.redis(servers.redis_url or "") as admin:
            keys = [await admin.key(name) for name in keys_of(stream.spec)]
            letters = await admin.letters(letters_key(stream.spec.name))
    except OutboxError as error:
        return error
    if any(key.kind != "stream" for key in keys):
        return StreamNumbers(stream=None, dead_letters=None)
    return StreamNumbers(
        stream=ObservedStream(
            name=stream.spec.name,
            created=keys[0].created,
            messages=sum(key.entries for key in keys),
            bytes=sum(key.bytes or 0 for key in keys),
            first_sequence=min(key.first_id for key in keys),
            last_sequence=max(key.last_id for key in keys),
        ),
        dead_letters=letters,
    )


async def _group(
    servers: Servers, stream: Stream, consumer: Consumer
) -> DurableNumbers | OutboxError:
    """As of JetStream: what both have."""
    try:
        servers.check()
        source = any_source_in(consumer, stream)
        found = None
        if isinstance(source, RedisSource):
            found = await setup.group_numbers(servers.redis_url, consumer, source)
    except OutboxError as error:
        return error
    if found is None:
        return DurableNumbers(durable=None, dead_letters=None, oldest_unread_seconds=None)
    return DurableNumbers(
        durable=found.group,
        dead_letters=found.dead_letters,
        oldest_unread_seconds=found.oldest_seconds,
    )


async def _durable(
    admin: JetStreamAdmin | OutboxError, stream: Stream, consumer: Consumer
) -> DurableNumbers | OutboxError:
    if isinstance(admin, OutboxError):
        return admin
    spec, durable = stream.spec, durable_name(consumer)
    try:
        held = await admin.stream_info(spec.name)
        found = await admin.consumer_info(spec.name, durable)
        letters, oldest = None, None
        if spec.deadLetter is not None:
            subject = f"{dead_letter_prefix(spec)}.{durable}"
            letters = await admin.subject_message_count(dead_letter_name(spec), subject)
        if held is not None and found is not None:
            unread, first = OldestUnread(), held.first_sequence
            oldest = await unread.seconds(consumer.meta.uid, admin, found, first)
        return DurableNumbers(durable=found, dead_letters=letters, oldest_unread_seconds=oldest)
    except OutboxError as error:
        return error
