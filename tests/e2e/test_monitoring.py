"""The demo's Prometheus finds every pod of ours, knows the alerts, and answers what pages ask."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from demo import monitoring
from demo.kubectl import ROOT

from support.stage import Stage


@pytest.fixture(scope="module")
def monitored(stage: Stage) -> Stage:
    """The stage with Prometheus, and traffic."""
    monitoring.apply(stage.kubectl, stage.images.monitoring)
    stage.shop.take_orders(1)
    return stage


def ask(stage: Stage, path: str) -> Any:
    """What Prometheus answers, through the API server's proxy."""
    service = f"/api/v1/namespaces/{monitoring.NAMESPACE}/services/prometheus:http/proxy"
    return json.loads(stage.kubectl("get", "--raw", f"{service}/api/v1/{path}"))["data"]


def query(stage: Stage, expression: str) -> list[Any]:
    """Samples of an expression, now."""
    samples: list[Any] = ask(stage, f"query?query={quote(expression)}")["result"]
    return samples


def found(stage: Stage, expression: str) -> bool:
    """Whether there is any sample."""
    return bool(query(stage, expression))


def answers(stage: Stage, expression: str) -> bool:
    """Whether it has a number for the shop's pipeline."""
    return any(
        sample["metric"].get("pipeline") == "orders" and sample["value"][1] != "NaN"
        for sample in query(stage, expression)
    )


def test_every_process_is_scraped_and_the_queries_of_the_readme_answer(monitored: Stage) -> None:
    for own in ("outbox_operator_leader", "outbox_relay_members", "outbox_consumer_in_flight"):
        monitored.eventually(f"{own} is scraped", partial(found, monitored, own))
    shown = re.findall(r"```promql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    expressions = "".join(shown).splitlines()
    assert len(expressions) == 3
    for expression in expressions:
        monitored.eventually(
            f"{expression} answers for the shop's pipeline", partial(answers, monitored, expression)
        )

    def health() -> set[str]:
        groups = ask(monitored, "rules?type=alert")["groups"]
        return {rule["health"] for group in groups for rule in group["rules"]}

    def evaluated() -> bool:
        found = health()
        return bool(found) and "unknown" not in found

    monitored.eventually("each rule was evaluated", evaluated)
    assert health() == {"ok"}
