"""An archive under load while what writes, its database and its broker are killed, over and over.

`make check-archive` runs it as long as one likes, the suite once with a fault of each kind. It ends
with an account: every event once, the ledger without a gap, the seals as they were made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg
import nats.errors

from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.errors import OutboxError
from outbox_operator.wire.archive import ArchiveSealing
from outbox_operator.wire.config import NatsConfig, encode
from support.archiving import ArchivePlace, Stream, relayed, write_process
from support.nats import NatsServer, connected, unique_prefix
from support.postgres import PostgresServer
from support.waiting import ended, eventually

FAULTS: Final = ("writer", "database", "broker")
_PROCESSES: Final = 2
_AT_ONCE: Final = 50
"""Messages published together."""
_STEP: Final = 300
"""Events that are archived between two faults, at least."""
_AWAY: Final = (
    OSError, OutboxError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a soak comes to.

    Attributes:
        published: Numbers that the broker has taken, each at least once.
        messages: In the stream; more than `published` where an answer was lost.
        rows: Events in the archive.
        numbers: Different numbers among them.
        ledger: Ranges of the ledger; one: nothing is missing.
        wrong: What `verify` finds.
        seals: How many.
        faults: How often what was killed.
        seconds: How long it took.
    """

    published: int
    messages: int
    rows: int
    numbers: int
    ledger: list[tuple[int, int]]
    wrong: list[str]
    seals: int
    faults: dict[str, int]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every event is there, once, and known to be."""
        return (
            self.rows == self.numbers == self.published
            and self.ledger == [(1, self.published)]
            and not self.wrong
            and self.seals > 0
        )


class Soak:
    """What runs. Make it with `soaking`."""

    def __init__(self, postgres: PostgresServer, broker: NatsServer, place: ArchivePlace) -> None:
        self._postgres = postgres
        self._broker = broker
        self._place = place
        self._stream = unique_prefix()
        self._published = 0
        self._document = Path()
        self._writers: list[subprocess.Popen[bytes]] = []
        self._faults = dict.fromkeys(FAULTS, 0)
        self._stopping = False
        self._began = time.monotonic()

    async def set_up(self, folder: Path) -> None:
        """Tables, a stream, and the processes that write."""
        async with connected(self._broker) as client:
            await Stream(client, self._stream).make()
        self._place.change(
            nats=NatsConfig(url=self._broker.url),
            stream=self._stream.upper(),
            batch_events=200,
        )
        await self._place.migrate()
        self._document = folder / "config.json"
        self._document.write_text(encode(self._place.config))
        # Upkeep, which runs in this process, seals whatever there is.
        self._place.change(sealing=ArchiveSealing(every_seconds=0, after_seconds=0))
        self._writers = [write_process(self._document) for _ in range(_PROCESSES)]

    async def run(self, faults: Iterable[str]) -> Account:
        """Publish all the time; after each few hundred events one of the faults."""
        publishing = asyncio.create_task(self._publish())
        try:
            for fault in faults:
                before = await self._archived()
                await self._reached(before + _STEP)
                await self._break(fault)
                with contextlib.suppress(OutboxError):
                    await self._place.upkeep()
        finally:
            # nats-py swallows the cancellation of who waits for an answer.
            self._stopping = True
            await ended(publishing, "the end of publishing")
        return await self._account()

    def close(self) -> None:
        """End the processes."""
        for process in self._writers:
            process.kill()
            process.wait(60)

    async def _publish(self) -> None:
        """Numbers until the end; one whose answer was lost is published again."""
        while not self._stopping:
            with contextlib.suppress(*_AWAY, TimeoutError):
                async with connected(self._broker) as client:
                    while not self._stopping:
                        numbers = range(self._published + 1, self._published + _AT_ONCE + 1)
                        # Some are published twice, as by somebody who lost the answers.
                        twice = 2 if self._published % (10 * _AT_ONCE) == 0 else 1
                        await asyncio.gather(
                            *(
                                client.jetstream().publish(
                                    f"{self._stream}.x",
                                    json.dumps({"actor": {"id": "a"}, "n": number}).encode(),
                                    headers=relayed(number),
                                    timeout=5,
                                )
                                for number in (*numbers,) * twice
                            )
                        )
                        self._published = numbers[-1]
            await asyncio.sleep(0.1)

    async def _break(self, fault: str) -> None:
        """Kill it in the middle of its work, and start it again."""
        self._faults[fault] += 1
        if fault == "writer":
            victim = self._writers.pop(0)
            victim.kill()
            await asyncio.to_thread(victim.wait, 60)
            self._writers.append(write_process(self._document))
        elif fault == "database":
            await asyncio.to_thread(self._postgres.kill)
            await asyncio.to_thread(self._postgres.start)
        else:
            await asyncio.to_thread(self._broker.kill)
            await asyncio.to_thread(self._broker.start)

    async def _archived(self) -> int:
        async with self._root() as root:
            return int(await root.fetchval("SELECT count(*) FROM archive.events"))

    async def _reached(self, count: int) -> None:
        async def there() -> bool:
            ended = [process.poll() for process in self._writers]
            assert ended == [None] * _PROCESSES, f"what writes ended by itself: {ended}"
            with contextlib.suppress(*_AWAY):
                return await self._archived() >= count
            return False

        await eventually(there, f"{count} events are archived")

    async def _account(self) -> Account:
        """Wait until all is answered, and count."""
        # What was published last, and nobody knows whether it was taken, is published once more.
        async with connected(self._broker) as client:
            stream = Stream(client, self._stream)
            await stream.emit(range(self._published + 1, self._published + _AT_ONCE + 1))
            self._published += _AT_ONCE
            await stream.settled()
            info = await client.jetstream().stream_info(self._stream.upper())
        for process in self._writers:
            process.terminate()
            await asyncio.to_thread(process.wait, 60)
        await self._place.upkeep()
        well, said = await keeping.verify(self._place.config)
        async with self._root() as root:
            rows, numbers = await root.fetchrow(
                "SELECT count(*), count(DISTINCT emission) FROM archive.events"
            ) or (0, 0)
            ledger = await root.fetch("SELECT low, high FROM archive.ledger ORDER BY low")
            seals = await root.fetchval("SELECT count(*) FROM archive.seals WHERE kind = 'rows'")
        return Account(
            published=self._published,
            messages=int(info.state.messages),
            rows=rows,
            numbers=numbers,
            ledger=[(row["low"], row["high"]) for row in ledger],
            wrong=[] if well else list(said),
            seals=seals,
            faults=self._faults,
            seconds=time.monotonic() - self._began,
        )

    @asynccontextmanager
    async def _root(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        connection = await asyncpg.connect(self._place.url, timeout=30)
        try:
            yield connection
        finally:
            connection.terminate()


@asynccontextmanager
async def soaking(folder: Path) -> AsyncIterator[Soak]:
    """Servers of one's own, an archive, and what writes it."""
    async with AsyncExitStack() as stack:
        postgres, broker = PostgresServer(), NatsServer()
        stack.callback(postgres.remove)
        stack.callback(broker.close)
        await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(broker.start))
        place = ArchivePlace(postgres, postgres.create_database(), folder)
        await stack.enter_async_context(place)
        soak = Soak(postgres, broker, place)
        stack.callback(soak.close)
        await soak.set_up(folder)
        yield soak


def endless(seconds: float, seed: int) -> Iterable[str]:
    """Faults by chance, for so long."""
    generator, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        yield generator.choice(FAULTS)


async def main() -> int:
    """Run it for as long as asked; 0 if it ends complete."""
    parser = argparse.ArgumentParser(prog="make check-archive")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    args = parser.parse_args()
    sys.stderr.write(f"seed {args.seed}, {args.seconds:g} s\n")
    with tempfile.TemporaryDirectory() as folder:
        async with soaking(Path(folder)) as soak:
            account = await soak.run(endless(args.seconds, args.seed))
    said = asdict(account) | {"complete": account.complete}
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
    return 0 if account.complete else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
