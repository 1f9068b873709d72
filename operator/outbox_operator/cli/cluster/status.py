"""What `outbox status` does: reads our kinds, makes facts of them, says what is not well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox_operator.api import meta
from outbox_operator.cli.cluster import derived, reading, status_text
from outbox_operator.cli.cluster.facts import PipelineFacts, Said, StreamGroup
from outbox_operator.cli.cluster.rates import Rates
from outbox_operator.cli.cluster.report import Report, moment, object_name
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import AccessDeniedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The facts of `outbox status`."""

    at: datetime
    pipelines: tuple[PipelineFacts, ...]
    streams: tuple[StreamGroup, ...]


async def pipelines(
    session: Session, now: datetime
) -> tuple[list[PipelineFacts], list[StreamGroup]]:
    """The pipeline that `args.name` names, or all in the session's scope and the other streams.

    Raises:
        NotFoundError: There is none of that name.
    """
    wanted: str | None = session.args.name
    everything = await reading.everything(session)
    found = derived.pipelines(everything, now)
    if wanted is not None:
        there = [one.name for one in found]
        found = [one for one in found if one.name == wanted]
        if not found:
            raise await reading.missing(session, meta.PIPELINE, wanted, there)
    rates: Rates = session.memory.setdefault("rates", Rates())
    groups = derived.alone(everything, now) if wanted is None else []
    return [rates.of(one) for one in found], [rates.of_group(one) for one in groups]


async def look(session: Session) -> Report:
    """One look at a pipeline, or at all of a namespace or of the cluster."""
    now = session.now()
    found, groups = await pipelines(session, now)
    if len(found) == 1:
        found = [await _with_events(session, found[0])]

    def lines(screen: Screen) -> Iterator[str]:
        if (away := session.kube.away) is not None:
            # All that could be said of each part would follow from that.
            yield from screen.wrap(away)
            return
        namespaces = session.scope is None
        if len(found) == 1 and not groups:
            yield from status_text.one(found[0], now, screen)
        elif found:
            yield from status_text.many(found, now, screen, namespaces=namespaces)
        if groups:
            yield from [""] if found else []
            yield from status_text.alone(groups, now, screen, namespaces=namespaces)

    return Report(
        facts=Status(at=now, pipelines=tuple(found), streams=tuple(groups)),
        lines=lines if found or groups else nothing(session),
        names=[
            *(object_name(meta.PIPELINE, one.name) for one in found),
            *(object_name(meta.STREAM, one.name) for one in groups if one.ready),
        ],
        well=bool(found or groups)
        and all(one.well for one in found)
        and all(one.well for one in groups),
    )


def nothing(session: Session) -> Callable[[Screen], list[str]]:
    """What is said where there is no pipeline; it is not well: who waits for one, waits on."""
    where = "the cluster" if session.scope is None else f"namespace {session.namespace}"
    return lambda screen: screen.wrap(f"no OutboxPipeline and no EventStream in {where}")


async def _with_events(session: Session, one: PipelineFacts) -> PipelineFacts:
    names = {
        (meta.PIPELINE, one.name),
        (meta.STREAM, one.stream.resource),
        *((meta.CONSUMER, consumer.resource) for consumer in one.consumers),
    }
    try:
        bodies = await reading.events(session, one.namespace)
    except AccessDeniedError:
        return one  # a courtesy: the conditions say what holds now
    return dataclasses.replace(one, events=tuple(_said(bodies, names)))


def _said(bodies: Iterable[Mapping[str, Any]], names: set[tuple[str, str]]) -> Iterator[Said]:
    for body in bodies:
        regarding = body.get("involvedObject") or {}
        kind, name = str(regarding.get("kind")), str(regarding.get("name"))
        if (kind, name) not in names:
            continue
        yield Said(
            at=moment(reading.last_seen(body)),
            type=str(body.get("type") or "Normal"),
            kind=kind,
            name=name,
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            count=int((body.get("series") or {}).get("count") or 1),
        )
