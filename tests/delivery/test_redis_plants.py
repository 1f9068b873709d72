"""Planted bugs are caught on Redis too, by the scenarios that catch them on JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from delivery.journal import Journal
from delivery.redis_servers import RedisServers
from delivery.servers import set_up
from delivery.settings import Settings
from delivery.stage import Stage
from delivery.test_plants import a_transaction_commits_late, messages_vanish_on_the_way
from delivery.test_worlds import the_store_is_put_back
from delivery.verdict import Verdict
from delivery.worlds import WORLDS
from support.postgres import PostgresServer, running_server
from support.redis import RedisServer

pytestmark = pytest.mark.integration

_SCENARIO_SECONDS = 180.0

TRAPS: dict[str, tuple[Callable[[Stage], Awaitable[None]], str, str]] = {
    "id-cursor": (a_transaction_commits_late, "lost", "plain"),
    "drop-ack": (messages_vanish_on_the_way, "misnumbered", "plain"),
    "believe-the-stream": (the_store_is_put_back, "lost", "rollback"),
}
"""What is planted: what brings it about, what it is caught as, in which world."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize(
    "planted", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["as-it-is", "planted"]
)
async def test_traps(planted: bool, postgres: PostgresServer, tmp_path: Path) -> None:
    async def spring(name: str) -> Verdict:
        scenario, _, world = TRAPS[name]
        directory = tmp_path / name
        directory.mkdir()
        settings = Settings(
            seed=0, sink="redis", plant=name if planted else "", world=WORLDS[world]
        )
        with RedisServer() as redis:
            async with set_up(RedisServers(settings, postgres, redis), directory) as servers:
                stage = Stage(servers, Journal(), settings)
                async with asyncio.timeout(_SCENARIO_SECONDS):
                    await scenario(stage)
                return await stage.verdict()

    verdicts = await asyncio.gather(*map(spring, TRAPS))
    for (name, (_, finding, _)), verdict in zip(TRAPS.items(), verdicts, strict=True):
        if planted:
            assert verdict.counts[finding], f"{name} was not caught: {verdict}"
        else:
            assert verdict.clean, f"{name}: {verdict}: {dict(verdict.examples)}"
