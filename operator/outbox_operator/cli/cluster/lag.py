"""What `outbox lag` does: how far each hop of a pipeline is behind, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.api import meta
from outbox_operator.cli.cluster import status
from outbox_operator.cli.cluster.facts import ConsumerFacts, PipelineFacts, Sample
from outbox_operator.cli.cluster.report import Report, count, document, object_name
from outbox_operator.cli.cluster.screen import Column, Screen
from outbox_operator.cli.cluster.session import Session

OUTBOX = "outbox"
"""The hop from the table to the stream; the others are consumers, by their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One hop.

    Attributes:
        pipeline: Empty: of a stream that no pipeline publishes into.
        hop: `outbox`, or `consumer/<name>`.
        waiting: Events that it has before it.
        in_flight: Of those handed out, how many are not acknowledged; 0 for the outbox.
        oldest_seconds: Age of the oldest of both.
        per_second: Events that go through it.
        dead_letters: Events that ended at it.
    """

    namespace: str
    pipeline: str
    hop: str
    waiting: int | None
    is_estimate: bool
    in_flight: int | None
    oldest_seconds: float | None
    per_second: float | None
    dead_letters: int | None
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """The facts of `outbox lag`."""

    at: datetime
    hops: tuple[Hop, ...]


async def look(session: Session) -> Report:
    """One look at the hops of a pipeline, or of all."""
    now = session.now()
    pipelines, groups = await status.pipelines(session, now)
    found = [hop for one in pipelines for hop in hops(one)]
    found += [_of(one, group.namespace, "") for group in groups for one in group.consumers]
    return Report(
        facts=Lag(at=now, hops=tuple(found)),
        lines=(lambda screen: text(found, screen)) if found else status.nothing(session),
        names=[object_name(meta.PIPELINE, one.name) for one in pipelines],
        well=bool(found) and all(hop.sample.known for hop in found),
    )


def hops(facts: PipelineFacts) -> Iterator[Hop]:
    """The hops of a pipeline, in the order events take them."""
    rows = facts.rows
    yield Hop(
        namespace=facts.namespace,
        pipeline=facts.name,
        hop=OUTBOX,
        waiting=rows.waiting,
        is_estimate=rows.is_estimate,
        in_flight=None if rows.waiting is None else 0,
        oldest_seconds=rows.oldest_seconds,
        per_second=facts.relay.per_second,
        dead_letters=rows.dead_letters,
        sample=rows.sample,
    )
    for one in facts.consumers:
        yield _of(one, facts.namespace, facts.name)


def _of(one: ConsumerFacts, namespace: str, pipeline: str) -> Hop:
    return Hop(
        namespace=namespace,
        pipeline=pipeline,
        hop=f"consumer/{one.name}",
        waiting=one.pending,
        is_estimate=False,
        in_flight=one.in_flight,
        oldest_seconds=one.oldest_seconds,
        per_second=one.per_second,
        dead_letters=one.dead_letters,
        sample=one.sample,
    )


def text(found: Iterable[Hop], screen: Screen) -> list[str]:
    """A line for each hop, every column one word: numbers without units, `?` for not known."""
    columns = [
        Column("NAMESPACE", wraps=True),
        Column("PIPELINE", wraps=True),
        Column("HOP", wraps=True),
        Column("WAITING", right=True),
        Column("IN-FLIGHT", right=True),
        Column("OLDEST-S", right=True),
        Column("PER-S", right=True),
        Column("DEAD", right=True),
        Column("READ-AT", goes=1),
    ]
    rows = [
        [
            hop.namespace,
            hop.pipeline or "-",
            hop.hop,
            count(hop.waiting),
            count(hop.in_flight),
            _number(hop.oldest_seconds),
            _number(hop.per_second),
            count(hop.dead_letters),
            str(document(hop.sample.read_at) or "never"),
        ]
        for hop in found
    ]
    return screen.table(columns, rows)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.10g}"
