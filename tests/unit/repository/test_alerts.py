"""Every metric and label that a rule or a runbook names is one that somebody exports."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from generate import metrics

from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.relay.metrics import REFUSALS, RelayMetrics
from outbox_operator.telemetry.logging import JsonFormatter
from support.chart import ROOT
from support.promql import TARGET, Labels, PromqlError, labels_of

RULES: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "alerts" / "outbox-operator.rules.yaml").read_text()
)["groups"][0]["rules"]
RECORDED = {rule["record"]: rule for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
METRIC = re.compile(r"\b(?:outbox|consumer_inbox)_[a-z_]+[a-z]\b")
OF_LOGS = re.compile(r"^.*\blogs\b.*?(?:\\\n.*?)?\| jq (\S+) '([^']*)'", re.MULTILINE)
LEVELS = {
    json.loads(JsonFormatter("relay").format(logging.makeLogRecord({"levelname": name})))["level"]
    for name in logging.getLevelNamesMapping()
}
HEADINGS = ["## What users see", "## Find the cause", "## What to do"]


def table() -> dict[str, Labels]:
    """Labels by metric, with those that the rules themselves record."""
    known: dict[str, Labels] = {
        name: frozenset(labels) | ({"le"} if name.endswith("_bucket") else set())
        for name, labels in metrics.labels().items()
    }
    for name, rule in RECORDED.items():
        with contextlib.suppress(PromqlError):
            known[name] = labels_of(rule["expr"], known) or frozenset()
    return known


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_recorded_is_there(name: str) -> None:
    assert labels_of(RECORDED[name]["expr"], table())
    assert any(name in rule["expr"] for rule in ALERTS.values()), "recorded for nobody"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_for_what_there_is(name: str) -> None:
    rule = ALERTS[name]
    labels = labels_of(rule["expr"], table())
    assert labels is not None
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
    for word in re.findall(r'reason=~"([^"]+)"', rule["expr"]):
        assert word.split("|") == list(REFUSALS)


def test_what_rates_are_taken_of_is_there_before_it_happens() -> None:
    """A rate does not see the first value of a series, so that value must be 0."""
    relay = RelayMetrics("shop", "orders").metrics.registry
    for reason in REFUSALS:
        labels = {"namespace": "shop", "pipeline": "orders", "reason": reason}
        assert relay.get_sample_value("outbox_relay_errors_total", labels) == 0
    operator = OperatorMetrics().registry
    for kind, result in itertools.product(
        ("OutboxPipeline", "EventStream", "EventConsumer"), ("error", "timeout", "defect")
    ):
        labels = {"kind": kind, "result": result}
        assert operator.get_sample_value("outbox_operator_reconciles_total", labels) == 0


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("outbox_pipeline_backlog > 1", "no metric outbox_pipeline_backlog"),
        ("sum by (consumer) (outbox_relay_halted)", "no label consumer"),
        ('outbox_relay_halted{key="a"} > 1', "no label key"),
        ("outbox:relay_halted:latest unless outbox:stream_bytes:latest", "never match"),
        ("histogram_quantile(0.9, rate(outbox_relay_delivery_seconds_sum[5m]))", "no label le"),
        ("outbox:relay_halted:latest and on (pod) outbox:relay_halted:latest", "no label pod"),
        ("sum(outbox_relay_halted", "unclosed left parenthesis"),
    ],
)
def test_what_could_never_fire_is_found(expression: str, fault: str) -> None:
    with pytest.raises(PromqlError, match=fault):
        labels_of(expression, table())


def test_target_labels_are_those_of_no_metric_but_namespace() -> None:
    everywhere = {label for labels in metrics.labels().values() for label in labels}
    assert everywhere & TARGET == {"namespace"}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS} == set(ALERTS)
    links = {rule["annotations"]["runbook_url"] for rule in ALERTS.values()}
    assert {(ROOT / link).resolve() for link in links} == set(RUNBOOKS)


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_what_is_seen_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## .*", text, re.MULTILINE) == HEADINGS
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(commands.splitlines()) == 3
    assert set(METRIC.findall(text)) <= metrics.names() | {
        name.rpartition("_")[0] for name in metrics.names() if name.endswith("_bucket")
    }


def test_what_is_asked_of_logs_has_an_answer() -> None:
    """Whatever a handler prints between the lines, and by the levels that there are."""
    pages = [*RUNBOOKS, *(ROOT / "docs" / "how-to").glob("*.md")]
    asked = [found for page in pages for found in OF_LOGS.findall(page.read_text())]
    assert len(asked) > len(RUNBOOKS) / 2
    for options, program in asked:
        assert options == "-rR", program
        assert program.startswith("fromjson? | "), program
        assert set(re.findall(r'\.level [!=]= "(\w+)"', program)) <= LEVELS, program


def test_what_is_forwarded_is_let_go() -> None:
    """The next one has the same port, and would be answered by the pod of this one."""
    for page in RUNBOOKS:
        forwarded = re.findall(r"^.* port-forward .*$", page.read_text(), re.MULTILINE)
        assert all(line.endswith("; kill $!") for line in forwarded), page.name
