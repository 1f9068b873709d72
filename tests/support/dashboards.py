"""The dashboards of the chart, and what their panels ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from support.kube import ROOT

FOLDER: Final = ROOT / "charts/outbox-operator/files/dashboards"
OF_PROCESSES: Final = frozenset({"process_cpu_seconds_total", "process_resident_memory_bytes"})
"""Of prometheus_client, which every role exports."""


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Each by the name of its file."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    assert found, f"no dashboards in {FOLDER}"
    return found


def queries(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and expression of each query of a panel."""
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def marks(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and expression of each annotation."""
    for one in document["annotations"].get("list", ()):
        yield one["name"], one["expr"]


def expressions(document: Mapping[str, Any]) -> Iterator[str]:
    """All of both, and what the variables choose from."""
    for _, expression in (*queries(document), *marks(document)):
        yield expression
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"].removeprefix("label_values(").rpartition(",")[0]


def filled(expression: str, **variables: str) -> str:
    """An expression as Grafana asks it, with its variables replaced."""
    values = {"__rate_interval": "1m", "__interval": "15s", **variables}
    for name, value in values.items():
        expression = expression.replace(f"${name}", value)
    assert not re.search(r"\$[{a-z_]", expression), expression
    return expression
