"""Looks for what is wrong with a pipeline, stream or consumer, from the operator's place.

Changes nothing. Each part (rights, pods, database, NATS) is looked at beside the others and within
a bound of its own; what does not answer is itself a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from outbox_operator.api import meta
from outbox_operator.api.resource import (
    Consumer,
    Meta,
    Pipeline,
    Stream,
    parse_consumer,
    parse_stream,
)
from outbox_operator.api.v1alpha1.task import MOST_FINDINGS, TaskResult
from outbox_operator.api.v1alpha1.task import Finding as Told
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks import look_database, look_nats, look_pods, look_redis
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.errors import OutboxError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.doctor.findings import Finding, Severity, counts, in_order, unknown
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.plan.tasks.status import Progress

PART_SECONDS: Final = 20.0
"""A part that has not ended by then is told as far as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a task looks at."""

    pipeline: Pipeline | None
    stream: Stream | None
    consumers: tuple[Consumer, ...]


class Diagnose:
    """One look at everything that a resource is made of."""

    async def freeze(self, work: Work) -> Frozen:
        """Nothing is to be fixed: it is looked at once."""
        return Frozen()

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Look at all parts, and answer."""
        scope = scope_of(work)
        parts = [
            _part("rights of the operator", look_pods.rights(work)),
            _part("pods", look_pods.pods(work, _pods_of(scope))),
            *(_part(name, look) for name, look in _servers(work, scope)),
        ]
        found = [one for part in await asyncio.gather(*parts) for one in part]
        return replace(progress, finished=True, result=result_of(found))


def scope_of(work: Work) -> Scope:
    """What the target of a task is made of, as it is now."""
    target = work.target
    namespace, cluster = target.meta.namespace, target.meta.cluster
    if target.meta.kind == meta.CONSUMER:
        consumer = work.consumer
        ref = consumer.spec.streamRef
        stream = None if ref is None else _stream(work, target.meta, ref.name)
        return Scope(pipeline=None, stream=stream, consumers=(consumer,))
    pipeline = work.pipeline if target.meta.kind == meta.PIPELINE else None
    name = target.meta.name if pipeline is None else event_stream_name(pipeline)
    consumers = (
        parse_consumer(body, stored=True).in_cluster(cluster)
        for body in work.context.objects.of_kind(meta.CONSUMER, namespace)
        if ((body.get("spec") or {}).get("streamRef") or {}).get("name") == name
    )
    return Scope(
        pipeline=pipeline,
        stream=cast(Stream, target) if pipeline is None else _stream(work, target.meta, name),
        consumers=tuple(consumers),
    )


def _stream(work: Work, beside: Meta, name: str) -> Stream | None:
    body = work.context.objects.get(ObjectKey(meta.STREAM, beside.namespace, name))
    return None if body is None else parse_stream(body, stored=True).in_cluster(beside.cluster)


def _pods_of(scope: Scope) -> Sequence[Meta]:
    """Owners of pods."""
    owners = [one.meta for one in scope.consumers]
    return owners if scope.pipeline is None else [scope.pipeline.meta, *owners]


def _servers(work: Work, scope: Scope) -> Iterable[tuple[str, AsyncIterator[Finding]]]:
    """The looks at databases and NATS, each login once."""
    if scope.pipeline is not None:
        yield "the database", look_database.outbox(work, scope.pipeline)
    for consumer in scope.consumers:
        if consumer.spec.inbox is not None:
            yield f"the inbox of {consumer.meta.name}", look_database.inbox(work, consumer)
        if archive_of(consumer.spec) is not None:
            yield f"the archive of {consumer.meta.name}", look_database.archive(work, consumer)
    if scope.stream is not None and scope.stream.spec.redis is not None:
        yield "Redis", look_redis.keys(work, scope.stream)
    yield "NATS", look_nats.streams(work, scope.pipeline, scope.stream, scope.consumers)


async def _part(name: str, look: AsyncIterator[Finding]) -> list[Finding]:
    """What a look finds, as far as it gets."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(PART_SECONDS):
            async for one in look:
                found.append(one)  # noqa: PERF401 - what was found until then is told
    except TimeoutError:
        found.append(unknown(name, f"was not looked at to its end within {PART_SECONDS:.0f} s"))
    except OutboxError as error:
        found.append(unknown(name, f"{error.reason}: {error.message}"))
    return found


def result_of(found: Iterable[Finding]) -> TaskResult:
    """The answer: the worst first, as many as a status takes."""
    ordered = in_order(found)
    told = [Told.model_validate(one.document()) for one in ordered[:MOST_FINDINGS]]
    by_severity = {
        severity.value: sum(one.severity is severity for one in ordered) for severity in Severity
    }
    return TaskResult(
        summary=counts(ordered),
        counts=by_severity,
        findings=told,
        omitted=max(0, len(ordered) - len(told)),
    )
