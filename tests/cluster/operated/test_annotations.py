"""One-shot annotations: a restart rolls once what it names."""

from __future__ import annotations

import pytest

from support.world import World

PIPELINE = ("OutboxPipeline", "orders")


@pytest.mark.parametrize(
    ("value", "rolled"),
    [
        pytest.param(
            "all", {"orders-relay", "orders-billing-consumer"}, marks=pytest.mark.thorough
        ),
        ("relay", {"orders-relay"}),
        ("consumers", {"orders-billing-consumer"}),
    ],
)
def test_restart_rolls_once_what_it_names(world: World, value: str, rolled: set[str]) -> None:
    names = ("orders-relay", "orders-billing-consumer")
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.settle()
    before = {name: world.deployment(name)["metadata"]["generation"] for name in names}
    world.annotate("obp", "orders", f"outbox.dev/restart={value}")

    def done() -> bool:
        bodies = [
            world.get(*PIPELINE),
            world.get("EventConsumer", "orders-billing"),
            world.get("EventConsumer", "orders-audit"),
        ]
        return not any(
            "outbox.dev/restart" in (body or {})["metadata"].get("annotations", {})
            for body in bodies
        )

    world.wait(done, "the annotations are removed", detail=lambda: world.log(30))
    world.settle()
    after = {name: world.deployment(name)["metadata"]["generation"] for name in names}
    assert {name: after[name] - before[name] for name in names} == {
        name: int(name in rolled) for name in names
    }


def test_an_unknown_restart_is_said(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.annotate("obp", "orders", "outbox.dev/restart=relais")
    world.wait(
        lambda: any("'relais'" in event["note"] for event in world.events("orders")), "an event"
    )
    world.wait(
        lambda: "outbox.dev/restart" not in (world.get(*PIPELINE) or {})["metadata"]["annotations"],
        "the annotation removed",
    )
