"""The keys of EventStreams in Redis: looked at, made, marked, trimmed, deleted.

Called by `controller.reconcile.stream` for those whose specification has `redis`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from outbox_operator.adapters.execute import execute
from outbox_operator.api import meta
from outbox_operator.api.resource import Meta, Stream, parse_consumer
from outbox_operator.api.v1alpha1.common import StreamPlace
from outbox_operator.api.v1alpha1.redis import RedisConnection, RedisKey
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.secrets import redis_secret_names
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import CredentialsError, OutboxError, RedisError
from outbox_operator.plan.ownership import CONFLICTS
from outbox_operator.plan.passes.redis_left import Looked, servers_before
from outbox_operator.plan.passes.redis_stream import (
    RedisObserved,
    plan_redis_stream,
    redis_stream_result,
)
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.redis.groups import marker
from outbox_operator.plan.redis.keys import keys_of, letters_key
from outbox_operator.plan.redis.observed import ObservedKey
from outbox_operator.plan.steps import Applied, Change

if TYPE_CHECKING:  # with it comes the driver: see `redis_connections`
    from outbox_operator.adapters.redis.admin import RedisAdmin

LONGEST_SECONDS: Final = 20.0
"""All that a pass asks of a server, which may answer each time just in time."""
_TRIM_SECONDS: Final = 0.5
"""Of a pass; the next goes on."""
_LOOK_BACK_SECONDS: Final = 2.0
"""At a server where the stream was declared before; the next pass looks again."""


async def connect_redis(context: Context, owner: Meta, redis: RedisConnection) -> RedisAdmin:
    """Administration over the shared connection of a resource's login.

    Raises:
        CredentialsError: A Secret is missing or refused; it is read anew at the next look.
        RedisError: Unreachable.
    """
    try:
        login = await context.secrets.redis_login(owner.namespace, redis, "spec.redis")
        return await context.redis.admin(login, ObjectKey.of(owner))
    except CredentialsError:
        context.secrets.forget(owner.namespace, redis_secret_names(redis))
        raise


def late(url: str) -> RedisError:
    """Of a pass that was ended after `LONGEST_SECONDS`."""
    return RedisError(f"Redis at {url}: not all answers within {LONGEST_SECONDS:g} s")


async def redis_stream_pass(
    context: Context, stream: Stream, redis: RedisConnection
) -> PassResult[EventStreamStatus]:
    """One pass over one EventStream in Redis."""
    kept_for = None
    applied: list[Applied[ObservedKey]] = []
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            admin, observed = await _gather(context, stream, redis)
            observed = replace(observed, elsewhere=await _look_back(context, stream, redis))
            plan = plan_redis_stream(stream, redis, observed)
            if admin is not None:
                applied = await execute(plan.steps, create=admin.claim, patch=admin.claim)
                try:
                    kept_for = await _trim(context, admin, stream, applied)
                except OutboxError as error:
                    plan = replace(plan, problem=plan.problem or error)
    except TimeoutError:
        observed = RedisObserved(unreachable=late(redis.url))
        plan, applied = plan_redis_stream(stream, redis, observed), []
    now = datetime.now(UTC)
    return redis_stream_result(stream, redis, plan, applied, observed, now, kept_for)


async def _gather(
    context: Context, stream: Stream, redis: RedisConnection
) -> tuple[RedisAdmin | None, RedisObserved]:
    try:
        admin = await connect_redis(context, stream.meta, redis)
    except OutboxError as error:
        return None, RedisObserved(unreachable=error)
    try:
        return admin, RedisObserved(
            server=await admin.server(),
            keys=tuple([await admin.key(name) for name in keys_of(stream.spec)]),
            letters=await admin.letters(letters_key(stream.spec.name)),
            living=context.living(meta.STREAM),
        )
    except OutboxError as error:
        if admin.lost:
            return None, RedisObserved(unreachable=error)
        return admin, RedisObserved(problem=error)


async def _look_back(context: Context, stream: Stream, redis: RedisConnection) -> dict[str, Looked]:
    """What waits at servers where the stream was declared before, with the login of now."""
    looks: dict[str, Looked] = {}
    for url in servers_before(stream.status.stream, redis.url):
        try:
            async with asyncio.timeout(_LOOK_BACK_SECONDS):
                looks[url] = await _looked(context, stream, redis, url)
        except OutboxError as error:
            looks[url] = Looked(error=error)
        except TimeoutError:
            looks[url] = Looked(error=RedisError(f"Redis at {url}: no answer"))
    return looks


async def _looked(context: Context, stream: Stream, redis: RedisConnection, url: str) -> Looked:
    there = redis.model_copy(
        update={"url": url, "tls": redis.tls if url.startswith("rediss://") else None}
    )
    admin = await connect_redis(context, stream.meta, there)
    keys = [await admin.key(name) for name in keys_of(stream.spec)]
    here = await connect_redis(context, stream.meta, redis)
    found = []
    for key in keys:
        same = key.created is not None and (await here.key(key.name)).created == key.created
        if key.kind == "stream" and not same:  # else another name of the same server
            found.append(key)
    return Looked(keys=tuple(found))


def _guarded(context: Context, stream: Stream) -> dict[str, str]:
    """Groups of our consumers that were seen, each with the reader that goes with its mark."""
    found: dict[str, str] = {}
    redis = stream.spec.redis
    here = StreamPlace(url="" if redis is None else redis.url)
    for body in context.objects.referring_to(stream.meta.namespace, stream.meta.name):
        if body["kind"] != meta.CONSUMER or body["metadata"].get("deletionTimestamp"):
            continue
        consumer = parse_consumer(body, stored=True)
        state = consumer.status.consumer
        anothers = any(one.reason in CONFLICTS for one in consumer.status.conditions)
        if state is not None and state.place == here and not anothers:
            found[state.name] = marker(consumer.meta.uid)
    return found


async def _trim(
    context: Context, admin: RedisAdmin, stream: Stream, applied: list[Applied[ObservedKey]]
) -> str | None:
    """Remove what is too many and nobody needs. The group that keeps the rest, if one does.

    A group of ours that was deleted, or made anew by somebody, needs what nobody knows here: its
    consumer sees to it first.
    """
    most, ends, kept_for = stream.spec.maxMessages, time.monotonic() + _TRIM_SECONDS, None
    ours = all(one.error is None and one.change is not Change.FROZEN for one in applied)
    if most <= 0 or stream.meta.paused or not applied or not ours:
        return None
    groups = _guarded(context, stream)
    for name in keys_of(stream.spec):
        while True:
            done = await admin.trim(name, stream.meta.uid, most, groups)
            kept_for = kept_for or done.kept_for
            if not done.more or time.monotonic() > ends:
                break
    return kept_for


async def delete_redis_stream(context: Context, stream: Stream, redis: RedisConnection) -> None:
    """Delete the keys that carry the mark of an EventStream. Raises until that is done."""
    admin = await connect_redis(context, stream.meta, redis)
    for name in keys_of(stream.spec):
        await admin.drop(name, stream.meta.uid, letters_key(stream.spec.name))


async def sees_key(context: Context, owner: Meta, redis: RedisConnection, known: RedisKey) -> bool:
    """Whether a login leads to a key that was seen."""
    try:
        found = await (await connect_redis(context, owner, redis)).key(known.name)
    except OutboxError:
        return False
    return found.kind == "stream" and found.created == known.created
