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
    "groups": ("leave-the-dead", "lost"),
}
"""What is planted in a world, and what it is caught as."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


PLANTED = pytest.mark.parametrize(
    "planted", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["as-it-is", "planted"]
)


@PLANTED
async def test_audiences(
    planted: bool, postgres: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    names = [name for name in AUDIENCE_TRAPS if name not in ("lanes", "groups")]
    verdicts = await asyncio.gather(
        *(spring(name, planted, postgres, nats_server, tmp_path) for name in names)
    )
    for name, verdict in zip(names, verdicts, strict=True):
        as_promised(name, planted, verdict)


@PLANTED
async def test_lanes(
    planted: bool, postgres: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    """By itself: its pods would take the others' time."""
    verdict = await spring("lanes", planted, postgres, nats_server, tmp_path)
    as_promised("lanes", planted, verdict)


@PLANTED
async def test_groups(
    planted: bool, postgres: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    """The same; its server is killed, too."""
    verdict = await spring("groups", planted, postgres, nats_server, tmp_path)
    as_promised("groups", planted, verdict)


async def spring(
    name: str, planted: bool, postgres: PostgresServer, nats_server: NatsServer, folder: Path
) -> Verdict:
    """A run in a world, with what may be planted there."""
    directory = folder / name
    directory.mkdir()
    settings = Settings(
        seed=3, seconds=0.5, world=WORLDS[name],
        plant=AUDIENCE_TRAPS[name][0] if planted else "",
        patience_seconds=4.0 if planted else 30.0, pace=2.0,
        replicas=2 if name == "lanes" else 1,
    )  # fmt: skip
    async with listening(settings, directory, postgres, nats_server) as audience:
        await audience.run()
        return await audience.verdict()


def as_promised(name: str, planted: bool, verdict: Verdict) -> None:
    """All is well, or what is planted was caught."""
    plant, finding = AUDIENCE_TRAPS[name]
    if planted:
        assert verdict.counts[finding], f"{plant} was not caught in {name}: {verdict}"
    else:
        assert verdict.clean, f"{name}: {verdict}: {dict(verdict.examples)}"
