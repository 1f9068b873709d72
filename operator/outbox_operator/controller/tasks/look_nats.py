"""Looks at NATS with the logins of a resource: account, streams, durable consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.diagnose import DurableSeen, JetStreamLook, StreamSeen
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Meta, Pipeline, Stream
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.sessions import jetstream_of
from outbox_operator.counted import counted
from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.plan.doctor.findings import Check, Finding, error, info, unknown
from outbox_operator.plan.doctor.logins import check_clock, check_login, unreachable
from outbox_operator.plan.doctor.streams import (
    StreamFacts,
    check_account,
    check_durable,
    check_stream,
)
from outbox_operator.plan.jetstream.stream_config import dead_letter_name
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import source_in
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.workload import stopped_by

MOST_STREAMS: Final = 50
"""Of others, that are looked at for a mark of ours."""
MOST_VERBS: Final = 60
_ELSEWHERE: Final = "a resource of another namespace"


async def streams(
    work: Work, pipeline: Pipeline | None, stream: Stream | None, consumers: Sequence[Consumer]
) -> AsyncIterator[Finding]:
    """What is not well with the streams and durable consumers of a resource.

    Args:
        work: Of the task.
        pipeline: Whose relay publishes with a login of its own.
        stream: The EventStream; None: it does not exist.
        consumers: Those that read it.
    """
    logins = dict[str, tuple[Meta, NatsConnection]]()
    if pipeline is not None and pipeline.spec.nats is not None:
        logins[pipeline.spec.nats.model_dump_json()] = (pipeline.meta, pipeline.spec.nats)
    if stream is not None and stream.spec.nats is not None:
        logins[stream.spec.nats.model_dump_json()] = (stream.meta, stream.spec.nats)
    for consumer in consumers:
        nats = consumer.spec.nats
        if nats is not None:
            logins[nats.model_dump_json()] = (consumer.meta, nats)
    for owner, nats in logins.values():
        try:
            admin = await jetstream_of(work, nats)
        except OutboxError as problem:
            yield unreachable(f"NATS at {nats.url}", problem, owner)
            continue
        async for one in _account(admin.look):
            yield one
        if stream is not None and nats == stream.spec.nats:
            async for one in _stream(work, admin, stream, consumers):
                yield one
            async for one in _left_behind(work, admin.look, stream):
                yield one
        else:
            for consumer in consumers:
                if consumer.spec.nats == nats:
                    async for one in _alone(work, admin, consumer, stream):
                        yield one


async def _account(look: JetStreamLook) -> AsyncIterator[Finding]:
    for one in check_login(look.login(), datetime.now(UTC)):
        yield one
    try:
        for one in check_account(await look.account()):
            yield one
    except AccessDeniedError as denied:
        yield unknown(look.where, f"how much room the account has: {denied.message}")


async def _stream(
    work: Work, admin: JetStreamAdmin, stream: Stream, consumers: Sequence[Consumer]
) -> AsyncIterator[Finding]:
    """The stream, its dead letters, and who reads it."""
    look, spec = admin.look, stream.spec
    seen = await look.stream(spec.name)
    if seen is None:
        yield error(
            Check.NOT_WELL, f"stream {spec.name}", "does not exist",
            "the operator makes it within a minute, unless it is paused",
        )  # fmt: skip
        return
    if seen.clock is not None:
        for one in check_clock(look.where, seen.clock):
            yield one
    for one in check_stream(seen.facts):
        yield one
    if spec.deadLetter is not None:
        letters = await look.stream(dead_letter_name(spec))
        for one in check_stream(replace(letters.facts, dead_letters=True)) if letters else ():
            yield one
    try:
        durables = await look.durables(spec.name)
    except AccessDeniedError as denied:
        yield unknown(f"stream {spec.name}", f"whether others read it: {denied.message}")
        names = [durable_name(one) for one in consumers]
        asked = [await look.durable(spec.name, name) for name in names]
        durables = [durable for durable in asked if durable is not None]
    async for one in _rights(look, stream, consumers):
        yield one
    for durable in durables:
        async for one in _durable(work, admin, durable, seen.facts, consumers):
            yield one


async def _rights(
    look: JetStreamLook, stream: Stream, consumers: Sequence[Consumer]
) -> AsyncIterator[Finding]:
    """What the operator will need for changes and repairs, and may not ask."""
    names = [stream.spec.name]
    if stream.spec.deadLetter is not None:
        names.append(dead_letter_name(stream.spec))
    verbs = [f"STREAM.{verb}.{name}" for name in names for verb in ("CREATE", "UPDATE", "MSG.GET")]
    verbs += [f"CONSUMER.CREATE.{stream.spec.name}.{durable_name(one)}" for one in consumers]
    for words in await look.refused(verbs[:MOST_VERBS]):
        yield error(
            Check.NATS_RIGHT, f"operator at {look.where}", words,
            remedy="docs: NATS permissions",
        )  # fmt: skip


async def _alone(
    work: Work, admin: JetStreamAdmin, consumer: Consumer, stream: Stream | None
) -> AsyncIterator[Finding]:
    """A consumer with a login of its own, which may see no more than its durable."""
    name = consumer.spec.streamName
    if name is None and stream is not None:
        name = source_in(consumer, stream).stream
    if name is None:
        return
    try:
        found = await admin.look.durable(name, durable_name(consumer))
        seen = await admin.look.stream(name)
    except AccessDeniedError as denied:
        yield unknown(consumer.meta.key, denied.message)
        return
    if found is not None and seen is not None:
        async for one in _durable(work, admin, found, seen.facts, [consumer]):
            yield one


def _is_stopped(consumer: Consumer) -> bool:
    """Whether it shall have no pods."""
    spec = consumer.spec
    builtin = spec.autoscaling is not None and spec.autoscaling.builtin
    return stopped_by("spec", spec.state, None if builtin else spec.replicas) is not None


async def _durable(
    work: Work,
    admin: JetStreamAdmin,
    seen: DurableSeen,
    stream: StreamFacts,
    consumers: Sequence[Consumer],
) -> AsyncIterator[Finding]:
    mark, ours = seen.mark, work.task.meta.namespace
    living = None if mark is None else await _living(work, mark, meta.CONSUMER)
    facts = replace(
        seen.facts,
        living=living,
        mark="" if mark is None else mark.key if mark.namespace == ours else _ELSEWHERE,
        stopped=any(durable_name(one) == seen.facts.name and _is_stopped(one) for one in consumers),
    )
    if facts.pending or facts.ack_pending:
        start = max(seen.ack_floor + 1, stream.first_sequence)
        filters = seen.filters or (">",)
        first = [await admin.first_message(facts.stream, one, start) for one in filters]
        oldest = min((one for one in first if one), key=lambda one: one.sequence, default=None)
        if oldest is not None:
            facts = replace(facts, oldest_sequence=oldest.sequence, oldest_unread=oldest.stored_at)
    for one in check_durable(facts, stream, datetime.now(UTC)):
        yield one


async def _living(work: Work, mark: Owner, kind: str) -> bool | None:
    """Whether the resource of a mark is there; None: it is of another cluster, nobody knows."""
    if mark.uid in work.context.living(kind):
        return True
    ours = await work.context.cluster.of(work.task.meta.namespace)
    return False if mark.cluster and mark.cluster == ours else None


async def _left_behind(work: Work, look: JetStreamLook, stream: Stream) -> AsyncIterator[Finding]:
    """Streams with a mark of this namespace whose resource is gone."""
    known = {stream.spec.name, dead_letter_name(stream.spec)}
    try:
        names = [name for name in await look.stream_names() if name not in known][:MOST_STREAMS]
        found = await asyncio.gather(*(look.stream(name) for name in names))
    except OutboxError as problem:
        # Whoever may look at the streams of this resource alone sees nothing of others.
        yield info(
            Check.NOT_LOOKED_AT, look.where, f"streams that were left behind: {problem.message}"
        )
        return
    for seen in found:
        if seen is not None and await _is_left(work, seen):
            yield info(
                Check.STREAM_OF_NOBODY, f"stream {seen.facts.name}",
                f"carries the mark of {seen.mark.key if seen.mark else ''}, which is gone, and "
                f"holds {counted(seen.facts.messages, 'message')}",
                remedy=f"nats stream rm {seen.facts.name}  # when nobody needs it",
            )  # fmt: skip


async def _is_left(work: Work, seen: StreamSeen) -> bool:
    mark = seen.mark
    if mark is None or mark.namespace != work.task.meta.namespace:
        return False
    return await _living(work, mark, meta.STREAM) is False
