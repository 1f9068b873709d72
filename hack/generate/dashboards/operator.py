"""The operator itself: does it keep up, and who leads?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from generate.dashboards.panels import (
    ORANGE,
    RED,
    Query,
    blank,
    event,
    graph,
    heading,
    number,
    quantile,
)

_STEP: Final = "$__rate_interval"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[{_STEP}]))"


def _quantile(part: float, metric: str, by: str = "") -> str:
    return quantile(part, metric, "", by=by, over=_STEP)


def _of_operators(metric: str) -> str:
    """What every process tells of itself, of those that are operators."""
    return f"{metric} and on (job, instance) outbox_operator_leader"


def dashboard() -> Dashboard:
    """The dashboard."""
    return (
        blank(
            "outbox-operator",
            "Outbox / Operator",
            help_="Queue, passes, calls of the Kubernetes API and leadership of the operator.",
        )
        .annotation(
            event(
                "Another leads",
                "(outbox_operator_leader == 1) unless (outbox_operator_leader offset 2m == 1)",
                ORANGE,
            )
        )
        .with_panel(
            number(
                "Slices with a leader",
                Query(
                    "(sum(outbox_operator_leader) / max(outbox_operator_slices)) "
                    "or sum(outbox_operator_leader)"
                ),
                help_="All, or nobody looks after some namespaces; more: two lead the same.",
                unit="percentunit",
                levels=[(0, RED), (1, "green"), (1.01, RED)],
            )
        )
        .with_panel(
            number(
                "Processes",
                Query("count(count by (instance) (outbox_operator_leader))"),
                help_="Leaders and those that stand by.",
            )
        )
        .with_panel(
            number(
                "Objects",
                Query("sum(outbox_operator_objects)"),
                help_="Resources under the operator's care.",
            )
        )
        .with_panel(
            number(
                "In a back-off",
                Query("sum(outbox_operator_objects_failing)"),
                help_="Resources whose last pass failed.",
                levels=[(1, ORANGE)],
            )
        )
        .with_panel(
            number(
                "Due and waiting",
                Query("sum(outbox_operator_queue_depth)"),
                help_="Resources that wait for a worker.",
                levels=[(20, ORANGE), (200, RED)],
            )
        )
        .with_panel(
            number(
                "Watch behind",
                Query("max(outbox_operator_watch_behind_seconds)"),
                help_="For how long the watch has been missing a change.",
                unit="s",
                levels=[(30, ORANGE), (180, RED)],
            )
        )
        .with_row(heading("Queue and passes"))
        .with_panel(
            graph(
                "Queue",
                Query("sum(outbox_operator_queue_depth)", "due and waiting"),
                Query("sum(outbox_operator_queue_running)", "under way"),
                help_="Resources that are due, and passes under way.",
            )
        )
        .with_panel(
            graph(
                "Wait in the queue",
                Query(_quantile(0.5, "outbox_operator_queue_wait_seconds"), "p50"),
                Query(_quantile(0.99, "outbox_operator_queue_wait_seconds"), "p99"),
                help_="From being due to being worked on.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Passes",
                Query(
                    _rate("outbox_operator_reconciles_total", "kind, result"),
                    "{{kind}} {{result}}",
                ),
                help_="A second, by result.",
                unit="ops",
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Length of passes, p99",
                Query(
                    _quantile(0.99, "outbox_operator_reconcile_duration_seconds", "kind, "),
                    "{{kind}}",
                ),
                help_="By kind.",
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Wake-ups",
                Query(_rate("outbox_operator_wakeups_total", "trigger"), "{{trigger}}"),
                help_="What had resources looked at before their time, a second.",
                unit="ops",
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Calls of the Kubernetes API",
                Query(
                    _rate("outbox_operator_api_requests_total", "verb, code"), "{{verb}} {{code}}"
                ),
                help_="A second, by verb and status; 0 when there was no answer.",
                unit="ops",
                stacked=True,
            )
        )
        .with_row(heading("Processes"))
        .with_panel(
            graph(
                "Leader",
                Query("sum by (instance) (outbox_operator_leader)", "{{instance}}"),
                help_="How many slices a process leads; undivided, all is one.",
            )
        )
        .with_panel(
            graph(
                "Watch",
                Query("max(outbox_operator_watch_behind_seconds)", "seconds behind"),
                Query(
                    _rate("outbox_operator_resync_missed_total", "kind"),
                    "{{kind}} missed a second",
                ),
                help_="For how long it has been missing a change, and changes that it missed.",
            )
        )
        .with_panel(
            graph(
                "Processor",
                Query(_of_operators(f"rate(process_cpu_seconds_total[{_STEP}])"), "{{instance}}"),
                help_="Cores that each process uses.",
            )
        )
        .with_panel(
            graph(
                "Memory",
                Query(_of_operators("process_resident_memory_bytes"), "{{instance}}"),
                help_="Resident memory of each process.",
                unit="bytes",
            )
        )
    )
