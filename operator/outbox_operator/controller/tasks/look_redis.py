"""Looks at Redis with the login of a stream: the server, the keys, who reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from outbox_operator.api.resource import Stream
from outbox_operator.controller.reconcile.redis_stream import connect_redis
from outbox_operator.controller.tasks.action import Work
from outbox_operator.errors import OutboxError
from outbox_operator.plan.doctor.findings import Check, Finding, error
from outbox_operator.plan.doctor.logins import unreachable
from outbox_operator.plan.doctor.redis import check_keys, check_server
from outbox_operator.plan.redis.keys import keys_of


async def keys(work: Work, stream: Stream | None) -> AsyncIterator[Finding]:
    """What is not well with a stream in Redis.

    Args:
        work: Of the task.
        stream: The EventStream; None: it does not exist.
    """
    redis = None if stream is None else stream.spec.redis
    if stream is None or redis is None:
        return
    where = f"Redis at {redis.url}"
    try:
        admin = await connect_redis(work.context, stream.meta, redis)
        server = await admin.server()
        found = [await admin.key(name) for name in keys_of(stream.spec)]
    except OutboxError as problem:
        yield unreachable(where, problem, stream.meta)
        return
    for one in check_server(where, server):
        yield one
    for key in found:
        if key.kind == "none":
            yield error(
                Check.NOT_WELL, f"key {key.name}", "does not exist",
                "the operator makes it within a minute, unless it is paused",
            )  # fmt: skip
    for one in check_keys([key for key in found if key.kind == "stream"], stream.spec.maxMessages):
        yield one
