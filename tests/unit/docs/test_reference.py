"""Reference pages say what the code says: metrics, command line, settings, headers, names."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable

import pytest
import yaml

from outbox_operator.api import meta
from outbox_operator.cli import main as cli
from outbox_operator.client import metrics as client_metrics
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.telemetry.metrics import Declaration
from outbox_operator.wire import config, headers
from support.golden import without_layout
from support.kube import ROOT

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def rows(declarations: Iterable[Declaration | client_metrics.Declaration]) -> list[str]:
    """The lines of a table of metrics."""
    return [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {one.help} |"
        for one in declarations
    ]


def consumer_metrics() -> ConsumerMetrics:
    return ConsumerMetrics(
        config.ConsumerConfig(
            namespace="shop",
            consumer="billing",
            nats=config.NatsConfig(url="nats://nats:4222"),
            stream="ORDERS",
            durable="billing",
        )
    )


@pytest.mark.parametrize(
    "declarations",
    [
        OperatorMetrics().declarations,
        RelayMetrics("shop", "orders").metrics.declarations,
        consumer_metrics().declarations,
        client_metrics.DECLARATIONS,
    ],
    ids=["operator", "relay", "consumer", "library"],
)
def test_metrics_are_listed_as_declared(
    declarations: list[Declaration] | tuple[client_metrics.Declaration, ...],
) -> None:
    text = page("metrics.md")
    assert [row for row in rows(declarations) if row not in text] == []


def test_no_metric_is_listed_that_does_not_exist() -> None:
    declared = {
        one.name
        for metrics in (OperatorMetrics(), RelayMetrics("shop", "orders").metrics)
        for one in metrics.declarations
    }
    declared |= {one.name for one in consumer_metrics().declarations}
    declared |= {one.name for one in client_metrics.DECLARATIONS}
    listed = set(re.findall(r"^\| `((?:outbox|consumer)_[a-z_]+)` \|", page("metrics.md"), re.M))
    assert listed == declared


def help_of(verb: str) -> str:
    parser = argparse.ArgumentParser(prog=f"outbox {verb}", description=cli.load(verb).help)
    cli.load(verb).configure(parser)
    return parser.format_help()


@pytest.mark.parametrize("verb", cli.verbs())
def test_the_page_shows_the_help_of_every_verb(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    shown, printed = (without_layout(text).split() for text in (page("cli.md"), help_of(verb)))
    assert " ".join(printed) in " ".join(shown)


def test_operator_settings_are_listed() -> None:
    flags = re.findall(r"OUTBOX_[A-Z_]+", help_of("operator"))
    missing = [name for name in flags if f"`{name}`" not in page("settings.md")]
    assert flags
    assert missing == []


@pytest.mark.parametrize(
    "kind",
    [
        config.RelayConfig,
        config.ConsumerConfig,
        config.NatsConfig,
        config.DatabaseConfig,
        config.InboxConfig,
        config.HttpHandlerConfig,
        config.PythonHandlerConfig,
    ],
)
def test_settings_of_pods_are_listed_with_their_defaults(kind: type) -> None:
    section = page("settings.md").partition(f"### {kind.__name__}\n")[2].partition("\n#")[0]
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", section, re.M))
    declared = {
        one.name: "*required*"
        if one.default is one.default_factory is dataclasses.MISSING
        else f"`{default_of(one)}`"
        for one in dataclasses.fields(kind)
    }
    assert listed == declared


def default_of(one: dataclasses.Field[object]) -> str:
    """A default as JSON writes it."""
    value = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


def test_every_header_is_listed() -> None:
    names = [
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    assert [name for name in names if f"`{name}`" not in page("headers.md")] == []


def test_every_label_annotation_and_mark_is_listed() -> None:
    names = [
        value
        for name, value in vars(meta).items()
        if name.endswith(("_LABEL", "_ANNOTATION", "_METADATA", "FINALIZER", "FIELD_MANAGER"))
    ]
    text = page("annotations-and-labels.md")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_page_has_each_metric_of_kube_state_metrics() -> None:
    config = yaml.safe_load(
        (ROOT / "charts/outbox-operator/files/kube-state-metrics.yaml").read_text()
    )
    shown = re.findall(r"^\| `(kube_[a-z_]+)` \|", page("metrics.md"), re.M)
    assert shown == [
        f"{one['metricNamePrefix']}_{metric['name']}"
        for one in config["spec"]["resources"]
        for metric in one["metrics"]
    ]
