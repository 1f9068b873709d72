"""What a pipeline's dashboard shows of the archives among its consumers."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.panels import Query, graph, heading, quantile


def archives(made: Dashboard, *, pods: str, theirs: str, step: str) -> Dashboard:
    """Add the row about archives; it is empty where no consumer is one.

    Args:
        made: The dashboard.
        pods: Matches what the pods of consumers export.
        theirs: Matches what the operator exports of them.
        step: The time of a rate.
    """

    def latest(name: str, legend: str) -> Query:
        return Query(f"max by (consumer) (outbox_consumer_archive_{name}{{{theirs}}})", legend)

    def ago(name: str, legend: str) -> Query:
        metric = f"outbox_consumer_archive_{name}_timestamp_seconds"
        return Query(f"time() - max by (consumer) ({metric}{{{theirs}}})", legend)

    def rate(name: str, by: str) -> str:
        return f"sum by ({by}) (rate(outbox_archive_{name}{{{pods}}}[{step}]))"

    return (
        made.with_row(heading("Archives"))
        .with_panel(
            graph(
                "Stored",
                Query(rate("events_total", "consumer, class"), "{{consumer}} {{class}}"),
                Query(rate("duplicates_total", "consumer"), "{{consumer}} known already"),
                help_="Events by class, and messages whose event was there already, a second.",
                unit="ops",
            )
        )
        .with_panel(
            graph(
                "What is missing",
                latest("gaps", "{{consumer}} gaps"),
                help_="Stretches of numbers that have not come. No line: nobody can tell.",
            )
        )
        .with_panel(
            graph(
                "How far it is",
                ago("complete_to", "{{consumer}} nothing missing before"),
                ago("newest", "{{consumer}} newest event"),
                Query(
                    quantile(
                        0.99, "outbox_archive_delay_seconds", f"{{{pods}}}", by="consumer, ",
                        over=step,
                    ),
                    "{{consumer}} from the stream into it, p99",
                ),
                help_="Ages: of the last event before which none is missing, of the newest, and of "
                "messages when they were stored. They grow while nothing is published, too.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Events in it",
                latest("rows", "{{consumer}} all"),
                latest("unpartitioned_rows", "{{consumer}} without a partition of their time"),
                help_="About: as the database's statistics have it.",
            )
        )
        .with_panel(
            graph(
                "Bytes",
                latest("bytes", "{{consumer}}"),
                help_="With indexes.",
                unit="bytes",
            )
        )
        .with_panel(
            graph(
                "Age of its oldest event",
                ago("oldest", "{{consumer}}"),
                help_="Retention drops what is older than its class is kept.",
                unit="s",
            )
        )
    )  # fmt: skip
