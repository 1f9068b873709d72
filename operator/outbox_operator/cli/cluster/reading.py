"""Reads our kinds, and the operator's events about them, as values.

A few lists whatever the number of objects. A field that this version does not know is passed over,
and a status that it cannot read counts as empty: the numbers are then not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import name_selector
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.resource import parse_meta, parse_status
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.cli.cluster.seen import Everything, Seen, StatusT
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import AccessDeniedError, OutboxError

OPERATOR_EVENTS: Final = f"reportingComponent={meta.GROUP}/{meta.MANAGED_BY}"


async def everything(session: Session) -> Everything:
    """What there is in the session's scope. Raises the errors of `Kube.list`."""
    kinds = (meta.PIPELINE, meta.STREAM, meta.CONSUMER)
    *found, tasks = await asyncio.gather(
        *(_all(session, kind) for kind in kinds), _tasks(session), return_exceptions=True
    )
    lists = []
    for one_list in (*found, tasks):
        # In this order: the same list speaks each time of a right that is missing.
        if isinstance(one_list, BaseException):
            raise one_list
        lists.append(one_list)
    pipelines, streams, consumers, tasks = lists
    return Everything(
        pipelines=_seen(pipelines, OutboxPipelineStatus),
        streams=_seen(streams, EventStreamStatus),
        consumers=_seen(consumers, EventConsumerStatus),
        tasks=tuple(tasks),
    )


async def one(session: Session, kind: str, name: str) -> dict[str, Any]:
    """An object of one of our kinds, as the API server has it.

    Raises:
        SpecError: It is no name.
        NotFoundError: There is none of that name; the message names those that are there, and the
            consumers that a pipeline calls so.
    """
    found, _ = await session.kube.list(
        meta.API_VERSION, meta.PLURALS[kind], session.namespace,
        field_selector=name_selector(name),
    )  # fmt: skip
    if found:
        return found[0]
    raise await missing(session, kind, name, await _names(session, kind))


async def missing(session: Session, kind: str, name: str, there: Iterable[str]) -> NotFoundError:
    """There is no such object; says which there are, and what a pipeline calls so."""
    said = f"no {kind} {name!r} in namespace {session.namespace}; there is {some(there)}"
    called = await _consumers_called(session, name) if kind == meta.PIPELINE else []
    return NotFoundError("; ".join([said, *called]))


def some(there: Iterable[str]) -> str:
    """Names that there are, as a sentence has them."""
    names = sorted(there)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more if names else "none"


async def events(session: Session, namespace: str) -> list[dict[str, Any]]:
    """What the operator said lately in a namespace, oldest first."""
    found, _ = await session.kube.list("v1", "events", namespace, field_selector=OPERATOR_EVENTS)
    return sorted(found, key=last_seen)


def last_seen(event: Mapping[str, Any]) -> str:
    """When an event was seen last; empty: it does not say."""
    series = event.get("series") or {}
    said = series.get("lastObservedTime") or event.get("eventTime") or event.get("lastTimestamp")
    return str(said or event["metadata"].get("creationTimestamp") or "")


async def _consumers_called(session: Session, name: str) -> list[str]:
    """The consumers that their pipelines call so; none where they are not to be seen."""
    try:
        found, _ = await session.kube.list(
            meta.API_VERSION, meta.PLURALS[meta.CONSUMER], session.namespace,
            f"{meta.CONSUMER_LABEL}={name}", metadata_only=True,
        )  # fmt: skip
    except OutboxError:
        return []
    return sorted(
        f"{name} is a consumer of {of['labels'].get(meta.PIPELINE_LABEL)} (evc/{of['name']})"
        for of in (one["metadata"] for one in found)
    )[:10]


async def _names(session: Session, kind: str) -> list[str]:
    found, _ = await session.kube.list(
        meta.API_VERSION, meta.PLURALS[kind], session.namespace, metadata_only=True
    )
    return [str(item["metadata"]["name"]) for item in found]


async def _all(session: Session, kind: str) -> list[dict[str, Any]]:
    found, _ = await session.kube.list(meta.API_VERSION, meta.PLURALS[kind], session.scope)
    return found


async def _tasks(session: Session) -> list[dict[str, Any]]:
    """All tasks, for which a consumer may stand still; none where they are not to be seen."""
    try:
        return await _all(session, meta.TASK)
    except (AccessDeniedError, NotFoundError):
        return []


def _seen(bodies: Iterable[Mapping[str, Any]], status: type[StatusT]) -> tuple[Seen[StatusT], ...]:
    found = [
        Seen(
            meta=parse_meta(body),
            spec=body.get("spec") or {},
            status=parse_status(body, status),
        )
        for body in bodies
    ]
    return tuple(sorted(found, key=lambda seen: (seen.meta.namespace, seen.meta.name)))
