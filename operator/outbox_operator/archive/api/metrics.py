"""Every metric of a process that answers questions about an archive, declared once."""

from __future__ import annotations

from outbox_operator.telemetry.metrics import LATENCY_BUCKETS, Metrics


class ApiMetrics:
    """What the process counts.

    Args:
        namespace: Of the consumer.
        consumer: Its name.
    """

    def __init__(self, namespace: str, consumer: str) -> None:
        metrics = Metrics("outbox_archive_api", {"namespace": namespace, "consumer": consumer})
        self.registry = metrics.registry
        self.declarations = metrics.declarations
        self.requests = metrics.counters(
            "requests_total", "Requests answered, by action and status.", "action", "status"
        )
        self.seconds = metrics.histograms(
            "request_seconds", "Time until an answer began, by action.", "action",
            buckets=LATENCY_BUCKETS,
        )  # fmt: skip
        self.events = metrics.counters("events_total", "Events returned, by action.", "action")
        self.errors = metrics.counters(
            "errors_total", "Requests that failed by no fault of who asked, by reason.", "reason"
        )
        self.open = metrics.gauge("open_requests", "Requests being answered now.")
