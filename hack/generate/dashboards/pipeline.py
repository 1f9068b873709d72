"""One pipeline, in the order in which events go: row, relay, stream, consumers, dead letters."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.archive import archives
from generate.dashboards.consumers import consumers
from generate.dashboards.panels import (
    BLUE,
    ORANGE,
    RED,
    Query,
    blank,
    choice,
    event,
    graph,
    heading,
    heat,
    number,
    states,
)
from generate.dashboards.selecting import CONSUMERS, PIPELINE, STEP, THEIRS, rate, share


def _conditions() -> str:
    """0 False, 1 True, 2 Unknown; of the pipeline and of its consumers."""
    these = (
        'namespace="$namespace",kind="OutboxPipeline",name="$pipeline"',
        'namespace="$namespace",kind="EventConsumer",name=~"$consumer"',
    )

    def of(status: str) -> str:
        either = " or ".join(f'outbox_condition{{{one},status="{status}"}}' for one in these)
        return f"max by (kind, name, type) ({either})"

    return f"{of('True')} + 2 * {of('Unknown')}"


def dashboard() -> Dashboard:
    """The dashboard."""
    made = (
        blank(
            "outbox-pipeline",
            "Outbox / One pipeline",
            help_="From the row to the handler. What is not known has no value.",
        )
        .with_variable(
            choice(
                "namespace",
                'label_values(outbox_condition{kind="OutboxPipeline"}, namespace)',
                label="Namespace",
            )
        )
        .with_variable(
            choice(
                "pipeline",
                "label_values("
                'outbox_condition{kind="OutboxPipeline",namespace="$namespace"}, name)',
                label="Pipeline",
            )
        )
        .with_variable(
            choice(
                "consumer",
                f"label_values(outbox_consumer_pending{{{PIPELINE}}}, consumer)",
                label="Consumers",
                several=True,
            )
        )
        .annotation(
            event(
                "Relays deployed",
                f"count(outbox_relay_members{{{PIPELINE}}} "
                f"unless outbox_relay_members{{{PIPELINE}}} offset 2m) > 0",
                BLUE,
            )
        )
        .annotation(
            event(
                "Consumers deployed",
                f"count by (consumer) (outbox_consumer_in_flight{{{CONSUMERS}}} "
                f"unless outbox_consumer_in_flight{{{CONSUMERS}}} offset 2m) > 0",
                BLUE,
            )
        )
        .annotation(
            event(
                "Fence lost",
                f"sum(increase(outbox_relay_fence_losses_total{{{PIPELINE}}}[2m])) > 0",
                RED,
            )
        )
        .annotation(
            event(
                "Shard taken over",
                f"sum(increase(outbox_relay_ownership_losses_total{{{PIPELINE}}}[2m])) > 0",
                ORANGE,
            )
        )
    )
    for part in (_flow, _latency, _relay, _stream, consumers, _archives, _dead_letters, _state):
        made = part(made)
    return made


def _flow(made: Dashboard) -> Dashboard:
    pods = [(0.0, RED), (1.0, "green")]
    return (
        made.with_row(heading("Row → relay → stream → consumers → dead letters"))
        .with_panel(
            number(
                "Rows that wait",
                Query(f"max(outbox_pipeline_backlog_rows{{{PIPELINE}}})", "rows"),
                help_="Committed and not published, as the operator counts them, up to 10,000.",
                levels=[(1000, ORANGE), (5000, RED)],
            )
        )
        .with_panel(
            number(
                "Oldest row",
                Query(f"max(outbox_pipeline_oldest_age_seconds{{{PIPELINE}}})", "age"),
                help_="Age of the oldest row that is not published.",
                unit="s",
                levels=[(60, ORANGE), (600, RED)],
            )
        )
        .with_panel(
            number(
                "Relays",
                Query(f"max(outbox_pipeline_relay_ready_replicas{{{PIPELINE}}})", "ready"),
                Query(f"max(outbox_pipeline_relay_wanted_replicas{{{PIPELINE}}})", "wanted"),
                help_="Pods that are ready, and wanted.",
                levels=pods,
            )
        )
        .with_panel(
            number(
                "Stream",
                Query(f"max(outbox_stream_messages{{{PIPELINE}}})", "messages"),
                help_="Messages that the stream holds.",
            )
        )
        .with_panel(
            number(
                "Wait for consumers",
                Query(f"max by (consumer) (outbox_consumer_pending{{{THEIRS}}})", "{{consumer}}"),
                help_="Messages that are not delivered yet, of each consumer.",
                levels=[(1000, ORANGE), (5000, RED)],
            )
        )
        .with_panel(
            number(
                "Dead letters",
                Query(f"max(outbox_pipeline_dead_letters{{{PIPELINE}}})", "rows"),
                Query(f"max(outbox_stream_dead_letters{{{PIPELINE}}})", "messages"),
                help_="Rows that could not be published, and messages that were given up, also of "
                "consumers that are gone.",
                levels=[(1, ORANGE), (10, RED)],
            )
        )
    )


def _latency(made: Dashboard) -> Dashboard:
    created, handled = "outbox_relay_delivery_seconds", "outbox_consumer_end_to_end_seconds"
    return (
        made.with_row(heading("How long events take"))
        .with_panel(
            heat(
                "From the row to the stream",
                Query(f"sum by (le) (increase({created}_bucket{{{PIPELINE}}}[{STEP}]))", "{{le}}"),
                help_="Age of events when the stream acknowledged them.",
            )
        )
        .with_panel(
            heat(
                "From the row to the end of the handler",
                Query(f"sum by (le) (increase({handled}_bucket{{{CONSUMERS}}}[{STEP}]))", "{{le}}"),
                help_="Age of events when they were handled.",
            )
        )
        .with_panel(
            graph(
                "Quantiles",
                Query(share(0.5, created), "to the stream, p50"),
                Query(share(0.99, created), "to the stream, p99"),
                Query(share(0.5, handled, where=CONSUMERS), "handled, p50"),
                Query(share(0.99, handled, where=CONSUMERS), "handled, p99"),
                help_="Of both.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Parts",
                Query(share(0.99, "outbox_relay_ack_seconds"), "acknowledgement, p99"),
                Query(
                    share(
                        0.99, "outbox_consumer_handler_duration_seconds", "consumer, ", CONSUMERS
                    ),
                    "handler of {{consumer}}, p99",
                ),
                help_="How long the stream and the handlers took of it.",
                unit="s",
            )
        )
    )


def _relay(made: Dashboard) -> Dashboard:
    return (
        made.with_row(heading("Relay"))
        .with_panel(
            graph(
                "Backlog",
                Query(f"max(outbox_pipeline_backlog_rows{{{PIPELINE}}})", "rows that wait"),
                Query(
                    f"sum(outbox_relay_known_backlog_rows{{{PIPELINE}}})", "as the relays know it"
                ),
                help_="What the operator counts, and the windows that relays have open.",
            )
        )
        .with_panel(
            graph(
                "Age of the oldest row",
                Query(f"max(outbox_pipeline_oldest_age_seconds{{{PIPELINE}}})", "oldest row"),
                Query(
                    f"max(outbox_relay_known_oldest_age_seconds{{{PIPELINE}}})",
                    "as the relays know it",
                ),
                help_="Of those that are not published.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Published",
                Query(rate("outbox_relay_published_total", "shard"), "shard {{shard}}"),
                help_="Events that the stream has acknowledged, a second.",
                unit="ops",
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Bytes published",
                Query(rate("outbox_relay_published_bytes_total", "pipeline"), "bytes"),
                help_="Headers and payloads, a second.",
                unit="Bps",
            )
        )
        .with_panel(
            graph(
                "Owners",
                Query(f"sum by (shard) (outbox_relay_owner{{{PIPELINE}}})", "shard {{shard}}"),
                help_="Relays that own each shard: one, or it waits.",
            )
        )
        .with_panel(
            graph(
                "Polls and wake-ups",
                Query(rate("outbox_relay_polls_total", "pipeline"), "polls"),
                Query(rate("outbox_relay_nudges_total", "pipeline"), "nudges"),
                Query(rate("outbox_relay_wakeups_total", "pipeline"), "wake-ups"),
                help_="How often the table is asked, and by whom the relay is woken, a second.",
                unit="ops",
            )
        )
    )


def _stream(made: Dashboard) -> Dashboard:
    return (
        made.with_row(heading("Stream"))
        .with_panel(
            graph(
                "Messages",
                Query(f"max by (stream) (outbox_stream_messages{{{PIPELINE}}})", "{{stream}}"),
                help_="That it holds.",
            )
        )
        .with_panel(
            graph(
                "Bytes",
                Query(f"max by (stream) (outbox_stream_bytes{{{PIPELINE}}})", "{{stream}}"),
                Query(f"max by (stream) (outbox_stream_max_bytes{{{PIPELINE}}})", "limit"),
                help_="That it holds, and may hold; without a limit there is none to be seen.",
                unit="bytes",
            )
        )
    )


def _archives(made: Dashboard) -> Dashboard:
    return archives(made, pods=CONSUMERS, theirs=THEIRS, step=STEP)


def _dead_letters(made: Dashboard) -> Dashboard:
    return (
        made.with_row(heading("Dead letters and errors"))
        .with_panel(
            graph(
                "Dead letters",
                Query(f"max(outbox_pipeline_dead_letters{{{PIPELINE}}})", "rows"),
                Query(f"max(outbox_stream_dead_letters{{{PIPELINE}}})", "messages"),
                Query(
                    f"max by (consumer) (outbox_consumer_dead_letters{{{THEIRS}}})",
                    "{{consumer}}",
                ),
                help_="That are there now; messages also of consumers that are gone.",
            )
        )
        .with_panel(
            graph(
                "Given up and refused",
                Query(rate("outbox_relay_poison_total", "reason"), "row, {{reason}}"),
                Query(
                    rate("outbox_consumer_dead_lettered_total", "consumer, reason", CONSUMERS),
                    "{{consumer}}, {{reason}}",
                ),
                Query(rate("outbox_relay_errors_total", "reason"), "relay, {{reason}}"),
                Query(
                    rate("outbox_consumer_errors_total", "consumer, reason", CONSUMERS),
                    "{{consumer}}, {{reason}}",
                ),
                help_="Dead letters and errors by reason, a second.",
                unit="ops",
            )
        )
    )


def _state(made: Dashboard) -> Dashboard:
    return made.with_row(heading("Conditions")).with_panel(
        states(
            "Conditions of the pipeline and its consumers",
            Query(_conditions(), "{{kind}} {{name}}: {{type}}"),
            help_="As in their statuses; a gap is when no operator led.",
        )
    )
