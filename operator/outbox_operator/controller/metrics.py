"""The operator's own metrics, each declared once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from outbox_operator.api import meta
from outbox_operator.telemetry.metrics import Metrics

PASS_BUCKETS_SECONDS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
)


class OperatorMetrics:
    """Declared on construction; attributes are the metrics.

    Args:
        lease: What the processes of this operator compete for, `<namespace>/<name>`.
        slices: Into how many parts they divide the namespaces.
    """

    def __init__(self, lease: str = "", slices: int = 1) -> None:
        metrics = Metrics("outbox_operator")
        self.registry = metrics.registry
        self.declarations = metrics.declarations
        self.wakeups = metrics.counters(
            "wakeups_total", "Wake-ups of objects, by what caused them.", "kind", "trigger"
        )
        self._passes = metrics.counters(
            "reconciles_total",
            "Passes over objects, by result: ok, failed, error, defect or timeout.",
            "kind",
            "result",
        )
        # With 0 from the start: a rate does not see a series' first value.
        for kind in (meta.PIPELINE, meta.STREAM, meta.CONSUMER):
            for result in ("error", "timeout", "defect"):
                self._passes(kind, result)
        self._looks = metrics.counters(
            "looks_total",
            "Looks at objects that rest, by result: same, which spares a pass, or changed.",
            "kind",
            "result",
        )
        self._duration = metrics.histograms(
            "reconcile_duration_seconds", "Length of a pass.", "kind", buckets=PASS_BUCKETS_SECONDS
        )
        self._waited = metrics.histogram(
            "queue_wait_seconds", "From being due to being worked on.", buckets=PASS_BUCKETS_SECONDS
        )
        self._depth = metrics.gauge("queue_depth", "Objects that are due and wait for a worker.")
        self._running = metrics.gauge("queue_running", "Passes under way.")
        self._objects = metrics.gauge("objects", "Objects under the operator's care.")
        self._failing = metrics.gauge("objects_failing", "Objects in a back-off.")
        self._requests = metrics.counters(
            "api_requests_total",
            "Calls of the Kubernetes API by HTTP method and status, 0 when there was no answer; a "
            "watch is one.",
            "verb",
            "code",
        )
        leader = metrics.gauges(
            "leader",
            "1 while this process leads a slice of the namespaces; undivided, they are slice 0.",
            "lease",
            "slice",
        )
        self._leader = [leader(lease, str(index)) for index in range(slices)]
        self._leads_since: dict[int, float] = {}
        since = metrics.readings(
            "leader_since_timestamp_seconds",
            "When this process began to lead a slice; absent while it does not.",
            "lease",
            "slice",
        )
        for index in range(slices):
            since.watch(partial(self._leads_since.get, index), lease, str(index))
        metrics.readings(
            "slices",
            "Into how many slices those who lead divide the namespaces; absent where none is led.",
            "lease",
        ).watch(lambda: slices if self._leads_since else None, lease)
        self.missed = metrics.counters(
            "resync_missed_total", "Changes that the watch missed and the resync found.", "kind"
        )
        self.watch_behind = metrics.gauge(
            "watch_behind_seconds", "For how long the watch has been missing a change; 0: none."
        )

    def lead(self, index: int) -> None:
        """This process leads a slice from now on."""
        self._leader[index].set(1)
        self._leads_since[index] = time.time()

    def give_up(self, index: int) -> None:
        """It does not any more."""
        self._leader[index].set(0)
        self._leads_since.pop(index, None)

    def retire(self) -> None:
        """It leads nothing any more."""
        for index in range(len(self._leader)):
            self.give_up(index)

    def record_request(self, method: str, status: int) -> None:
        """A call of the Kubernetes API was answered, or not: then `status` is 0."""
        self._requests(method, str(status)).inc()

    def record_look(self, kind: str, same: bool) -> None:
        """An object that rests was looked at."""
        self._looks(kind, "same" if same else "changed").inc()

    def observe_queue(
        self,
        *,
        depth: Callable[[], int],
        running: Callable[[], int],
        objects: Callable[[], int],
        failing: Callable[[], int],
    ) -> None:
        """Where the gauges of the queue read their values when scraped."""
        self._depth.set_function(depth)
        self._running.set_function(running)
        self._objects.set_function(objects)
        self._failing.set_function(failing)

    def record_pass(
        self, kind: str, result: str, *, duration_seconds: float, waited_seconds: float
    ) -> None:
        """A pass ended."""
        self._passes(kind, result).inc()
        self._duration(kind).observe(duration_seconds)
        self._waited.observe(waited_seconds)
