"""Tables of metrics in docs/reference/metrics.md, and what metrics there are.

In the page, what stands between `<!-- metrics: ROLE -->` and `<!-- end -->` is written here.
`names()` is what a rule, a dashboard or a runbook may name; tests of these compare with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

import yaml

from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.metrics import ArchiveMetrics
from outbox_operator.client import metrics as library
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.plan.status import numbers
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.wire.config import ConsumerConfig, NatsConfig

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = Path("docs/reference/metrics.md")
BLOCK: Final = re.compile(r"(<!-- metrics: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_KUBE_STATE_METRICS: Final = Path("charts/outbox-operator/files/kube-state-metrics.yaml")


class Declared(Protocol):
    """A metric as it is declared; the library has a class of its own for it."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


def declarations() -> dict[str, tuple[Declared, ...]]:
    """Every metric of ours, by who exports it: operator, objects, relay, consumer, archive,
    its API, or library.

    `objects` are what the leading operator exports of the resources in its care.
    """
    config = ConsumerConfig(
        namespace="any",
        consumer="any",
        nats=NatsConfig(url="nats://any:4222"),
        stream="any",
        durable="any",
    )
    return {
        "operator": tuple(OperatorMetrics().declarations),
        "objects": numbers.DECLARATIONS,
        "relay": tuple(RelayMetrics("any", "any").metrics.declarations),
        "consumer": tuple(ConsumerMetrics(config).declarations),
        "archive": tuple(ArchiveMetrics("any", "any").declarations),
        "archive-api": tuple(ApiMetrics("any", "any").declarations),
        "library": library.DECLARATIONS,
    }


def names() -> frozenset[str]:
    """Every name of ours that a query can have, `_bucket`, `_sum` and `_count` included.

    Those that kube-state-metrics has by the chart's configuration are among them.
    """
    found = {name for some in declarations().values() for one in some for name in _series(one)}
    return frozenset(found) | _of_kube_state_metrics()


def labels() -> Mapping[str, tuple[str, ...]]:
    """The labels of each of `names()`, without those of kube-state-metrics."""
    return {
        name: one.labels
        for some in declarations().values()
        for one in some
        for name in _series(one)
    }


def _series(one: Declared) -> tuple[str, ...]:
    if one.kind != "histogram":
        return (one.name,)
    return tuple(f"{one.name}_{part}" for part in ("bucket", "sum", "count"))


def _of_kube_state_metrics() -> frozenset[str]:
    config = yaml.safe_load((ROOT / _KUBE_STATE_METRICS).read_text())
    return frozenset(
        f"{one['metricNamePrefix']}_{metric['name']}"
        for one in config["spec"]["resources"]
        for metric in one["metrics"]
    )


def files(root: Path) -> dict[Path, str]:
    """Path to text of the page."""
    return {PAGE: written((root / PAGE).read_text())}


def written(page: str) -> str:
    """The page with its tables written anew.

    Raises:
        ValueError: A role is not in the page, or twice.
    """
    tables = {role: _table(some) for role, some in declarations().items()}
    used: list[str] = []

    def table(match: re.Match[str]) -> str:
        used.append(match[2])
        return f"{match[1]}{tables[match[2]]}{match[3]}"

    text = BLOCK.sub(table, page)
    if sorted(used) != sorted(tables):
        raise ValueError(f"{PAGE}: wanted a table each of {sorted(tables)}, found {sorted(used)}")
    return text


def _table(some: Iterable[Declared]) -> str:
    rows = (
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {one.help} |\n"
        for one in some
    )
    return f"| metric | type | labels | meaning |\n|---|---|---|---|\n{''.join(rows)}"
