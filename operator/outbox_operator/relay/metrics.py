"""Metrics of a relay, each declared here and nowhere else. See docs/reference/metrics.md."""

from __future__ import annotations

from typing import Final

from outbox_operator.reasons import Reason
from outbox_operator.telemetry.metrics import LATENCY_BUCKETS, Metrics

REFUSALS: Final = (
    Reason.STREAM_REFUSED,
    Reason.NO_STREAM_RESPONSE,
    Reason.ACK_TIMEOUT,
    Reason.ACK_MISSING,
    Reason.WRONG_STREAM,
    Reason.UNEXPECTED_REPLY,
    Reason.PERMISSION_DENIED,
)
"""Of a publish. There from the start, with 0: a rate does not see the first value of a series."""


class RelayMetrics:
    """The relay's metrics; all carry the labels `namespace` and `pipeline`, some also `shard`."""

    def __init__(self, namespace: str, pipeline: str) -> None:
        self.metrics = Metrics("outbox_relay", {"namespace": namespace, "pipeline": pipeline})
        counter = self.metrics.counter
        self.published = self.metrics.counters(
            "published_total",
            "Events acknowledged by the stream, de-duplicated ones included.",
            "shard",
        )
        self.published_bytes = counter(
            "published_bytes_total", "Headers and payloads of these events."
        )
        self.batches = counter("batches_total", "Runs of events published, of one page or many.")
        self.saves = counter("saves_total", "Times a cursor was stored.")
        self.resumed = counter(
            "resumed_total", "Events found in the stream behind the cursor, and not sent again."
        )
        self.uncertain = counter(
            "uncertain_total",
            "Events sent although they may have been published before, because the stream no "
            "longer shows it.",
        )
        self.repeated_ids = counter(
            "repeated_ids_total",
            "Events with the id of another row; each was published by itself.",
        )
        self.dropped = counter(
            "dropped_total",
            "Events that the stream acknowledged and dropped for their ids, at least, although no "
            "copy of them was in it.",
        )
        self.fence_losses = counter(
            "fence_losses_total",
            "Runs that the stream refused because its end was not where we knew it.",
        )
        self.foreign = counter(
            "foreign_messages_total", "Messages of others found among the subjects of a shard."
        )
        self.lost_messages = counter(
            "stream_lost_messages_total",
            "Messages that the stream had acknowledged and lost, ours or not.",
        )
        self.position_moves = counter(
            "position_moves_total",
            "Times the sequence of positions stood before positions in use and was moved on.",
        )
        self.ack_seconds = self.metrics.distributions(
            "ack_seconds",
            "From handing events to the connection to their acknowledgement.",
            buckets=LATENCY_BUCKETS,
        )()
        self.delivery = self.metrics.distributions(
            "delivery_seconds",
            "Age of events when the stream acknowledged them, since `created_at`, or since the "
            "`commit` where the database keeps its time (track_commit_timestamp).",
            "since",
        )
        self.known_backlog_rows = self.metrics.readings(
            "known_backlog_rows",
            "Events that wait, as this relay knows it: the rest of its open window, without later "
            "commits. Absent while it does not know: before its first look, and while a server "
            "does not answer.",
            "shard",
        )
        self.known_oldest_age_seconds = self.metrics.readings(
            "known_oldest_age_seconds",
            "Age of the first of these events; 0 when none waits. Absent while it does not know.",
            "shard",
        )
        self.poison = self.metrics.counters(
            "poison_total", "Events moved to the dead letters, by reason.", "reason"
        )
        self.polls = counter("polls_total", "Polls of the outbox table.")
        self.sweeps = counter("sweeps_total", "Looks for news of all shards at once.")
        self.nudges = counter("nudges_total", "Wake-ups received from producers.")
        self.wakeups = counter("wakeups_total", "Wake-ups by the trigger of the table.")
        self.owner = self.metrics.gauges(
            "owner", "1 while this process is the active relay of the shard, else 0.", "shard"
        )
        self.members = self.metrics.gauge(
            "members", "Relays that share the shards, as this one sees it; 0 while it is not one."
        )
        self.ownership_losses = counter(
            "ownership_losses_total", "Times another relay took a shard over from us."
        )
        self.errors = self.metrics.counters(
            "errors_total", "Refused publishes and failed connections, by reason.", "reason"
        )
        for reason in REFUSALS:
            self.errors(reason)
        self.halted = self.metrics.gauges(
            "halted", "1 while policy Halt holds the relay at a poison event of the shard.", "shard"
        )
