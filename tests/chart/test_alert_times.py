"""Each alert fires when it shall and only then, by promtool's own clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from generate import alerts

from chart.alert_cases import CASES, CLUSTER_CASES
from chart.alert_cases_archive import ARCHIVE_CASES
from chart.alert_cases_beside import CASES_BESIDE
from support.alert_series import Case
from support.chart import ROOT
from support.prometheus import promtool

RULES = ROOT / "alerts" / "outbox-operator.rules.yaml"


def test_alerts_fire_in_time_and_not_otherwise(tmp_path: Path) -> None:
    run(RULES, (*CASES, *ARCHIVE_CASES, *CASES_BESIDE), tmp_path)


def test_clusters_with_the_same_names_are_told_apart(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / alerts.VALUES).read_text())["alerts"]
    rules = tmp_path / "rules.yaml"
    group = {
        "name": "clusters",
        "rules": alerts.rules(ROOT, {**values, "groupLabels": ["cluster"]}),
    }
    rules.write_text(json.dumps({"groups": [group]}))
    run(rules, CLUSTER_CASES, tmp_path)


def test_each_alert_is_shown_firing_and_not_firing() -> None:
    cases = (*CASES, *ARCHIVE_CASES)
    firing = {case.alert for case in cases if any(case.firing.values())}
    silent = {case.alert for case in cases if not all(case.firing.values())}
    assert firing == silent == set(severities())


def run(rules: Path, cases: Sequence[Case], scratch: Path) -> None:
    """Have promtool look at each case."""
    test = scratch / "alerts.test.yaml"
    tests = [written(case) for case in cases]
    test.write_text(
        json.dumps(
            {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests},
        )
    )
    promtool("test", "rules", test)


def written(case: Case) -> dict[str, Any]:
    """A case as promtool has it."""
    severity = severities()[case.alert]
    return {
        "name": f"{case.alert}: {case.what}",
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{case.alert}", alertstate="firing"}}',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {
                        "labels": f'ALERTS{{alertname="{case.alert}", alertstate="firing", '
                        f'severity="{severity}"{labels and ", " + labels}}}',
                        "value": 1,
                    }
                    for labels in expected
                ],
            }
            for minute, expected in case.firing.items()
        ],
    }


def severities() -> dict[str, str]:
    """Severity of every alert by its name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["labels"]["severity"] for rule in group["rules"] if "alert" in rule}
