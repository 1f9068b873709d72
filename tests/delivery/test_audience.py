"""Worlds with an audience in a few seconds: the consumer runtime as it is, and with a bug in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.listening import listening
from delivery.settings import Settings
from delivery.verdict import Verdict
from delivery.worlds import WORLDS
from support.nats import NatsServer
from support.postgres import PostgresServer, running_server

pytestmark = pytest.mark.integration

AUDIENCE_TRAPS = {
    "killers": ("count-deliveries", "buried"),
    "raisers": ("only-exceptions", "lost"),
    "limited": ("busy-counts", "buried"),
    "unreachable": ("unreachable-counts", "buried"),
    "foreign": ("high-water", "lost"),
    "lanes": ("take-over-at-once", "reordered"),
}
"""What is planted in a world, and what it is caught as."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize("planted", [False, True], ids=["as-it-is", "planted"])
async def test_audiences(
    planted: bool, postgres: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    async def spring(name: str, plant: str) -> Verdict:
        directory = tmp_path / name
        directory.mkdir()
        settings = Settings(
            seed=3, seconds=0.5, world=WORLDS[name], plant=plant if planted else "",
            patience_seconds=4.0 if planted else 30.0, pace=2.0,
            replicas=3 if name == "lanes" else 1,
        )  # fmt: skip
        async with listening(settings, directory, postgres, nats_server) as audience:
            await audience.run()
            return await audience.verdict()

    verdicts = await asyncio.gather(
        *(spring(name, trap[0]) for name, trap in AUDIENCE_TRAPS.items())
    )
    for (name, (plant, finding)), verdict in zip(AUDIENCE_TRAPS.items(), verdicts, strict=True):
        if planted:
            assert verdict.counts[finding], f"{plant} was not caught in {name}: {verdict}"
        else:
            assert verdict.clean, f"{name}: {verdict}: {dict(verdict.examples)}"
