"""One pipeline, in the order in which events go: row, relay, stream, consumers, dead letters."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.archive import archives
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
    quantile,
    states,
)

_PIPELINE: Final = 'namespace="$namespace",pipeline="$pipeline"'
_CONSUMERS: Final = 'namespace="$namespace",consumer=~"$consumer"'
_THEIRS: Final = f'{_PIPELINE},consumer=~"$consumer"'
"""As the operator tells of consumers; their pods do not know the pipeline, so that the variable has
to be a list of its consumers."""
_STEP: Final = "$__rate_interval"


def _rate(metric: str, by: str, where: str = _PIPELINE) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[{_STEP}]))"


def _quantile(part: float, metric: str, by: str = "", where: str = _PIPELINE) -> str:
    return quantile(part, metric, f"{{{where}}}", by=by, over=_STEP)


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
                f"label_values(outbox_consumer_pending{{{_PIPELINE}}}, consumer)",
                label="Consumers",
                several=True,
            )
        )
        .annotation(
            event(
                "Relays deployed",
                f"count(outbox_relay_members{{{_PIPELINE}}} "
                f"unless outbox_relay_members{{{_PIPELINE}}} offset 2m) > 0",
                BLUE,
            )
        )
        .annotation(
            event(
                "Consumers deployed",
                f"count by (consumer) (outbox_consumer_in_flight{{{_CONSUMERS}}} "
                f"unless outbox_consumer_in_flight{{{_CONSUMERS}}} offset 2m) > 0",
                BLUE,
            )
        )
        .annotation(
            event(
                "Fence lost",
                f"sum(increase(outbox_relay_fence_losses_total{{{_PIPELINE}}}[2m])) > 0",
                RED,
            )
        )
        .annotation(
            event(
                "Shard taken over",
                f"sum(increase(outbox_relay_ownership_losses_total{{{_PIPELINE}}}[2m])) > 0",
                ORANGE,
            )
        )
    )
    for part in (_flow, _latency, _relay, _stream, _consumers, _archives, _dead_letters, _state):
        made = part(made)
    return made


def _flow(made: Dashboard) -> Dashboard:
    pods = [(0.0, RED), (1.0, "green")]
    return (
        made.with_row(heading("Row → relay → stream → consumers → dead letters"))
        .with_panel(
            number(
                "Rows that wait",
                Query(f"max(outbox_pipeline_backlog_rows{{{_PIPELINE}}})", "rows"),
                help_="Committed and not published, as the operator counts them, up to 10,000.",
                levels=[(1000, ORANGE), (5000, RED)],
            )
        )
        .with_panel(
            number(
                "Oldest row",
                Query(f"max(outbox_pipeline_oldest_age_seconds{{{_PIPELINE}}})", "age"),
                help_="Age of the oldest row that is not published.",
                unit="s",
                levels=[(60, ORANGE), (600, RED)],
            )
        )
        .with_panel(
            number(
                "Relays",
                Query(f"max(outbox_pipeline_relay_ready_replicas{{{_PIPELINE}}})", "ready"),
                Query(f"max(outbox_pipeline_relay_wanted_replicas{{{_PIPELINE}}})", "wanted"),
                help_="Pods that are ready, and wanted.",
                levels=pods,
            )
        )
        .with_panel(
            number(
                "Stream",
                Query(f"max(outbox_stream_messages{{{_PIPELINE}}})", "messages"),
                help_="Messages that the stream holds.",
            )
        )
        .with_panel(
            number(
                "Wait for consumers",
                Query(f"max by (consumer) (outbox_consumer_pending{{{_THEIRS}}})", "{{consumer}}"),
                help_="Messages that are not delivered yet, of each consumer.",
                levels=[(1000, ORANGE), (5000, RED)],
            )
        )
        .with_panel(
            number(
                "Dead letters",
                Query(f"max(outbox_pipeline_dead_letters{{{_PIPELINE}}})", "rows"),
                Query(f"max(outbox_stream_dead_letters{{{_PIPELINE}}})", "messages"),
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
                Query(
                    f"sum by (le) (increase({created}_bucket{{{_PIPELINE}}}[{_STEP}]))", "{{le}}"
                ),
                help_="Age of events when the stream acknowledged them.",
            )
        )
        .with_panel(
            heat(
                "From the row to the end of the handler",
                Query(
                    f"sum by (le) (increase({handled}_bucket{{{_CONSUMERS}}}[{_STEP}]))", "{{le}}"
                ),
                help_="Age of events when they were handled.",
            )
        )
        .with_panel(
            graph(
                "Quantiles",
                Query(_quantile(0.5, created), "to the stream, p50"),
                Query(_quantile(0.99, created), "to the stream, p99"),
                Query(_quantile(0.5, handled, where=_CONSUMERS), "handled, p50"),
                Query(_quantile(0.99, handled, where=_CONSUMERS), "handled, p99"),
                help_="Of both.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Parts",
                Query(_quantile(0.99, "outbox_relay_ack_seconds"), "acknowledgement, p99"),
                Query(
                    _quantile(
                        0.99, "outbox_consumer_handler_duration_seconds", "consumer, ", _CONSUMERS
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
                Query(f"max(outbox_pipeline_backlog_rows{{{_PIPELINE}}})", "rows that wait"),
                Query(
                    f"sum(outbox_relay_known_backlog_rows{{{_PIPELINE}}})", "as the relays know it"
                ),
                help_="What the operator counts, and the windows that relays have open.",
            )
        )
        .with_panel(
            graph(
                "Age of the oldest row",
                Query(f"max(outbox_pipeline_oldest_age_seconds{{{_PIPELINE}}})", "oldest row"),
                Query(
                    f"max(outbox_relay_known_oldest_age_seconds{{{_PIPELINE}}})",
                    "as the relays know it",
                ),
                help_="Of those that are not published.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Published",
                Query(_rate("outbox_relay_published_total", "shard"), "shard {{shard}}"),
                help_="Events that the stream has acknowledged, a second.",
                unit="ops",
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Bytes published",
                Query(_rate("outbox_relay_published_bytes_total", "pipeline"), "bytes"),
                help_="Headers and payloads, a second.",
                unit="Bps",
            )
        )
        .with_panel(
            graph(
                "Owners",
                Query(f"sum by (shard) (outbox_relay_owner{{{_PIPELINE}}})", "shard {{shard}}"),
                help_="Relays that own each shard: one, or it waits.",
            )
        )
        .with_panel(
            graph(
                "Polls and wake-ups",
                Query(_rate("outbox_relay_polls_total", "pipeline"), "polls"),
                Query(_rate("outbox_relay_nudges_total", "pipeline"), "nudges"),
                Query(_rate("outbox_relay_wakeups_total", "pipeline"), "wake-ups"),
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
                Query(f"max by (stream) (outbox_stream_messages{{{_PIPELINE}}})", "{{stream}}"),
                help_="That it holds.",
            )
        )
        .with_panel(
            graph(
                "Bytes",
                Query(f"max by (stream) (outbox_stream_bytes{{{_PIPELINE}}})", "{{stream}}"),
                Query(f"max by (stream) (outbox_stream_max_bytes{{{_PIPELINE}}})", "limit"),
                help_="That it holds, and may hold; without a limit there is none to be seen.",
                unit="bytes",
            )
        )
    )


def _consumers(made: Dashboard) -> Dashboard:
    return (
        made.with_row(heading("Consumers"))
        .with_panel(
            graph(
                "Handled",
                Query(
                    _rate("outbox_consumer_processed_total", "consumer, outcome", _CONSUMERS),
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
                    f"max by (consumer) (outbox_consumer_pending{{{_THEIRS}}})",
                    "{{consumer}} not delivered",
                ),
                Query(
                    f"max by (consumer) (outbox_consumer_ack_pending{{{_THEIRS}}})",
                    "{{consumer}} not acknowledged",
                ),
                help_="In the stream, and with the pods.",
            )
        )
        .with_panel(
            graph(
                "Oldest message that is not handled",
                Query(
                    f"max by (consumer) (outbox_consumer_oldest_unread_age_seconds{{{_THEIRS}}})",
                    "{{consumer}}",
                ),
                Query(
                    f"max(outbox_stream_max_age_seconds{{{_PIPELINE}}})", "removed from the stream"
                ),
                help_="Beside the age at which the stream removes it, where it does.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "In hand, and circuits that are open",
                Query(
                    f"sum by (consumer) (outbox_consumer_in_flight{{{_CONSUMERS}}})",
                    "{{consumer}} in hand",
                ),
                Query(
                    f"sum by (consumer) (outbox_consumer_circuit_open{{{_CONSUMERS}}})",
                    "{{consumer}} circuits open",
                ),
                help_="Messages with the pods; pods that fetch nothing since their handler fails.",
            )
        )
        .with_panel(
            graph(
                "Pods",
                Query(
                    f"max by (consumer) (outbox_consumer_ready_replicas{{{_THEIRS}}})",
                    "{{consumer}} ready",
                ),
                Query(
                    f"max by (consumer) (outbox_consumer_wanted_replicas{{{_THEIRS}}})",
                    "{{consumer}} wanted",
                ),
                help_="Of each consumer that has a handler.",
            )
        )
        .with_panel(
            graph(
                "Came again",
                Query(
                    _rate("outbox_consumer_redeliveries_total", "consumer", _CONSUMERS),
                    "{{consumer}} redelivered",
                ),
                Query(
                    _rate("outbox_consumer_duplicates_total", "consumer", _CONSUMERS),
                    "{{consumer}} known to the inbox",
                ),
                help_="A second.",
                unit="ops",
            )
        )
    )


def _archives(made: Dashboard) -> Dashboard:
    return archives(made, pods=_CONSUMERS, theirs=_THEIRS, step=_STEP)


def _dead_letters(made: Dashboard) -> Dashboard:
    return (
        made.with_row(heading("Dead letters and errors"))
        .with_panel(
            graph(
                "Dead letters",
                Query(f"max(outbox_pipeline_dead_letters{{{_PIPELINE}}})", "rows"),
                Query(f"max(outbox_stream_dead_letters{{{_PIPELINE}}})", "messages"),
                Query(
                    f"max by (consumer) (outbox_consumer_dead_letters{{{_THEIRS}}})",
                    "{{consumer}}",
                ),
                help_="That are there now; messages also of consumers that are gone.",
            )
        )
        .with_panel(
            graph(
                "Given up and refused",
                Query(_rate("outbox_relay_poison_total", "reason"), "row, {{reason}}"),
                Query(
                    _rate("outbox_consumer_dead_lettered_total", "consumer, reason", _CONSUMERS),
                    "{{consumer}}, {{reason}}",
                ),
                Query(_rate("outbox_relay_errors_total", "reason"), "relay, {{reason}}"),
                Query(
                    _rate("outbox_consumer_errors_total", "consumer, reason", _CONSUMERS),
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
