"""The rules of the chart: the same as the plain file, and what the values say."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.telemetry.metrics import AGE_BUCKETS
from support.chart import CHART, ROOT, ChartRefusedError, Helm, Manifest
from support.chart_values import EVERYTHING, NAMESPACED
from support.prometheus import promtool

PLAIN = ROOT / "alerts" / "outbox-operator.rules.yaml"
SOURCE = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
ON: Manifest = {"alerts": {"enabled": True}}


def made(helm: Helm, values: Manifest) -> Manifest:
    """The PrometheusRule of a release."""
    (found,) = [one for one in helm.render(values) if one["kind"] == "PrometheusRule"]
    return found


def alert(rule: Manifest, name: str) -> dict[str, Any]:
    """One alert of a PrometheusRule."""
    (found,) = [one for one in rule["spec"]["groups"][0]["rules"] if one.get("alert") == name]
    return dict(found)


def test_the_plain_file_is_what_the_chart_makes_by_default(helm: Helm) -> None:
    assert made(helm, ON)["spec"] == yaml.safe_load(PLAIN.read_text())


def test_no_rules_unless_they_are_asked_for(helm: Helm) -> None:
    assert "PrometheusRule" not in {one["kind"] for one in helm.render({})}


def test_an_alert_that_is_taken_away_is_not_made(helm: Helm) -> None:
    values = {"alerts": {"enabled": True, "rules": {"OutboxHighLag": None}}}
    names = {one.get("alert") for one in made(helm, values)["spec"]["groups"][0]["rules"]}
    assert names - {None} == set(SOURCE["alerts"]) - {"OutboxHighLag"}


def test_values_reach_the_rules(helm: Helm) -> None:
    rule = made(helm, EVERYTHING)
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    lag = alert(rule, "OutboxHighLag")
    assert lag["expr"] == ('outbox:pipeline_backlog_rows:latest{namespace=~"shop|billing"} > 9999')
    assert lag["for"] == "1m"
    assert lag["labels"] == {"severity": "page", "team": "data"}
    runbook = "https://runbooks.example/outbox/OutboxHighLag.md"
    assert lag["annotations"]["runbook_url"] == runbook
    latency = alert(rule, "OutboxHighLatency")
    assert latency["labels"] == {"severity": "warning", "team": "shop"}
    assert latency["expr"].replace("\n", "").replace("  ", "") == (
        "histogram_quantile(0.99,sum by (namespace, cluster, pipeline, le) (rate("
        'outbox_relay_delivery_seconds_bucket{namespace=~"shop|billing"}[2m]))) > 0.25'
    )
    rules = rule["spec"]["groups"][0]["rules"]
    assert "OutboxWorkerIdle" not in {one.get("alert") for one in rules}
    assert not [one for one in rules if re.search(r"<[a-z]+>", one["expr"])]


@pytest.mark.parametrize("values", [EVERYTHING, {**NAMESPACED, **ON}], ids=["all", "namespaced"])
def test_prometheus_takes_them(helm: Helm, tmp_path: Path, values: Manifest) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(json.dumps(made(helm, values)["spec"]))
    assert "SUCCESS" in promtool("check", "rules", rules)


def test_a_release_looks_at_its_own_namespaces(helm: Helm) -> None:
    """Also in what is recorded: other releases do that under the same names."""
    for rule in made(helm, {**NAMESPACED, **ON})["spec"]["groups"][0]["rules"]:
        asked = re.findall(r"\b(outbox[_:][a-z_]+(?::latest)?\{)([^}]*)", rule["expr"])
        assert len(asked) == len(re.findall(r"\boutbox[_:]", rule["expr"]))
        for name, matchers in asked:
            of_operator = name.startswith("outbox_operator_")
            where = 'namespace="outbox-system"' if of_operator else 'namespace=~"shop|billing"'
            assert where in matchers


@pytest.mark.parametrize("name", ["OutboxHighLag", "OutboxDeadLetterQueue"])
def test_no_threshold_beyond_what_the_operator_counts_to(helm: Helm, name: str) -> None:
    counted: int = inspect.signature(PostgresAdmin.sample).parameters["cap"].default
    schema = json.loads((CHART / "values.schema.json").read_text())
    rules = schema["properties"]["alerts"]["properties"]["rules"]["properties"]
    assert rules[name]["properties"]["threshold"]["maximum"] == counted - 1
    with pytest.raises(ChartRefusedError, match="threshold"):
        helm.render({"alerts": {"rules": {name: {"threshold": counted}}}})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("threshold", {"OutboxHighErrorRate": 1, "OutboxStreamNearlyFull": 1}),
        ("threshold", {"OptimisticSendHighFailureRate": 1, "OutboxWorkerUnhealthy": 0}),
        ("threshold", {"OutboxHighLatency": AGE_BUCKETS[-1], "OutboxRetentionAtRisk": 0}),
        ("window", {"OutboxWorkerIdle": "0s", "OutboxConsumerStuck": "30m1h"}),
        ("for", {"OutboxWorkerDown": "1h1h", "OutboxRelayHalted": ""}),
    ],
)
def test_no_value_makes_rules_that_never_fire(
    helm: Helm, name: str, values: dict[str, float | str]
) -> None:
    """Out of reach, or no PromQL, for which Prometheus would leave all of them out."""
    with pytest.raises(ChartRefusedError) as refused:
        helm.render({"alerts": {"rules": {alert: {name: text} for alert, text in values.items()}}})
    for alert in values:
        assert f"/alerts/rules/{alert}/{name}" in str(refused.value)


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
@pytest.mark.parametrize(
    ("window", "interval", "taken"),
    [
        ("20s", "30s", False),
        ("1m59s", "30s", False),
        ("2m", "30s", True),
        ("4m59s999ms", "1m15s", False),
        ("1h5m", "1m15s", True),
        ("2s", "500ms", True),
    ],
)
def test_a_window_holds_enough_samples_for_a_rate(
    helm: Helm, monitor: str, window: str, interval: str, taken: bool
) -> None:
    """Else most alerts never fire, and that for idle relays always does."""
    intervals = {"podMonitor": "1ms", "serviceMonitor": "1ms", monitor: interval}
    values = {
        "metrics": {name: {"interval": every} for name, every in intervals.items()},
        "alerts": {"enabled": True, "rules": {"OutboxWorkerIdle": {"window": window}}},
    }
    if taken:
        helm.render(values)
        return
    wanted = rf"OutboxWorkerIdle\.window.*{monitor}\.interval \({interval}\), found {window}"
    with pytest.raises(ChartRefusedError, match=wanted):
        helm.render(values)


def test_a_value_that_is_removed_is_missed(helm: Helm) -> None:
    """helm takes null for that, and would write nothing in its place."""
    rules: Manifest = {"OutboxHighLag": {"threshold": None}, "OutboxHighLatency": {"for": None}}
    with pytest.raises(ChartRefusedError) as refused:
        helm.render({"alerts": {"gap": None, "rules": rules}})
    for name in ("gap", "threshold", "for"):
        assert f"missing property '{name}'" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rules": {"OutboxHighLagg": {}}}, "OutboxHighLagg"),
        ({"rules": {"OutboxHighLag": {"for": "soon"}}}, "for"),
        ({"rules": {"OutboxHighLag": {"threshold": "5000"}}}, "threshold"),
        ({"rules": {"OutboxHighErrorRate": {"threshold": 1.5}}}, "threshold"),
        ({"rules": {"OutboxWorkerDown": {"threshold": 1}}}, "threshold"),
        ({"alertLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
        ({"groupLabels": ["a b"]}, "groupLabels"),
        ({"namespaces": ["a|b"]}, "namespaces"),
        ({"runbooks": "https://runbooks.example/"}, "runbooks"),
        ({"gap": ""}, "gap"),
    ],
)
def test_nonsense_is_refused(helm: Helm, values: Manifest, message: str) -> None:
    with pytest.raises(ChartRefusedError, match=message):
        helm.render({"alerts": values})
