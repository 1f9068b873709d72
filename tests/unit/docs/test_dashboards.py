"""The dashboards are what Grafana's library takes, and name metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from generate import metrics
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from support.dashboards import OF_PROCESSES, dashboards, expressions, marks, queries

register_default_plugins()


def panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (one for one in document["panels"] if one["type"] != "row")


@pytest.mark.parametrize("name", dashboards())
def test_grafanas_library_reads_what_it_has_written(name: str) -> None:
    document = dashboards()[name]
    read = Dashboard.from_json(document)
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == document


@pytest.mark.parametrize("name", dashboards())
def test_every_metric_and_label_exists(name: str) -> None:
    for expression in expressions(dashboards()[name]):
        without_texts = re.sub(r'"[^"]*"', '""', expression)
        named = set(re.findall(r"\b(?:outbox|consumer|kube|process)_\w+", without_texts))
        assert named, expression
        assert named <= metrics.names() | OF_PROCESSES, expression
        for metric, matchers in re.findall(r"\b(outbox_\w+)\{(.*?)\}", without_texts):
            labels = set(re.findall(r"(\w+)(?==)", matchers))
            assert labels <= {*metrics.labels()[metric], "le"}, expression


@pytest.mark.parametrize("name", dashboards())
def test_panels_say_what_they_show_and_do_not_overlap(name: str) -> None:
    document = dashboards()[name]
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        x, y, width, height = (place.get(key, 0) for key in ("x", "y", "w", "h"))
        assert x + width <= 24, panel["title"]
        cells = {(a, b) for a in range(x, x + width) for b in range(y, y + height)}
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels(document):
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_each_panel_has_queries() -> None:
    for name, document in dashboards().items():
        asked = {title for title, _ in queries(document)}
        assert asked == {panel["title"] for panel in panels(document)}, name


def test_one_pipeline_shows_the_consumers_of_no_other() -> None:
    """Pods of consumers do not know the pipeline: all of them are a list, not every name."""
    document = dashboards()["pipeline"]
    [choice] = [one for one in document["templating"]["list"] if one["name"] == "consumer"]
    assert choice.get("allValue") is None
    assert 'pipeline="$pipeline"' in json.dumps(choice["query"]).replace('\\"', '"')
    for _, expression in (*queries(document), *marks(document)):
        for selector in re.findall(r"\{(.*?)\}", expression):
            assert re.search(r'(?:pipeline|name)="\$pipeline"|=~"\$consumer"', selector), expression


def test_dead_letters_of_consumers_that_are_gone_are_shown() -> None:
    for name in ("pipelines", "pipeline"):
        assert any("outbox_stream_dead_letters" in one for one in expressions(dashboards()[name]))
