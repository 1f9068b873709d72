"""The consumer groups of an EventConsumer in Redis: made as declared, read for the status."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from outbox_operator.adapters.execute import execute
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.redis_stream import LONGEST_SECONDS, connect_redis, late
from outbox_operator.errors import OutboxError
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.redis_group import GroupObserved, group_result, plan_group
from outbox_operator.plan.redis.groups import ObservedGroupOf
from outbox_operator.plan.sources import RedisSource
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Applied

if TYPE_CHECKING:  # with it comes the driver: see `redis_connections`
    from outbox_operator.adapters.redis.group_admin import GroupAdmin


async def group_pass(context: Context, resource: Consumer, source: RedisSource) -> DurableResult:
    """Make the groups of one EventConsumer as declared, and say how they are."""
    applied: list[Applied[ObservedGroupOf]] = []
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            groups, observed = await _gather(context, resource, source)
            plan = plan_group(resource, source, observed)
            if groups is not None:
                applied = await execute(plan.steps, create=groups.make, patch=groups.make)
    except TimeoutError:
        observed = GroupObserved(unreachable=late(source.redis.url))
        plan, applied = plan_group(resource, source, observed), []
    return group_result(resource, source, plan, applied, datetime.now(UTC))


async def _gather(
    context: Context, resource: Consumer, source: RedisSource
) -> tuple[GroupAdmin | None, GroupObserved]:
    from outbox_operator.adapters.redis.group_admin import GroupAdmin

    try:
        admin = await connect_redis(context, resource.meta, source.redis)
    except OutboxError as error:
        return None, GroupObserved(unreachable=error)
    groups, name = GroupAdmin(admin), durable_name(resource)
    try:
        uid = resource.meta.uid
        found = tuple([await groups.group(key, name, uid) for key in source.keys])
    except OutboxError as error:
        if admin.lost:
            return None, GroupObserved(unreachable=error)
        return groups, GroupObserved(problem=error)
    return groups, GroupObserved(groups=found, living=context.living(meta.CONSUMER))


async def delete_groups(context: Context, resource: Consumer, source: RedisSource) -> None:
    """Delete the groups that carry the mark of an EventConsumer. Raises until that is done."""
    from outbox_operator.adapters.redis.group_admin import GroupAdmin

    groups = GroupAdmin(await connect_redis(context, resource.meta, source.redis))
    for key in source.keys:
        await groups.drop(key, durable_name(resource), Owner.of(resource.meta))
