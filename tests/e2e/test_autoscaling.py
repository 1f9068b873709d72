"""The reference case on a real node: three pods, more under a load that rises, and three again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.autoscaled import Autoscaled, Load
from support.stage import Stage

LOAD = Load(
    autoscaling={
        "minReplicas": 3,
        "maxReplicas": 6,
        "targetBacklog": 100,
        "scaleUp": {"maxStep": 2},
        "scaleDown": {"stabilization": "2s", "maxStep": 2},
    },
    concurrency=4,
    seconds=0.5,
)
"""Eight events a second and pod, for which a hundred may wait."""


@pytest.fixture
def parcels(stage: Stage) -> Iterator[Autoscaled]:
    """The pipeline, with its three pods."""
    made = Autoscaled(stage, LOAD)
    try:
        made.open()
        yield made
    finally:
        made.close()


@pytest.mark.thorough
def test_pods_follow_a_load_that_rises_and_falls(parcels: Autoscaled, stage: Stage) -> None:
    stage.eventually("three pods", lambda: parcels.look().ready == 3)
    budget = parcels.budget()
    assert (budget["spec"]["maxUnavailable"], budget["status"]["expectedPods"]) == ("25%", 3)
    assert budget["status"]["disruptionsAllowed"] == 1
    written = 480
    parcels.write(written)

    def more_work() -> bool:
        """However slow the machine is, enough waits for five pods."""
        nonlocal written
        look = parcels.look()
        if look.waiting < 450:
            parcels.write(500 - look.waiting)
            written += 500 - look.waiting
        return look.ready >= 5

    stage.eventually("more pods work", more_work)
    stage.eventually("all is handled", lambda: parcels.look().done >= written)
    stage.eventually("three pods again", lambda: parcels.look().ready == parcels.look().wanted == 3)
    assert (parcels.durable()["pending"], parcels.durable().get("deadLetters")) == (0, 0)
