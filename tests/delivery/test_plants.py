"""Each planted bug is caught, and by the same scenario the relay as it is passes.

The scenarios are directed: they bring about the one moment in which the bug shows, so that each
takes a few seconds. `make check-delivery PLANT=…` finds the same bugs by chance.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from delivery.content import Hold, Transaction
from delivery.journal import Journal
from delivery.planted import PLANTS
from delivery.servers import relays
from delivery.settings import Settings
from delivery.stage import LOST_SECONDS, Stage, a_transaction
from delivery.test_audience import AUDIENCE_TRAPS
from delivery.test_worlds import WORLD_TRAPS
from delivery.verdict import Verdict
from delivery.worlds import WORLDS
from support.nats import NatsServer
from support.postgres import PostgresServer, running_server
from support.processes import freeze
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

_AT_A_TIME = 4
_MORE_THAN_A_QUESTION = 250
"""Bytes: what else a relay sends is shorter."""
_SCENARIO_SECONDS = 180.0
"""A writer that fails tells nobody who waits for what it does."""

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


async def a_transaction_commits_late(stage: Stage) -> None:
    """It drew position and id before another one that is published by now."""
    await stage.relay().start().active()
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with stage.writer(_at_event(begun, go_on)) as late:
        steps = (*a_transaction(3, "late").steps, Hold(0))
        writing = asyncio.create_task(late.write(Transaction(steps, commit=True, pause=0)))
        await begun.wait()
        # With the bug a relay that looks just before an event is committed loses this one too.
        await stage.write(key="early")
        while not await stage.saved(1, LOST_SECONDS):
            await stage.write(key="early")
        await stage.stored(1)
        go_on.set()
        await writing


async def messages_vanish_on_the_way(stage: Stage) -> None:
    """They were sent, and the network broke before they arrived."""
    await stage.relay().start().active()
    await stage.write()
    await stage.stored(1)
    (link,) = stage.servers.replicas[0].nats
    link.hold()
    await stage.write(50)
    await eventually(lambda: link.held, "messages under way")
    await stage.saved(51, LOST_SECONDS)
    link.cut()
    link.heal()
    await stage.relay().active()


async def messages_held(link: TcpProxy) -> None:
    """Wait until the relay's messages are held back, not only a ping or a question before them."""

    def are_messages() -> bool:
        if link.held and link.held_bytes < _MORE_THAN_A_QUESTION:
            link.step()
        return link.held_bytes >= _MORE_THAN_A_QUESTION

    await eventually(are_messages, "messages under way")


async def a_zombie_wakes_up(stage: Stage) -> None:
    """What it sent before it was overtaken arrives when its successor has sent the same."""
    await stage.relay(0).start().active()
    await stage.relay(1).start().standing_by()
    await stage.write()
    await stage.stored(1)
    (link,) = stage.servers.replicas[0].nats
    link.hold()
    await stage.write(50)
    await messages_held(link)
    freeze(stage.relay(0).pid)
    await stage.servers.evict(stage.servers.replicas[0])
    await stage.relay(1).active()
    await stage.stored(51)
    await stage.write(5)
    await stage.stored(56)
    await asyncio.sleep(2 * stage.settings.duplicate_window_seconds)
    link.release()
    await eventually(lambda: not link.held, "everything delivered")
    stage.relay(0).signal(signal.SIGCONT)
    await stage.relay(0).standing_by()
    await stage.write()


async def killed_in_the_middle_of_a_backlog(stage: Stage) -> None:
    """The stream is ahead of the cursor, and the server remembers no ids."""
    await stage.write(1000)
    (link,) = stage.servers.replicas[0].nats
    link.bytes_per_second = 100_000
    stage.relay().start()
    await stage.stored(1)
    stage.servers.replicas[0].postgres.hold()  # nothing is saved from here on
    await stage.stored(200)
    stage.relay().kill()
    link.heal()
    stage.servers.replicas[0].postgres.heal()
    await asyncio.sleep(2 * stage.settings.duplicate_window_seconds)
    await stage.relay().start().active()
    await stage.stored(1000)


async def a_relay_starts_on_an_empty_stream(stage: Stage) -> None:
    """Everything was consumed, so that nothing tells how far the numbers are."""
    for number in range(3):
        await stage.relay().start().active()
        await stage.write(2)
        await stage.stored(2 * number + 2)
        await stage.servers.all_taken()
        stage.relay().kill()
    await stage.relay().start().active()


async def a_relay_dies_before_it_saves(stage: Stage) -> None:
    """What it published was consumed, so that the next one sends it again."""
    await stage.relay().start().active()
    await stage.write()
    await stage.stored(1)
    await stage.saved(1)
    before = await stage.cursor()
    await stage.write(5)
    await stage.stored(6)
    await stage.servers.all_taken()
    await stage.forget_saves(before)
    await stage.relay().start().active()
    await stage.write()
    await stage.stored(7)


async def a_backlog_of_one_key(stage: Stage) -> None:
    """Its events lie in many transactions."""
    for _ in range(10):
        await stage.write(3)
    await stage.relay().start().active()
    await stage.stored(30)


async def a_large_event_among_small_ones(stage: Stage) -> None:
    """It is larger than its share of a page, which small ones are read without sums in."""
    await stage.write(2500)
    await stage.write(payload=f'"{"x" * 50_000}"')
    await stage.write(1500)
    await stage.relay().start().active()
    await stage.stored(4001)


async def a_backlog_of_several_runs(stage: Stage) -> None:
    """A run ends while the page behind it is being read, and others may have their turn."""
    await stage.write(5000)
    link = stage.servers.replicas[0].postgres
    link.bytes_per_second = 200_000
    await stage.relay().start().active()
    await stage.stored(1500)
    link.heal()


async def numbers_with_many_digits(stage: Stage) -> None:
    """A parser of JSON would round them."""
    await stage.write(payload='{"total": 1.10, "id": 12345678901234567890.123456789}')
    await stage.relay().start().active()
    await stage.stored(1)


async def frames_of_an_open_run_arrive_late(stage: Stage) -> None:
    """The server took a run's beginning; its middle comes while the successor publishes the same.

    Meanwhile a row became visible whose position lies between the others'.
    """
    frozen, successor = stage.servers.replicas
    many_begun, go_on = asyncio.Event(), asyncio.Event()
    late_begun, commit = asyncio.Event(), asyncio.Event()
    async with (
        stage.writer(_at_event(many_begun, go_on)) as many,
        stage.writer(_at_event(late_begun, commit)) as late,
        stage.servers.client() as client,
    ):
        steps = (*a_transaction(200).steps, Hold(0), *a_transaction(800).steps)
        writing = asyncio.create_task(many.write(Transaction(steps, commit=True, pause=0)))
        await many_begun.wait()
        steps = (*a_transaction(3, "late").steps, Hold(0))
        writing_late = asyncio.create_task(late.write(Transaction(steps, commit=True, pause=0)))
        await late_begun.wait()
        go_on.set()
        await writing
        # Not done with all of them before a busy test has looked how far it is.
        frozen.nats[0].bytes_per_second = 20_000
        successor.nats[0].bytes_per_second = 50_000
        await frozen.process.start().active()
        await successor.process.start().standing_by()
        await stage.stored(100)
        frozen.nats[0].hold()
        await messages_held(frozen.nats[0])
        freeze(frozen.process.pid)
        frozen.nats[0].bytes_per_second = 100_000
        await stage.servers.evict(frozen)
        commit.set()
        await writing_late
        await successor.process.active()
        before = await stage.servers.stored(client)
        await stage.stored(before + 1)
    successor.nats[0].hold()
    frozen.nats[0].heal()
    await eventually(lambda: not frozen.nats[0].held, "everything delivered")
    successor.nats[0].heal()
    frozen.process.signal(signal.SIGCONT)
    await stage.stored(1003)


def _at_event(begun: asyncio.Event, go_on: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    async def hold(_: float) -> None:
        begun.set()
        await go_on.wait()

    return hold


@dataclass(frozen=True)
class Trap:
    """A scenario, and what it finds when the bug is there."""

    scenario: Callable[[Stage], Awaitable[None]]
    finding: str
    replicas: int = 1
    duplicate_window_seconds: float = 120.0
    world: str = "plain"
    outages: bool = True


TRAPS = {
    "id-cursor": Trap(a_transaction_commits_late, "lost"),
    # The relay sends again what a shorter stream has lost; the gap in the numbers tells of it.
    "drop-ack": Trap(messages_vanish_on_the_way, "misnumbered"),
    "skip-fence": Trap(a_zombie_wakes_up, "duplicate", 2, 0.1),
    "no-recovery": Trap(killed_in_the_middle_of_a_backlog, "duplicate", 1, 0.1),
    "order-by-id": Trap(a_backlog_of_one_key, "reordered"),
    "re-encode": Trap(numbers_with_many_digits, "altered"),
    "forget-predecessor": Trap(a_relay_starts_on_an_empty_stream, "unchained", world="small-new"),
    "left-out": Trap(a_large_event_among_small_ones, "buried"),
    "drop-ahead": Trap(a_backlog_of_several_runs, "lost"),
    "no-ids": Trap(a_relay_dies_before_it_saves, "duplicate", world="small-new", outages=False),
}


def test_each_bug_has_its_trap() -> None:
    planted = {trap.plant for trap in WORLD_TRAPS.values()}
    planted |= {plant for plant, _ in AUDIENCE_TRAPS.values()}
    assert set(TRAPS) | planted == set(PLANTS)


@pytest.mark.parametrize(
    "planted", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["as-it-is", "planted"]
)
async def test_traps(
    planted: bool, postgres: PostgresServer, nats: NatsServer, tmp_path: Path
) -> None:
    at_a_time = asyncio.Semaphore(_AT_A_TIME)

    async def spring(name: str, trap: Trap) -> Verdict:
        directory = tmp_path / name
        directory.mkdir()
        settings = Settings(
            seed=0, replicas=trap.replicas, plant=name if planted else "",
            duplicate_window_seconds=trap.duplicate_window_seconds,
            world=replace(WORLDS[trap.world], outages=trap.outages),
        )  # fmt: skip
        async with at_a_time, relays(settings, directory, postgres, nats) as servers:
            stage = Stage(servers, Journal(), settings)
            async with asyncio.timeout(_SCENARIO_SECONDS):
                await trap.scenario(stage)
            return await stage.verdict()

    verdicts = await asyncio.gather(*(spring(name, trap) for name, trap in TRAPS.items()))
    for (name, trap), verdict in zip(TRAPS.items(), verdicts, strict=True):
        if planted:
            assert verdict.counts[trap.finding], f"{name} was not caught: {verdict}"
        else:
            assert verdict.clean, f"{name}: {verdict}: {dict(verdict.examples)}"


async def test_late_frames_of_an_open_run_are_refused(
    postgres: PostgresServer, nats: NatsServer, tmp_path: Path
) -> None:
    """The fence is asked at the start of a run only; a successor ends the run that is open."""
    settings = Settings(seed=0, replicas=2, duplicate_window_seconds=0.1)
    async with relays(settings, tmp_path, postgres, nats) as servers:
        stage = Stage(servers, Journal(), settings)
        async with asyncio.timeout(_SCENARIO_SECONDS):
            await frames_of_an_open_run_arrive_late(stage)
        verdict = await stage.verdict()
    assert verdict.clean, dict(verdict.examples)
