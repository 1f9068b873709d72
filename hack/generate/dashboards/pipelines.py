"""All pipelines at a glance, the worst first: does anything need me, and where?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.panels import (
    GREEN,
    ORANGE,
    RED,
    Column,
    Query,
    blank,
    choice,
    graph,
    heading,
    number,
    quantile,
    rows,
)

_HERE: Final = 'namespace=~"$namespace"'
_READY: Final = f'outbox_condition{{{_HERE},kind="OutboxPipeline",type="Ready",status="True"}}'
_BY_PIPELINE: Final = "by (namespace, pipeline)"
_NAMED: Final = "{{namespace}}/{{pipeline}}"


def _most(metric: str) -> str:
    """The ten highest of a gauge of pipelines; two operators may both tell it for a moment."""
    return f"topk(10, max {_BY_PIPELINE} ({metric}{{{_HERE}}}))"


def _delivery() -> str:
    metric = "outbox_relay_delivery_seconds"
    return quantile(0.99, metric, f"{{{_HERE}}}", by="namespace, pipeline, ", over="5m")


def dashboard() -> Dashboard:
    """The dashboard."""
    ready = f'label_replace({_READY}, "pipeline", "$1", "name", "(.*)")'
    failing = [(1.0, RED)]
    return (
        blank(
            "outbox-pipelines",
            "Outbox / Pipelines",
            help_="Every pipeline, the worst first. What is not known has no value.",
        )
        .with_variable(
            choice(
                "namespace",
                'label_values(outbox_condition{kind="OutboxPipeline"}, namespace)',
                label="Namespace",
                several=True,
                every=".*",
            )
        )
        .with_panel(
            number(
                "Pipelines",
                Query(f"count(max by (namespace, name) ({_READY}))"),
                help_="OutboxPipelines that the leading operator looks after.",
            )
        )
        .with_panel(
            number(
                "Not ready",
                Query(f"sum(1 - max by (namespace, name) ({_READY}))"),
                help_="Pipelines whose condition Ready is False or Unknown.",
                levels=failing,
            )
        )
        .with_panel(
            number(
                "Rows that wait",
                Query(f"sum(max {_BY_PIPELINE} (outbox_pipeline_backlog_rows{{{_HERE}}}))"),
                help_="Committed and not published, as the operator counts them.",
                levels=[(1000, ORANGE), (5000, RED)],
            )
        )
        .with_panel(
            number(
                "Oldest row",
                Query(f"max(outbox_pipeline_oldest_age_seconds{{{_HERE}}})"),
                help_="Age of the oldest row that is not published.",
                unit="s",
                levels=[(60, ORANGE), (600, RED)],
            )
        )
        .with_panel(
            number(
                "Dead letters",
                Query(f"sum(max {_BY_PIPELINE} (outbox_pipeline_dead_letters{{{_HERE}}}))", "rows"),
                Query(
                    f"sum(max by (namespace, stream) (outbox_stream_dead_letters{{{_HERE}}}))",
                    "messages",
                ),
                help_="Rows in the dead-letter tables, and messages in the dead-letter streams.",
                levels=[(1, ORANGE), (10, RED)],
            )
        )
        .with_panel(
            number(
                "Age of the sample",
                Query(f"max(time() - outbox_pipeline_sample_timestamp_seconds{{{_HERE}}})"),
                help_="For how long the numbers of some outbox have not been read.",
                unit="s",
                levels=[(120, ORANGE), (600, RED)],
            )
        )
        .with_panel(
            rows(
                "Pipelines, the worst first",
                ["namespace", "pipeline"],
                [
                    Column(
                        "Ready",
                        f"max {_BY_PIPELINE} ({ready})",
                        words=[("0", "no", RED), ("1", "yes", GREEN)],
                    ),
                    Column(
                        "Oldest row",
                        f"max {_BY_PIPELINE} (outbox_pipeline_oldest_age_seconds{{{_HERE}}})",
                        "s",
                        [(60, ORANGE), (600, RED)],
                    ),
                    Column(
                        "Rows that wait",
                        f"max {_BY_PIPELINE} (outbox_pipeline_backlog_rows{{{_HERE}}})",
                        levels=[(1000, ORANGE), (5000, RED)],
                    ),
                    Column(
                        "Counted",
                        f"max {_BY_PIPELINE} (outbox_pipeline_backlog_is_estimate{{{_HERE}}})",
                        words=[("0", "all", GREEN), ("1", "or more", ORANGE)],
                    ),
                    Column(
                        "Dead letters",
                        f"max {_BY_PIPELINE} (outbox_pipeline_dead_letters{{{_HERE}}})",
                        levels=[(1, ORANGE), (10, RED)],
                    ),
                    Column(
                        "Published/s",
                        f"sum {_BY_PIPELINE} (rate(outbox_relay_published_total{{{_HERE}}}[5m]))",
                        "ops",
                    ),
                    Column(
                        "Row to stream, p99",
                        _delivery(),
                        "s",
                        [(0.5, ORANGE), (10, RED)],
                    ),
                    Column(
                        "Relays ready",
                        f"max {_BY_PIPELINE} (outbox_pipeline_relay_ready_replicas{{{_HERE}}})",
                    ),
                    Column(
                        "Relays wanted",
                        f"max {_BY_PIPELINE} (outbox_pipeline_relay_wanted_replicas{{{_HERE}}})",
                    ),
                    Column(
                        "Sampled before",
                        f"time() - max {_BY_PIPELINE} "
                        f"(outbox_pipeline_sample_timestamp_seconds{{{_HERE}}})",
                        "s",
                        [(120, ORANGE), (600, RED)],
                    ),
                    Column(
                        "Urgency",
                        f"1e6 * (1 - max {_BY_PIPELINE} ({ready})) + (max {_BY_PIPELINE} "
                        f"(outbox_pipeline_oldest_age_seconds{{{_HERE}}}) "
                        f"or 0 * max {_BY_PIPELINE} ({ready}))",
                    ),
                ],
                help_="Those that are not Ready, then by the age of the oldest row: what is "
                "not known must not be at the end.",
                worst="Urgency",
                link=(
                    "pipeline",
                    "/d/outbox-pipeline?var-namespace=${__data.fields.namespace}"
                    "&var-pipeline=${__value.raw}&${datasource:queryparam}&${__url_time_range}",
                ),
            )
        )
        .with_row(heading("The ten highest"))
        .with_panel(
            graph(
                "Rows that wait",
                Query(_most("outbox_pipeline_backlog_rows"), _NAMED),
                help_="Committed and not published, as the operator counts them.",
            )
        )
        .with_panel(
            graph(
                "Age of the oldest row",
                Query(_most("outbox_pipeline_oldest_age_seconds"), _NAMED),
                help_="Of those that are not published.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Published",
                Query(
                    f"topk(10, sum {_BY_PIPELINE} "
                    f"(rate(outbox_relay_published_total{{{_HERE}}}[$__rate_interval])))",
                    _NAMED,
                ),
                help_="Events that streams have acknowledged, a second.",
                unit="ops",
            )
        )
        .with_panel(
            graph(
                "From the row to the stream, p99 of five minutes",
                Query(f"topk(10, {_delivery()})", _NAMED),
                help_="Age of events when their stream acknowledged them.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Messages that wait for consumers",
                Query(
                    f"topk(10, max by (namespace, consumer) (outbox_consumer_pending{{{_HERE}}}))",
                    "{{namespace}}/{{consumer}}",
                ),
                help_="In the stream and not delivered yet.",
            )
        )
        .with_panel(
            graph(
                "Oldest message that is not handled",
                Query(
                    "topk(10, max by (namespace, consumer) "
                    f"(outbox_consumer_oldest_unread_age_seconds{{{_HERE}}}))",
                    "{{namespace}}/{{consumer}}",
                ),
                help_="Of each consumer: not delivered, or not acknowledged.",
                unit="s",
            )
        )
    )
