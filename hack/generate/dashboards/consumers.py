"""The consumers of one pipeline: what they handle, how long it takes, what waits."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.panels import Query, graph, heading
from generate.dashboards.selecting import CONSUMERS, PIPELINE, THEIRS, rate


def consumers(made: Dashboard) -> Dashboard:
    """Add their rows."""
    return (
        made.with_row(heading("Consumers"))
        .with_panel(
            graph(
                "Handled",
                Query(
                    rate("outbox_consumer_processed_total", "consumer, outcome", CONSUMERS),
                    "{{consumer}} {{outcome}}",
                ),
                help_="Answers to events, a second.",
                unit="ops",
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Messages that wait",
                Query(
                    f"max by (consumer) (outbox_consumer_pending{{{THEIRS}}})",
                    "{{consumer}} not delivered",
                ),
                Query(
                    f"max by (consumer) (outbox_consumer_ack_pending{{{THEIRS}}})",
                    "{{consumer}} not acknowledged",
                ),
                help_="In the stream, and with the pods.",
            )
        )
        .with_panel(
            graph(
                "Oldest message that is not handled",
                Query(
                    f"max by (consumer) (outbox_consumer_oldest_unread_age_seconds{{{THEIRS}}})",
                    "{{consumer}}",
                ),
                Query(
                    f"max(outbox_stream_max_age_seconds{{{PIPELINE}}})", "removed from the stream"
                ),
                help_="Beside the age at which the stream removes it, where it does.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "In hand, and circuits that are open",
                Query(
                    f"sum by (consumer) (outbox_consumer_in_flight{{{CONSUMERS}}})",
                    "{{consumer}} in hand",
                ),
                Query(
                    f"sum by (consumer) (outbox_consumer_circuit_open{{{CONSUMERS}}})",
                    "{{consumer}} circuits open",
                ),
                help_="Messages with the pods; pods that fetch nothing since their handler fails.",
            )
        )
        .with_panel(
            graph(
                "Pods",
                Query(
                    f"max by (consumer) (outbox_consumer_ready_replicas{{{THEIRS}}})",
                    "{{consumer}} ready",
                ),
                Query(
                    f"max by (consumer) (outbox_consumer_wanted_replicas{{{THEIRS}}})",
                    "{{consumer}} wanted",
                ),
                help_="Of each consumer that has a handler.",
            )
        )
        .with_panel(
            graph(
                "Came again",
                Query(
                    rate("outbox_consumer_redeliveries_total", "consumer", CONSUMERS),
                    "{{consumer}} redelivered",
                ),
                Query(
                    rate("outbox_consumer_duplicates_total", "consumer", CONSUMERS),
                    "{{consumer}} known to the inbox",
                ),
                help_="A second.",
                unit="ops",
            )
        )
    )
