"""Every metric of a consumer process, declared once."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prometheus_client import Counter

from outbox_operator.telemetry.metrics import LATENCY_BUCKETS, Metrics
from outbox_operator.telemetry.series import Distribution
from outbox_operator.wire.config import ConsumerConfig

MOST_TYPES: Final = 100
"""Each has some fifty series."""
OTHER_TYPES: Final = "(other types)"
_LABEL_CHARACTERS: Final = 200


class EventTypes:
    """What event types are called in labels: the first so many by their names, the rest as one.

    Whoever fills the stream decides about types; a message that says none has its subject as one,
    in which there may be an id.
    """

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def label(self, event_type: str) -> str:
        """Return the label of a type."""
        found = self._labels.get(event_type)
        if found is None:
            if len(self._labels) >= MOST_TYPES:
                return OTHER_TYPES
            # What is no UTF-8 would keep all metrics from being read.
            found = event_type[:_LABEL_CHARACTERS].encode(errors="replace").decode()
            self._labels[event_type] = found
        return found


M = TypeVar("M")
Answered = tuple[str, str]
"""Outcome, and label of the event type."""


class _ByType(Generic[M]):
    """A metric whose last label is an event type."""

    def __init__(self, metric: Callable[..., M], types: EventTypes) -> None:
        self._metric = metric
        self._types = types

    def __call__(self, *values: str) -> M:
        return self._metric(*values[:-1], self._types.label(values[-1]))


class ConsumerMetrics:
    """What a consumer process counts.

    Args:
        config: For the labels that tell consumers apart.
    """

    def __init__(self, config: ConsumerConfig) -> None:
        metrics = Metrics(
            "outbox_consumer", {"namespace": config.namespace, "consumer": config.consumer}
        )
        self.registry = metrics.registry
        self._types = types = EventTypes()
        self._processed = metrics.counters(
            "processed_total",
            "Events answered: ack, retry, put_off (not now), dead_letter, or unhandled (no "
            "handler takes them, and `unhandled` is Ack).",
            "outcome",
            "event_type",
        )
        self.processed = _ByType(self._processed, types)
        self.errors = metrics.counters(
            "errors_total", "Failed connections and refused requests, by reason.", "reason"
        )
        self.duplicates = metrics.counter(
            "duplicates_total", "Events that the inbox had seen before; the handler was not called."
        )
        self.for_others = metrics.counter(
            "for_others_total",
            "Events that a replay has sent again for another consumer; the handler was not called.",
        )
        self.dead_letters = metrics.counters(
            "dead_lettered_total",
            "Messages put aside: MaxDeliver, Refused, PutOffTooLong or Unhandled.",
            "reason",
        )
        self.duration = _ByType(
            metrics.distributions(
                "handler_duration_seconds",
                "Time the handler took, whatever it answered.",
                "event_type",
                buckets=LATENCY_BUCKETS,
            ),
            types,
        )
        self.end_to_end = metrics.distributions(
            "end_to_end_seconds",
            "Age of events when the handler had done them, since the time that they say.",
        )()
        self.in_flight = metrics.gauge("in_flight", "Messages in hand now.")
        self.redeliveries = metrics.counter(
            "redeliveries_total", "Messages that came for the second or a later time."
        )
        self.left_behind = metrics.counter(
            "calls_left_behind_total",
            "Calls of async functions that did not end although they were cancelled twice after "
            "their time; the log says where each stands.",
        )
        self.unavailable = metrics.counters(
            "unavailable_total",
            "Attempts put off because the handler or the inbox database could not be reached.",
            "reason",
        )
        self.circuit_open = metrics.gauge(
            "circuit_open",
            "1 while nothing is fetched because the handler or the inbox database fails.",
        )
        self.circuit_openings = metrics.counter(
            "circuit_openings_total", "How often the circuit opened."
        )
        self.settle_failures = metrics.counter(
            "settle_failures_total",
            "Answers or dead letters that NATS did not accept; the message comes again.",
        )
        inbox = Metrics(
            "consumer_inbox", {"consumer_name": config.consumer}, registry=self.registry
        )
        self.inbox_processed = _ByType(
            inbox.counters(
                "processed_total", "Events handled and recorded in one transaction.", "event_type"
            ),
            types,
        )
        self._inbox_duplicates = inbox.counters(
            "duplicates_total", "Events that were recorded before.", "event_type"
        )
        self.inbox_duplicates = _ByType(self._inbox_duplicates, types)
        self.inbox_duration = _ByType(
            inbox.distributions(
                "processing_duration_seconds",
                "Time of the transaction of an event: claim, handler, commit.",
                "event_type",
                buckets=LATENCY_BUCKETS,
            ),
            types,
        )
        self._series: dict[str, _Series] = {}
        self.declarations = [*metrics.declarations, *inbox.declarations]

    def acknowledged(self, event_type: str, events: int) -> None:
        """Count events that are handled, and the server knows it."""
        self._of(event_type).acknowledged.inc(events)

    def handled(self, event_type: str, seconds: float) -> None:
        """Record a call of the handler that ended."""
        self._of(event_type).duration.observe(seconds)

    def recorded(self, event_type: str, seconds: float) -> None:
        """Count an event that is handled and in the inbox; `seconds` is its transaction."""
        self.inbox_processed(event_type).inc()
        self.inbox_duration(event_type).observe(seconds)

    def duplicate(self, event_type: str) -> None:
        """Count an event that the inbox knew."""
        self.duplicates.inc()
        self.inbox_duplicates(event_type).inc()

    def answered(self) -> Counts[Answered]:
        """Events until now, by outcome and label of their type; `duplicate`: the inbox knew them,
        so that they are among those that were acknowledged."""
        found = {(outcome, kind): n for (outcome, kind), n in self._processed.values()}
        found |= {("duplicate", kind): n for (kind,), n in self._inbox_duplicates.values()}
        return Counts({one: round(n) for one, n in found.items() if n})

    def _of(self, event_type: str) -> _Series:
        """Return what every event touches, looked up once for each type."""
        found = self._series.get(event_type)
        if found is None:
            label = self._types.label(event_type)
            key = OTHER_TYPES if label == OTHER_TYPES else event_type
            found = self._series.get(key)
            if found is None:
                # With 0 before the first failure: a rate does not see a series' first value.
                for outcome in ("retry", "dead_letter"):
                    self.processed(outcome, event_type)
                found = _Series(self.processed("ack", event_type), self.duration(event_type))
                self._series[key] = found
        return found


@dataclass(frozen=True, slots=True)
class _Series:
    acknowledged: Counter
    duration: Distribution
