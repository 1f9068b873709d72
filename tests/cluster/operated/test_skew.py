"""Resource definitions newer than the operator: every chart upgrade has that for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from support.kube import Kubectl, install_crds
from support.world import World

CRDS = ("outboxpipelines", "eventstreams", "eventconsumers")
SHORT = {"OutboxPipeline": "obp", "EventStream": "evs", "EventConsumer": "evc"}
NEWER = {"type": "string", "default": "by default", "description": "Of the next version."}


@pytest.fixture
def newer_definitions(kubectl: Kubectl) -> Iterator[None]:
    """A field more in every kind, at the top and deeper, that is filled in by default."""
    try:
        for plural in CRDS:
            crd: Any = kubectl.get("crd", f"{plural}.outbox.dev")
            version = crd["spec"]["versions"][0]
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            spec["properties"]["tomorrow"] = NEWER
            nats = spec["properties"]["nats"]
            nats["properties"]["tomorrow"] = NEWER
            patch = json.dumps({"spec": {"versions": [version]}})
            kubectl("patch", "crd", f"{plural}.outbox.dev", "--type=merge", "-p", patch)
        yield
    finally:
        install_crds(kubectl)


def filled_in(world: World, kind: str, name: str) -> bool:
    """Whether the API server knows the new field."""
    found = world.get(kind, name)
    return found is not None and found["spec"].get("tomorrow") == "by default"


def test_definitions_newer_than_the_operator(world: World, newer_definitions: None) -> None:
    world.apply(*world.whole())
    for kind, name in (
        ("OutboxPipeline", "orders"), ("EventStream", "orders"), ("EventConsumer", "orders-billing")
    ):  # fmt: skip
        world.wait(partial(filled_in, world, kind, name), f"{kind}: the new definition is served")
        world.look_again(SHORT[kind], name)
        world.wait_ready(kind, name)
    world.settle()  # what the API server fills in is no drift that is put back for ever
    after = world.get("OutboxPipeline", "orders")
    assert after is not None
    assert after["status"]["driftCorrectedCount"] == 0, after["status"]["lastDrift"]
