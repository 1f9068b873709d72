"""One run from the first row to the verdict.

Called by `delivery.__main__` and by tests. Writers write and faults happen; then everything is
healed, the writers end, and when nothing waits any more database and stream are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from delivery import schedule
from delivery.expected import Stored
from delivery.faults import Faults
from delivery.journal import Fate, Journal, digest
from delivery.redis_servers import running_redis
from delivery.replays import Replays
from delivery.second_opinion import disagreements
from delivery.servers import Servers, running, until
from delivery.settings import Settings
from delivery.verdict import CHECKS, Verdict, judge
from delivery.workload import Workload
from support.relaying import RelayProcess

COPY_SECONDS: Final = 3.0
"""On one server at rest copies take no time; where they may be lost nobody waits for longer."""
QUIET_SECONDS: Final = 60.0
"""How long a healed system may take without any progress until the last event is in the stream."""
MOST_MEGABYTES: Final = 400
"""Memory that a relay may take, whatever the rows hold: less than its pod has."""
REPORT_SECONDS: Final = 10.0
LOGS: Final = Path("build/delivery/logs")


@dataclass
class Result:
    """What happened, and the verdict.

    Attributes:
        events: Committed rows; `messages`: what the stream holds.
        transactions: By how they ended.
        faults: By kind.
        exits: Codes with which relays ended by themselves.
        troubles: What is wrong apart from the verdict, in words.
        caught_up_seconds: From the end of all faults until every event was in the stream.
    """

    settings: Settings
    verdict: Verdict
    events: int
    messages: int
    transactions: Counter[str]
    rolled_back_events: int
    unknown_events: int
    faults: Counter[str]
    exits: list[int]
    troubles: list[str]
    seconds: float
    caught_up_seconds: float
    logs: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether everything was as promised."""
        return self.verdict.clean and not self.troubles

    def document(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "passed": self.passed,
            "settings": asdict(self.settings),
            "counts": {check: self.verdict.counts[check] for check in CHECKS},
            "examples": dict(self.verdict.examples),
            "troubles": self.troubles,
            "events": self.events,
            "messages": self.messages,
            "rolled_back_events": self.rolled_back_events,
            "unknown_events": self.unknown_events,
            "transactions": dict(self.transactions),
            "faults": dict(self.faults),
            "exits": self.exits,
            "seconds": round(self.seconds, 1),
            "caught_up_seconds": round(self.caught_up_seconds, 1),
            "logs": str(self.logs) if self.logs else None,
        }


async def run(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Result:
    """Do a whole run.

    Args:
        say: Told about the progress, a line at a time.
    """
    faults = schedule.draw(
        settings.seed, settings.seconds, replicas=settings.replicas,
        cluster=settings.servers == "cluster", only=settings.faults, pace=settings.pace,
        rollbacks=settings.world.rollbacks, outages=settings.world.outages,
    )  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="outbox-delivery-") as scratch:
        directory = Path(scratch)
        begin = running_redis if settings.sink == "redis" else running
        async with begin(settings, directory) as servers:
            result = await _run(settings, servers, faults, say, started)
            if not result.passed:
                result.logs = _keep_logs(settings, servers, directory)
    return result


async def _run(
    settings: Settings,
    servers: Servers,
    faults: list[schedule.Fault],
    say: Callable[[str], None],
    started: float,
) -> Result:
    journal = Journal()
    workload = Workload(
        servers.database_url, journal, seed=settings.seed, writers=settings.writers,
        rate=settings.rate, payload_type=settings.payload_type, hold_seconds=settings.hold_seconds,
        wave=settings.wave, bulk=settings.world.bulk,
        hostile=settings.world.hostile, fuzz=settings.world.fuzz,
    )  # fmt: skip
    inflicted = Faults(servers)
    for replica in servers.replicas:
        replica.process.start()
    supervision = asyncio.create_task(servers.supervise())
    reports = asyncio.create_task(_report(servers, journal, inflicted, say))
    writing = asyncio.create_task(workload.run())
    replays = Replays(servers.database_url, settings.seed)
    replaying = asyncio.create_task(replays.run() if settings.world.replays else asyncio.sleep(0))
    try:
        begun = time.monotonic()
        await inflicted.run(faults)
        await asyncio.sleep(max(0.0, begun + settings.seconds - time.monotonic()))
        await servers.heal()
        workload.stop()
        await writing
        replays.stop()
        await replaying
        healed = time.monotonic()
        troubles = await _come_to_rest(
            settings, servers, last_restart=settings.last_restart and settings.world.exact
        )
        caught_up = time.monotonic() - healed
    finally:
        tasks = (reports, supervision, writing, replaying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if supervision.done() and not supervision.cancelled() and supervision.exception():
        troubles.append(f"the supervisor failed: {supervision.exception()!r}")
    verdict, events, messages = await compare(settings, servers, journal)
    troubles += replays.troubles
    inflicted.happened["replay"] += replays.done
    troubles += await disagreements(settings, servers, verdict)
    troubles += [
        f"relay {number} took {most} MB"
        for number, replica in enumerate(servers.replicas)
        if (most := replica.process.peak_kilobytes() // 1024) > MOST_MEGABYTES
    ]
    exits = [code for replica in servers.replicas for code in replica.exits]
    if any(exits):
        troubles.append(f"relays ended by themselves with codes {exits}")
    return Result(
        settings=settings,
        verdict=verdict,
        events=events,
        messages=messages,
        transactions=journal.transactions,
        rolled_back_events=journal.count(Fate.ROLLED_BACK),
        unknown_events=journal.count(Fate.UNKNOWN),
        faults=inflicted.happened,
        exits=exits,
        troubles=troubles,
        seconds=time.monotonic() - started,
        caught_up_seconds=caught_up,
    )


async def compare(
    settings: Settings, servers: Servers, journal: Journal
) -> tuple[Verdict, int, int]:
    """The verdict on what is in database and stream now, and how many rows and messages are."""
    messages = await servers.messages(servers.stream)
    stored = {message.event for message in messages}
    rows = await servers.rows(unread=journal.poison - stored)
    letters = await servers.dead_letters()
    verdict = judge(
        rows, messages, settings.form(servers.stream), journal.fates, settings.promise,
        letters=letters, poison=journal.poison,
    )  # fmt: skip
    if settings.world.copies:
        await _compare_copies(settings, servers, messages, verdict)
    for row in rows:
        if row.event_id in letters or row.event_id in journal.odd:
            continue
        text = row.payload.decode() if settings.payload_type == "jsonb" else row.payload
        if journal.payloads.get(row.event_id) != digest(text):
            verdict.add("unjournaled", f"event {row.event_id}: another payload than was written")
    return verdict, len(rows), len(messages)


async def _compare_copies(
    settings: Settings, servers: Servers, messages: Sequence[Stored], verdict: Verdict
) -> None:
    """What the stream has, its copy has: the same, and in the same order."""
    wanted = [message.event for message in messages]

    async def copied() -> list[str]:
        copies = await servers.messages(f"{servers.stream}-copy")
        return [message.event for message in copies]

    async def complete() -> bool:
        return set(wanted) <= set(await copied())

    # In a cluster the copying server looks only now and then for the new leader of the source.
    losing = settings.plant and settings.servers == "single"
    await until(complete, COPY_SECONDS if losing else settings.patience_seconds)
    found = await copied()
    for event in set(wanted) - set(found):
        verdict.add("lost", f"event {event}: not in the stream of copies")
    order = {event: place for place, event in enumerate(dict.fromkeys(found))}
    places = [order[event] for event in wanted if event in order]
    if not settings.world.drops and places != sorted(places):
        verdict.add("reordered", "the stream of copies has another order")


async def _come_to_rest(settings: Settings, servers: Servers, *, last_restart: bool) -> list[str]:
    """Wait until everything is published and every relay says so; what is wrong in words."""
    troubles = []
    async with servers.client() as client:
        if last_restart:
            await servers.forget_ids()
        # Where nobody can count them, relays that find nothing to do have sent all, and the verdict
        # is about what the stream has.
        if settings.world.countable and not await _all_stored(servers, client):
            troubles.append(f"not every event was in the stream {QUIET_SECONDS:g} s after the last")
        if last_restart:
            for replica in servers.replicas:
                replica.down = True
                replica.process.kill()
                replica.process.start()
                replica.down = False

    async def all_at_rest() -> bool:
        return all(
            [await asyncio.to_thread(at_rest, replica.process) for replica in servers.replicas]
        )

    if not await until(all_at_rest, QUIET_SECONDS):
        for number, replica in enumerate(servers.replicas):
            failing = await asyncio.to_thread(replica.process.failing)
            troubles.append(f"relay {number} does not come to rest: {failing or 'finds rows'}")
    return troubles


async def _all_stored(servers: Servers, client: Any) -> bool:
    """Whether the stream has enough messages; waits as long as there is progress."""
    best, deadline = -1, 0.0
    while True:
        found, wanted = -1, 0
        with contextlib.suppress(Exception):  # a server that just came back may refuse
            wanted = await servers.committed()
            found = await servers.stored(client)
        if 0 < wanted <= found:
            return True
        if found > best:
            best, deadline = found, time.monotonic() + QUIET_SECONDS
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)


def at_rest(relay: RelayProcess, polls: float = 2) -> bool:
    """Whether a relay is ready, has polled so often, and finds nothing to do."""
    return (
        relay.get("/readyz")[0] == 200
        and relay.metric("known_backlog_rows") == 0
        and relay.metric("polls_total") >= polls * relay.metric("owner")
    )


async def _report(
    servers: Servers, journal: Journal, faults: Faults, say: Callable[[str], None]
) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        stored = "?"
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2), servers.client() as client:
                stored = str(await servers.stored(client))
        say(
            f"{time.monotonic() - started:5.0f} s  "
            f"events committed {journal.count(Fate.COMMITTED)}, in the stream {stored}, "
            f"faults {faults.happened.total()}"
        )


def keep_logs(settings: Settings, directory: Path) -> Path:
    """Copy what the processes said to where a person finds it."""
    kept = LOGS / f"seed-{settings.seed}-{time.strftime('%H%M%S')}"
    kept.mkdir(parents=True, exist_ok=True)
    for log in directory.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _keep_logs(settings: Settings, servers: Servers, directory: Path) -> Path:
    kept = keep_logs(settings, directory)
    for number, member in enumerate(servers.members):
        (kept / f"nats-{number}.log").write_text(member.log)
    (kept / "postgres.log").write_text(servers.postgres.log())
    return kept
