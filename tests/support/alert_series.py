"""The series that alerts look at, by short names, for the table of when each fires.

Series are written as promtool has them: `0 6000x20` is 0 and then 6000 for 21 minutes,
`0+60x20` grows by 60 each minute, `_x5` is five minutes without the target, `stale` its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SHOP: Final = 'namespace="shop", pipeline="orders"'
BILLING: Final = 'namespace="shop", consumer="billing"'
OF_BILLING: Final = f'{BILLING}, pipeline="orders", stream="orders"'
STREAM: Final = 'namespace="shop", stream="orders"'
PURGE: Final = 'kind="OutboxPipeline", namespace="shop", name="orders", action="purgeDeadLetters"'
A, B = 'pod="a", job="operator"', 'pod="b", job="operator"'
"""Two pods of the operator; one leads at a time."""


@dataclass(frozen=True)
class Case:
    """What is scraped, and what fires then.

    Attributes:
        series: Values from minute 0 on, by series.
        firing: By minute the labels of the alerts that fire, without `alertname` and `severity`.
    """

    alert: str
    what: str
    series: Mapping[str, str]
    firing: Mapping[int, tuple[str, ...]]


def backlog(labels: str) -> str:
    """The series of a pipeline's backlog."""
    return f"outbox_pipeline_backlog_rows{{{SHOP}, {labels}}}"


def relay(kind: str, labels: str = A, of: str = SHOP) -> str:
    """The series of wanted or ready pods of a relay."""
    return f"outbox_pipeline_relay_{kind}_replicas{{{of}, {labels}}}"


def consumer(kind: str, labels: str = A) -> str:
    """A series about a consumer."""
    return f"outbox_consumer_{kind}{{{OF_BILLING}, {labels}}}"


def stream(kind: str, labels: str = A) -> str:
    """A series about a stream."""
    return f'outbox_stream_{kind}{{{STREAM}, pipeline="orders", {labels}}}'


def condition(status: str, labels: str = A, kind: str = "OutboxPipeline") -> str:
    """A series of the condition Ready."""
    return (
        f'outbox_condition{{kind="{kind}", namespace="shop", name="orders", type="Ready", '
        f'status="{status}", {labels}}}'
    )


def task(result: str, labels: str) -> str:
    """A series of the last task."""
    return f'outbox_task_ended_timestamp_seconds{{{PURGE}, result="{result}", {labels}}}'


def leader(pod: str, release: str = "outbox-system", kind: str = "") -> str:
    """A series of who leads; `namespace` is the target's."""
    return (
        f'outbox_operator_leader{kind}{{namespace="{release}", lease="{release}/operator", {pod}}}'
    )


def since(pod: str) -> str:
    """A series of the time since when it does."""
    return leader(pod, kind="_since_timestamp_seconds")


def errors(reason: str, pod: str = "r") -> str:
    """A series of a relay's errors."""
    return f'outbox_relay_errors_total{{{SHOP}, reason="{reason}", pod="{pod}"}}'


def published(pod: str = "r") -> str:
    """A series of what a relay has published."""
    return f'outbox_relay_published_total{{{SHOP}, shard="0", pod="{pod}"}}'


def processed(outcome: str) -> str:
    """A series of what became of the messages of a consumer."""
    return f'outbox_consumer_processed_total{{{BILLING}, outcome="{outcome}", pod="c"}}'


def age(bucket: str) -> str:
    """A bucket of the ages of published events."""
    return (
        f'outbox_relay_delivery_seconds_bucket{{{SHOP}, since="created_at", le="{bucket}", '
        'pod="r"}'
    )


def sent(kind: str, more: str = "") -> str:
    """A series of an application that sends at once."""
    return f'outbox_optimistic_send_{kind}_total{{{SHOP}, {more}pod="app"}}'


def passes(pod: str, kind: str, result: str) -> str:
    """A series of the passes of an operator in namespace `ops`."""
    labels = f'namespace="ops", {pod}, kind="{kind}", result="{result}"'
    return f"outbox_operator_reconciles_total{{{labels}}}"
