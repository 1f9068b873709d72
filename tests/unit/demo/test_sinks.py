"""Each sink of the demo has an example that fits it, and consumers whose tables are known."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from demo.shop import TABLES, Shop
from demo.sinks import NATS, REDIS, SINKS, Sink

from outbox_operator.dev.manifest import read
from support.kube import ROOT

SHOP = yaml.safe_load((ROOT / "examples/shop/pipeline.yaml").read_text())


def patched(document: Any, changes: list[dict[str, Any]]) -> Any:
    """A document with a JSON patch, as kustomize applies it."""
    document = json.loads(json.dumps(document))
    for change in changes:
        *way, last = change["path"].split("/")[1:]
        place = document
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        at: Any = int(last) if isinstance(place, list) else last
        if change["op"] == "test":
            assert place[at] == change["value"]
        elif change["op"] == "remove":
            del place[at]
        else:
            place[at] = change["value"]
    return document


@pytest.mark.parametrize("sink", SINKS.values(), ids=lambda sink: sink.name)
def test_its_pipeline_is_good_and_has_its_consumers(sink: Sink) -> None:
    pipeline = SHOP
    if sink is REDIS:
        changes = yaml.safe_load((ROOT / f"examples/{sink.example}/pipeline.yaml").read_text())
        pipeline = patched(SHOP, changes)
    assert sink.name in pipeline["spec"]
    found = read([pipeline], "shop")
    assert (found.streams[0].spec.redis is not None) == (sink is REDIS)
    assert tuple(one["name"] for one in pipeline["spec"]["consumers"]) == sink.consumers
    assert set(sink.consumers) <= set(TABLES)


class Cluster:
    """A kubectl that knows one pipeline, and says what it was asked to apply."""

    def __init__(self, spec: dict[str, Any] | None) -> None:
        self.applied: list[tuple[str, ...]] = []
        self._spec = spec

    def __call__(self, *arguments: str, **_: Any) -> str:
        if arguments[0] == "get":
            return "" if self._spec is None else json.dumps(self._spec)
        self.applied.append(arguments)
        return ""


@pytest.mark.parametrize(
    ("there", "sink", "refused"),
    [
        (None, NATS, False), (None, REDIS, False), ({"nats": {}}, NATS, False),
        ({"redis": {}}, REDIS, False), ({"nats": {}}, REDIS, True), ({"redis": {}}, NATS, True),
    ],
)  # fmt: skip
def test_a_shop_that_is_there_keeps_its_sink(
    there: dict[str, Any] | None, sink: Sink, refused: bool
) -> None:
    from demo.kubectl import DemoError

    cluster: Any = Cluster(there)
    shop = Shop(cluster, sink)
    if refused:
        with pytest.raises(DemoError, match="make demo-down"):
            shop.apply({})
    else:
        shop.apply({})
    assert bool(cluster.applied) != refused
