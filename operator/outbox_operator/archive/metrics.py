"""Every metric of a process that writes an archive, declared once."""

from __future__ import annotations

from outbox_operator.telemetry.metrics import LATENCY_BUCKETS, Metrics


class ArchiveMetrics:
    """What the process counts.

    Args:
        namespace: Of the consumer.
        consumer: Its name.
    """

    def __init__(self, namespace: str, consumer: str) -> None:
        metrics = Metrics("outbox_archive", {"namespace": namespace, "consumer": consumer})
        self.registry = metrics.registry
        self.declarations = metrics.declarations
        self.events = metrics.counters("events_total", "Events stored, by class.", "class")
        self.duplicates = metrics.counter(
            "duplicates_total", "Messages of events that were in the archive already."
        )
        self.for_others = metrics.counter(
            "for_others_total",
            "Events that a replay has sent again for another consumer; they are not stored.",
        )
        self.noted = metrics.counter(
            "noted_total",
            "Messages whose row has a note: stored as bytes, without payload, or with a text cut.",
        )
        self.redeliveries = metrics.counter(
            "redeliveries_total", "Messages that came for the second or a later time."
        )
        self.errors = metrics.counters(
            "errors_total", "Failed connections and refused batches, by reason.", "reason"
        )
        self.batch_seconds = metrics.distributions(
            "batch_seconds", "Time of the transaction of a batch.", buckets=LATENCY_BUCKETS
        )()
        self.delay = metrics.distributions(
            "delay_seconds",
            "Age of messages when they were in the archive, since the stream's time.",
        )()
        self.in_hand = metrics.gauge("in_hand", "Messages in hand now.")
        self.gaps = metrics.readings(
            "gaps",
            "Stretches of numbers of a shard that have not come. Absent while it is not known, as "
            "with a durable consumer that has a filter.",
        )
        self.missing = metrics.readings(
            "missing_numbers", "Numbers in these stretches. Absent while it is not known."
        )
