"""Metrics that prometheus_client has no class for; `telemetry.metrics` declares them.

A distribution takes the ages of a whole page of events by one call, and a single observation for a
fifth of what a `Histogram` takes: that was a fifth of what it costs to publish an event, and a
twentieth of handling one. A reading that is not known has no series: a zero would say that all is
well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_MICRO: Final = 1_000_000
_LONGEST_SECONDS: Final = 366 * 24 * 3600
"""What an observation adds to the sum at most. Who writes events may date them as they like, and
beside a sum of ages since the year -4713 the next ones would be nothing."""

F = TypeVar("F", GaugeMetricFamily, HistogramMetricFamily)
S = TypeVar("S")


class _Family(Collector, Generic[F, S]):
    """A metric whose series begin with the labels that tell this process from others."""

    kind: type[F]

    def __init__(
        self,
        name: str,
        help_text: str,
        identity: Mapping[str, str],
        labels: Sequence[str],
        registry: CollectorRegistry,
    ) -> None:
        self._named = name, help_text, (*identity, *labels)
        self._values = tuple(identity.values())
        self._series: dict[tuple[str, ...], S] = {}
        registry.register(self)

    def _empty(self) -> F:
        name, help_text, labels = self._named
        return self.kind(name, help_text, labels=labels)

    def describe(self) -> Iterator[F]:
        """Name the metric, without its series."""
        yield self._empty()


class Readings(_Family[GaugeMetricFamily, Callable[[], float | None]]):
    """A gauge whose series are read with each scrape, and are there while they are known."""

    kind = GaugeMetricFamily

    def watch(self, read: Callable[[], float | None], *values: str) -> None:
        """Have the series of these label values read by `read`; None means not known."""
        self._series[(*self._values, *values)] = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read what is known."""
        family = self._empty()
        for values, read in self._series.items():
            found = read()
            if found is not None:
                family.add_metric(values, found)
        yield family


class Distribution:
    """One series of a histogram. Not for several threads.

    Attributes:
        counts: Observations by bucket, each of its own; the last is of those above all bounds.
        seconds: Sum of all observations.
    """

    __slots__ = ("_bounds", "_micros", "counts", "seconds")

    def __init__(self, bounds: Sequence[int]) -> None:
        self._micros = bounds
        self._bounds = [bound / _MICRO for bound in bounds]
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; what is negative, as nothing."""
        if not 0 <= seconds <= _LONGEST_SECONDS:
            seconds = 0.0 if seconds < 0 else _LONGEST_SECONDS
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    def observe_ages(self, moments: Sequence[int], now: int) -> None:
        """Count the ages that moments have now, all in microseconds since 1970."""
        if not moments:
            return
        ordered = sorted(moments)  # of rows read in order: next to nothing
        first = now - _LONGEST_SECONDS * _MICRO
        if ordered[-1] > now or ordered[0] < first:  # a clock that goes ahead of ours, or no clock
            ordered = [max(first, min(moment, now)) for moment in ordered]
        bounds, counts, left = self._micros, self.counts, len(ordered)
        oldest = bisect_left(bounds, now - ordered[0])
        for bucket in range(bisect_left(bounds, now - ordered[-1]), oldest):
            older = bisect_left(ordered, now - bounds[bucket], 0, left)
            counts[bucket] += left - older
            left = older
        counts[oldest] += left
        self.seconds += (len(ordered) * now - sum(ordered)) / _MICRO


class Distributions(_Family[HistogramMetricFamily, Distribution]):
    """A histogram whose series are `Distribution`s."""

    kind = HistogramMetricFamily

    def __init__(
        self,
        name: str,
        help_text: str,
        identity: Mapping[str, str],
        labels: Sequence[str],
        registry: CollectorRegistry,
        *,
        buckets: Sequence[float],
    ) -> None:
        super().__init__(name, help_text, identity, labels, registry)
        self._written = [repr(float(bound)) for bound in buckets]
        self._bounds = [round(bound * _MICRO) for bound in buckets]

    def __call__(self, *values: str) -> Distribution:
        """The series of these label values, in the order the labels were declared."""
        return self._series.setdefault((*self._values, *values), Distribution(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Add up the buckets, as Prometheus wants them."""
        family = self._empty()
        for values, series in self._series.items():
            total, buckets = 0, []
            for bound, count in zip([*self._written, "+Inf"], series.counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric(values, buckets, series.seconds)
        yield family
