"""Figures of immediate sending, in the application's own Prometheus registry.

They exist when prometheus-client is installed. Without it nothing is counted.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

from outbox_operator.reasons import Reason

LABELS: Final = ("namespace", "pipeline")
_PREFIX: Final = "outbox_optimistic_send_"


class Declaration(NamedTuple):
    """What the reference page says about a metric."""

    kind: str
    name: str
    help: str
    labels: tuple[str, ...]


ATTEMPTS: Final = Declaration(
    "counter", f"{_PREFIX}attempts_total", "Committed events to send at once.", LABELS
)
SUCCESSES: Final = Declaration(
    "counter",
    f"{_PREFIX}success_total",
    "Of these, events that the stream acknowledged, or whose nudge reached a relay.",
    LABELS,
)
FAILURES: Final = Declaration(
    "counter",
    f"{_PREFIX}failures_total",
    "Of these, events left to the relay, by reason.",
    (*LABELS, "reason"),
)
LATENCY: Final = Declaration(
    "histogram", f"{_PREFIX}latency_seconds", "From the commit to the success.", LABELS
)
DECLARATIONS: Final = (ATTEMPTS, SUCCESSES, FAILURES, LATENCY)

_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds; from a nudge on loopback to the bounded wait."""

_FAILURES: Final = (
    Reason.SEND_TIMEOUT,
    Reason.SEND_REFUSED,
    Reason.NOBODY_LISTENS,
    Reason.TOO_MANY_WAITING,
    Reason.LINK_CLOSED,
    Reason.CONNECTION_OF_PARENT,
    Reason.NATS_UNREACHABLE,
)
"""There from the first attempt on, with 0: a rate does not see the first value of a series."""


class SendMetrics:
    """Counts what becomes of events that were to be sent at once. Safe in every thread."""

    def __init__(self) -> None:
        self._begun: set[tuple[str, str]] = set()
        try:
            import prometheus_client
        except ImportError:
            self._made: dict[str, Any] = {}
            return
        kinds = {"counter": prometheus_client.Counter}
        self._made = {
            one.name: kinds[one.kind](one.name, one.help, one.labels)
            for one in DECLARATIONS
            if one.kind in kinds
        }
        self._made[LATENCY.name] = prometheus_client.Histogram(
            LATENCY.name, LATENCY.help, LATENCY.labels, buckets=_BUCKETS
        )

    def attempt(self, namespace: str, pipeline: str) -> None:
        """An event was committed and shall be sent."""
        if self._made and (namespace, pipeline) not in self._begun:
            self._begun.add((namespace, pipeline))
            for reason in _FAILURES:
                self._made[FAILURES.name].labels(namespace, pipeline, reason)
        self._count(ATTEMPTS, namespace, pipeline)

    def success(self, namespace: str, pipeline: str, seconds: float) -> None:
        """It was."""
        self._count(SUCCESSES, namespace, pipeline)
        if self._made:
            self._made[LATENCY.name].labels(namespace, pipeline).observe(seconds)

    def failure(self, namespace: str, pipeline: str, reason: Reason) -> None:
        """It was not; the relay will."""
        self._count(FAILURES, namespace, pipeline, reason)

    def _count(self, what: Declaration, *labels: str) -> None:
        if self._made:
            self._made[what.name].labels(*labels).inc()


@cache
def send_metrics() -> SendMetrics:
    """The one set of this process; its registry refuses a second one."""
    return SendMetrics()
