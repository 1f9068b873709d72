"""What is true of a pipeline from row to dead letter, as values. Pure.

A number that the operator could not read lately is None and never 0; beside it stands since when,
why, and what the number was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from outbox_operator.cli.cluster.report import prose


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How far numbers can be trusted.

    Attributes:
        known: Whether they are those of now, as far as the operator knows.
        read_at: When they were read last; None: never.
        unknown_since: Since when they are not known; None: they are, or it cannot be told.
        why: Reason because of which they are not.
        last: What they were, if they are not known.
    """

    known: bool
    read_at: datetime | None
    unknown_since: datetime | None = None
    why: str | None = None
    last: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The outbox table."""

    waiting: int | None
    is_estimate: bool
    oldest_seconds: float | None
    dead_letters: int | None
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFacts:
    """The relay; `scaling`: up to where autoscaling goes, and why; None: it has no say."""

    wanted: int | None
    ready: int | None
    published_total: int | None
    per_second: float | None
    last_published_at: datetime | None
    restarts: int | None
    scaling: str | None = prose()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """The stream and its dead-letter stream; `name` None: there is none yet.

    Attributes:
        dead_letters: Of all consumers.
        dead_letter_key: Where those are, in Redis; None: in a stream.
    """

    resource: str
    name: str | None
    messages: int | None
    bytes: int | None
    dead_letters: int | None
    sample: Sample
    dead_letter_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """The archive of a consumer, as its status has it.

    Attributes:
        rows: About how many events it holds.
        complete_to: No event that the stream took before is missing; None: nobody can say.
        gaps: In the numbers of events; None: nobody can say.
        last_seal: Number of the last seal; None: nothing is sealed.
        backfilling: Whether the rows of an outbox's table are not in it yet.
        sampled_at: When that was read; None: never.
    """

    rows: int
    complete_to: datetime | None
    gaps: int | None
    last_seal: int | None
    backfilling: bool
    sampled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFacts:
    """One durable consumer and its pods; `wanted` None: its pods are not ours. `scaling` as of
    a relay."""

    resource: str
    name: str
    durable: str | None
    state: str
    ready: str
    wanted: int | None
    ready_pods: int | None
    pending: int | None
    in_flight: int | None
    redelivered: int | None
    handled_to: int | None
    oldest_seconds: float | None
    per_second: float | None
    dead_letters: int | None
    scaling: str | None = prose()
    sample: Sample
    archive: ArchiveFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A condition that is not well, and what to do about it."""

    kind: str
    name: str
    type: str
    status: str
    reason: str
    message: str = prose()
    since: datetime | None
    next: str = prose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An event of the operator."""

    at: datetime | None
    type: str
    kind: str
    name: str
    reason: str
    message: str = prose()
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """A whole pipeline.

    Attributes:
        ready: Status of its Ready condition.
        seen: Whether the operator has looked at the specification as it is now.
        well: Whether it is ready, all its numbers are known, and nothing is wrong.
        next: Commands worth a look, the most pressing first.
    """

    namespace: str
    name: str
    ready: str
    reason: str
    message: str = prose()
    seen: bool
    paused: bool
    well: bool
    operator_version: str | None
    rows: Rows
    relay: RelayFacts
    stream: StreamFacts
    consumers: tuple[ConsumerFacts, ...]
    not_well: tuple[Trouble, ...]
    events: tuple[Said, ...]
    next: tuple[str, ...] = prose()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGroup:
    """A stream that no pipeline publishes into, with its consumers.

    Attributes:
        name: Of the EventStream, or of a JetStream stream that nobody declares here.
        ready: Status of the EventStream's Ready condition; None: there is no EventStream.
        well: As of a pipeline.
    """

    namespace: str
    name: str
    ready: str | None
    stream: StreamFacts
    consumers: tuple[ConsumerFacts, ...]
    not_well: tuple[Trouble, ...]
    well: bool
