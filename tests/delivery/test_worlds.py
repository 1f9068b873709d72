"""Each world in a few seconds: the relay as it is passes, and a bug that belongs to it is caught.

`make check-delivery WORLD=…` stays in one of them for as long as wanted, with faults.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg
import pytest

from delivery import fuzz
from delivery.content import HOSTILE, Emit, Transaction, hostile
from delivery.journal import Journal
from delivery.replays import Replays
from delivery.servers import relays
from delivery.settings import Settings
from delivery.stage import Stage
from delivery.test_audience import AUDIENCE_TRAPS
from delivery.verdict import Verdict
from delivery.worlds import RANDOM, WORLDS, drawn, named
from support.nats import NatsServer
from support.postgres import PostgresServer, running_server
from support.waiting import eventually

pytestmark = pytest.mark.integration

_AT_A_TIME = 4


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


async def several_runs(stage: Stage) -> None:
    """Each begins with a fence, where there is one."""
    await stage.relay().start().active()
    for number in range(5):
        await stage.write()
        await stage.stored(number + 1)


async def a_transform_comes_and_goes(stage: Stage) -> None:
    """Somebody changes the stream of a pipeline; the relay says so and waits."""
    await stage.relay().start().active()
    await stage.write()
    await stage.stored(1)
    name = stage.servers.stream
    moved = {"src": f"{name}.>", "dest": f"moved.{name}.>"}
    await stage.servers.change_stream(subject_transform=moved)
    stage.relay().kill()
    await stage.relay().start().active()
    await stage.write(3)
    if not stage.settings.plant:
        await eventually(
            lambda: "subject_transform" in str(stage.relay().failing()), "a word about it"
        )
        await stage.servers.change_stream(subject_transform=None)
    await stage.stored(4)


async def saves_are_lost(stage: Stage) -> None:
    """The stream has dropped most of what was published since the last save."""
    await stage.relay().start().active()
    await stage.write()
    await stage.saved(1)
    before = await stage.cursor()
    for _ in range(8):
        await stage.write()
        await stage.write(30, key="other")
    await stage.stored(249)
    await stage.forget_saves(before)
    await stage.relay().start().active()


async def more_than_fits(stage: Stage) -> None:
    """Whoever consumes is slower than whoever writes."""
    await stage.relay().start().active()
    await stage.write(700)
    await stage.stored(700)


async def the_store_is_put_back(stage: Stage) -> None:
    """As after a power cut, for a server that had not synced."""
    (server,) = stage.servers.members
    await stage.relay().start().active()
    await stage.write(5)
    await stage.saved(5)
    await asyncio.to_thread(server.stop)
    server.copy_store()
    await asyncio.to_thread(server.start)
    await stage.write(5)
    await stage.saved(10)
    await asyncio.to_thread(server.kill)
    server.restore_store()
    await asyncio.to_thread(server.start)
    await stage.relay().active()


async def absurd_rows(stage: Stage) -> None:
    """One of each, by itself because the table refuses some; and ordinary ones behind them."""
    draw = Random(0)
    async with stage.writer() as writer:
        for number, changes in enumerate(HOSTILE["jsonb"]):
            event = hostile(draw, f"k{number}", "jsonb", changes)
            await writer.write(Transaction((Emit(event),), commit=True, pause=0))
    await stage.write(5)
    await stage.relay().start().active()


async def rows_at_random(stage: Stage) -> None:
    """Some hundreds, and ordinary ones behind them."""
    draw = Random(1)
    events = [
        hostile(draw, f"k{number % 50}", "jsonb", fuzz.changes(draw, jsonb=True))
        for number in range(100)
    ]
    async with stage.writer() as writer:
        await writer.write(Transaction(tuple(map(Emit, events)), commit=True, pause=0))
    await stage.write(5)
    await stage.relay().start().active()


async def a_bulk_load_is_open(stage: Stage) -> None:
    """Others commit meanwhile, and the load is still open when the verdict falls."""
    await stage.relay().start().active()
    load = await asyncpg.connect(stage.servers.database_url)
    stage.at_end(load.terminate)
    await load.execute("BEGIN")
    await load.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'bulk', 'b' || n % 7, '1' FROM generate_series(1, 20000) n"
    )
    for _ in range(3):
        await stage.write()


async def history_is_sent_again(stage: Stage) -> None:
    """Twice, with a relay that dies in between, and writers that go on."""
    await stage.relay().start().active()
    await stage.write(5)
    await stage.write(5, key="other")
    await stage.stored(10)
    replays = Replays(stage.servers.database_url, 0)
    for name in ("one", "two"):
        await replays.one(name)
        await stage.write(2)
        stage.relay().kill()
        await stage.relay().start().active()
    assert replays.troubles == []


@dataclass(frozen=True)
class WorldTrap:
    """A scenario in a world, and what it finds with a bug that belongs there."""

    scenario: Callable[[Stage], Awaitable[None]]
    plant: str
    finding: str
    duplicate_window_seconds: float = 120.0
    alone: bool = False


WORLD_TRAPS = {
    "republish": WorldTrap(several_runs, "fence-copies", "lost"),
    "transform": WorldTrap(a_transform_comes_and_goes, "trust-transforms", "altered"),
    "per-subject": WorldTrap(saves_are_lost, "forget-holes", "lost", 0.1),
    "small-old": WorldTrap(saves_are_lost, "forget-holes", "reordered", 0.1),
    "small-new": WorldTrap(more_than_fits, "full-is-poison", "buried"),
    "rollback": WorldTrap(the_store_is_put_back, "believe-the-stream", "lost", alone=True),
    # With the usual window messages have no ids that could be the wrong ones.
    "replays": WorldTrap(history_is_sent_again, "plain-ids-of-copies", "lost", 180.0),
    "fuzz": WorldTrap(rows_at_random, "whole-pages", "lost"),
    "hostile": WorldTrap(absurd_rows, "whole-pages", "lost"),
    "bulk": WorldTrap(a_bulk_load_is_open, "wait-for-oldest", "lost"),
}


def test_each_world_has_its_trap() -> None:
    audiences = {name for name, world in WORLDS.items() if world.audience}
    assert set(WORLD_TRAPS) == set(WORLDS) - audiences - {"plain"}
    assert set(AUDIENCE_TRAPS) == audiences


@pytest.mark.parametrize(
    "planted", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["as-it-is", "planted"]
)
async def test_worlds(
    planted: bool, postgres: PostgresServer, nats: NatsServer, tmp_path: Path
) -> None:
    at_a_time = asyncio.Semaphore(_AT_A_TIME)

    async def spring(name: str, trap: WorldTrap) -> Verdict:
        directory = tmp_path / name
        directory.mkdir()
        settings = Settings(
            seed=0, world=WORLDS[name], plant=trap.plant if planted else "",
            duplicate_window_seconds=trap.duplicate_window_seconds,
        )  # fmt: skip
        async with at_a_time, contextlib.AsyncExitStack() as stack:
            server = stack.enter_context(NatsServer()) if trap.alone else nats
            servers = await stack.enter_async_context(relays(settings, directory, postgres, server))
            stage = Stage(servers, Journal(), settings)
            stack.callback(stage.end)
            await trap.scenario(stage)
            return await stage.verdict()

    verdicts = await asyncio.gather(*(spring(name, trap) for name, trap in WORLD_TRAPS.items()))
    for (name, trap), verdict in zip(WORLD_TRAPS.items(), verdicts, strict=True):
        if planted:
            assert verdict.counts[trap.finding], f"{trap.plant} was not caught in {name}: {verdict}"
        else:
            assert verdict.clean, f"{name}: {verdict}: {dict(verdict.examples)}"


def test_a_random_world_is_drawn_from_its_seed() -> None:
    worlds = [drawn(seed) for seed in range(300)]
    assert worlds == [named(RANDOM, seed) for seed in range(300)]
    assert len({world.described() for world in worlds}) > 250
    drawn_fields = {field for world in worlds for field in world.stream}
    assert {"maxMessages", "maxBytes", "maxAge", "retention", "persistMode"} <= drawn_fields
    assert {world.copies for world in worlds} == {"", "republish", "source"}
    assert any(world.hostile and world.drops and world.rollbacks for world in worlds)
