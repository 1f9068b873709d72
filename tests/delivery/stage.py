"""What directed scenarios are made of: relays at work, writers that keep a journal, a verdict.

Used by `test_plants` and `test_worlds`.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import asyncpg

from delivery.content import Draft, Emit, Transaction
from delivery.journal import Journal
from delivery.run import at_rest, compare
from delivery.second_opinion import disagreements
from delivery.servers import Servers, until
from delivery.settings import Settings
from delivery.verdict import Verdict
from delivery.workload import Writer
from support.postgres import sessions_ended
from support.relaying import RelayProcess, go_back
from support.waiting import SECONDS, eventually

LOST_SECONDS: Final = 3.0
"""What is not in the stream by then, with everything healed, is not going to be."""


@dataclass
class Stage:
    """Relays, one of them at work, and a writer."""

    servers: Servers
    journal: Journal
    settings: Settings
    _endings: list[Callable[[], object]] = field(default_factory=list)

    def at_end(self, do: Callable[[], object]) -> None:
        """Do something when the verdict has fallen."""
        self._endings.append(do)

    def end(self) -> None:
        """The verdict has fallen."""
        for do in self._endings:
            do()

    def relay(self, number: int = 0) -> RelayProcess:
        return self.servers.replicas[number].process

    @contextlib.asynccontextmanager
    async def writer(
        self, hold: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[Writer]:
        connection = await asyncpg.connect(self.servers.database_url)
        try:
            yield Writer(connection, self.journal, hold)
        finally:
            await connection.close()

    async def write(self, count: int = 1, key: str = "k", payload: str = "{}") -> None:
        """Commit events of one key in one transaction."""
        async with self.writer() as writer:
            await writer.write(a_transaction(count, key, payload))

    async def stored(self, count: int) -> None:
        """Wait until the stream has so many messages."""
        async with self.servers.client() as client:

            async def enough() -> bool:
                return await self.servers.stored(client) >= count

            await eventually(enough, f"{count} messages", relay=self.relay())

    async def saved(self, emission: int, seconds: float = SECONDS) -> bool:
        """Whether the cursor is as far as that within some seconds."""
        async with self.writer() as writer:
            return await until(lambda: self._saved(writer, emission), seconds)

    async def cursor(self) -> asyncpg.Record:
        """The row of shard 0."""
        async with self.writer() as writer:
            found: asyncpg.Record | None = await writer.connection.fetchrow(
                "SELECT * FROM outbox.cursors"
            )
        assert found is not None
        return found

    async def forget_saves(self, before: asyncpg.Record) -> None:
        """Kill the relay and take its saves back, as if it had died before the first of them."""
        self.relay().kill()
        await sessions_ended(self.servers.database_url, "application_name LIKE 'outbox-relay %'")
        async with self.writer() as writer:
            await go_back(writer.connection, before)
        await asyncio.sleep(2 * min(0.1, self.settings.duplicate_window_seconds))

    @staticmethod
    async def _saved(writer: Writer, emission: int) -> bool:
        found = await writer.connection.fetchval("SELECT sum(emission) FROM outbox.cursors")
        return int(found) >= emission

    async def verdict(self) -> Verdict:
        """Once all is there, or lost, and every relay has looked again and found nothing to do."""
        async with self.servers.client() as client:

            async def all_stored() -> bool:
                return await self.servers.stored(client) >= await self.servers.committed()

            await until(all_stored, LOST_SECONDS if self.settings.plant else SECONDS)
        relays = [replica.process for replica in self.servers.replicas if replica.process.running]
        polls = [relay.metric("polls_total") for relay in relays]
        for relay, before in zip(relays, polls, strict=True):
            await eventually(partial(at_rest, relay, before + 3), "rest", relay=relay)
        verdict = (await compare(self.settings, self.servers, self.journal))[0]
        differing = await disagreements(self.settings, self.servers, verdict)
        assert not differing, f"{self.settings.plant}: {differing}"
        return verdict


def a_transaction(count: int = 1, key: str = "k", payload: str = "{}") -> Transaction:
    drafts = [
        Draft(str(uuid.uuid4()), "order.created", key, None, payload, "{}") for _ in range(count)
    ]
    return Transaction(tuple(map(Emit, drafts)), commit=True, pause=0)
