"""Prometheus metrics, each declared in one place and carrying the identity of its process.

A role builds one `Metrics`, declares its metrics as attributes of a small class, and hands
`registry` to the health server. No global registry: tests and several pipelines in one process
do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics import MetricWrapperBase

from outbox_operator.telemetry.declaration import Declaration
from outbox_operator.telemetry.series import Distributions, Readings

LATENCY_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; from a loopback acknowledgement to a handler's time-out."""
AGE_BUCKETS: Final = (*LATENCY_BUCKETS, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Seconds; from an event that is on its way at once to one that waited for an hour."""

M = TypeVar("M", bound=MetricWrapperBase)


class Labelled(Generic[M]):
    """A metric with labels beyond the process identity: `errors("PostgresUnreachable").inc()`."""

    def __init__(self, metric: M, identity: tuple[str, ...]) -> None:
        self._metric = metric
        self._identity = identity

    def __call__(self, *values: str) -> M:
        """The series of these label values, in the order the labels were declared."""
        return self._metric.labels(*self._identity, *values)

    def values(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Label values and value of each series that there is, of counters and gauges."""
        own = len(self._identity)
        for family in self._metric.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    yield tuple(sample.labels.values())[own:], sample.value


class Metrics:
    """Declares metrics named `<prefix>_<name>` that all carry the labels of `identity`.

    Args:
        prefix: For example `outbox_relay`.
        identity: Constant labels, for example `{"namespace": "shop", "pipeline": "orders"}`.
        registry: Join the metrics of another prefix; None starts a new registry, with the
            figures of this process.
    """

    def __init__(
        self,
        prefix: str,
        identity: Mapping[str, str] | None = None,
        *,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self.declarations: list[Declaration] = []
        self._prefix = prefix
        self._names = tuple(identity or {})
        self._values = tuple((identity or {}).values())
        if registry is None:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)

    def counter(self, name: str, help_text: str) -> Counter:
        """Something that only grows; `name` ends in `_total`."""
        return self._bare(self._declare(Counter, "counter", name, help_text, ()))

    def counters(self, name: str, help_text: str, *labels: str) -> Labelled[Counter]:
        """A counter for each combination of `labels`."""
        return Labelled(self._declare(Counter, "counter", name, help_text, labels), self._values)

    def gauge(self, name: str, help_text: str) -> Gauge:
        """A value that goes up and down."""
        return self._bare(self._declare(Gauge, "gauge", name, help_text, ()))

    def gauges(self, name: str, help_text: str, *labels: str) -> Labelled[Gauge]:
        """A gauge for each combination of `labels`."""
        return Labelled(self._declare(Gauge, "gauge", name, help_text, labels), self._values)

    def histogram(
        self, name: str, help_text: str, buckets: Sequence[float] = LATENCY_BUCKETS
    ) -> Histogram:
        """A distribution; `name` ends in its unit, for example `_seconds`."""
        return self._bare(self._histogram(name, help_text, buckets, ()))

    def histograms(
        self,
        name: str,
        help_text: str,
        *labels: str,
        buckets: Sequence[float] = LATENCY_BUCKETS,
    ) -> Labelled[Histogram]:
        """A distribution for each combination of `labels`."""
        return Labelled(self._histogram(name, help_text, buckets, labels), self._values)

    def readings(self, name: str, help_text: str, *labels: str) -> Readings:
        """Gauges read with each scrape; what is not known has no series."""
        full = self._note("gauge", name, help_text, labels)
        return Readings(full, help_text, self._identity(), labels, self.registry)

    def distributions(
        self, name: str, help_text: str, *labels: str, buckets: Sequence[float] = AGE_BUCKETS
    ) -> Distributions:
        """A histogram of what is observed in large numbers, by one call for many."""
        full = self._note("histogram", name, help_text, labels)
        return Distributions(
            full, help_text, self._identity(), labels, self.registry, buckets=buckets
        )

    def _identity(self) -> Mapping[str, str]:
        return dict(zip(self._names, self._values, strict=True))

    def _declare(
        self, kind: type[M], word: str, name: str, help_text: str, labels: tuple[str, ...]
    ) -> M:
        full = self._note(word, name, help_text, labels)
        return kind(full, help_text, (*self._names, *labels), registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, buckets: Sequence[float], labels: tuple[str, ...]
    ) -> Histogram:
        full = self._note("histogram", name, help_text, labels)
        return Histogram(
            full, help_text, (*self._names, *labels), registry=self.registry, buckets=buckets
        )

    def _note(self, word: str, name: str, help_text: str, labels: tuple[str, ...]) -> str:
        full = f"{self._prefix}_{name}"
        self.declarations.append(Declaration(word, full, help_text, (*self._names, *labels)))
        return full

    def _bare(self, metric: M) -> M:
        # Resolving the identity labels at once makes the series visible with its zero value.
        return metric.labels(*self._values) if self._names else metric
