"""Faults as they happen: inflict, wait, heal.

Called by `delivery.run` with what `delivery.schedule` drew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import asyncpg

from delivery.schedule import LANES, Fault, Lane
from delivery.servers import Replica, Servers
from support.nats import NatsServer
from support.processes import freeze
from support.tcp_proxy import TcpProxy

_SLOWEST_SECONDS: Final = 0.2
_NARROWEST_BYTES: Final = 30_000
_TERMINATE_SECONDS: Final = 20.0
"""Longer than `drain_seconds`: what takes more is killed, as Kubernetes would."""


class Faults:
    """Makes faults happen, and counts those that did."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._do: dict[str, Callable[[Fault], contextlib.AbstractAsyncContextManager[bool]]] = {
            "relay-kill": self._relay_kill,
            "relay-away": self._relay_kill,
            "relay-terminate": self._relay_terminate,
            "relay-freeze": self._relay_freeze,
            "relay-zombie": self._relay_zombie,
            "broker-kill": self._broker_kill,
            "broker-rollback": self._broker_rollback,
            "broker-freeze": self._broker_freeze,
            "leader-kill": self._leader_kill,
            "postgres-crash": self._postgres_crash,
            "postgres-evict": self._postgres_evict,
        }
        for effect in (self._cut, self._slow, self._hold, self._lose):
            for link in ("postgres", "nats"):
                self._do[f"{link}-link-{effect.__name__[1:]}"] = effect
        self._lanes: defaultdict[tuple[Lane, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.happened: Counter[str] = Counter()

    async def run(self, faults: Sequence[Fault]) -> None:
        """All of them at their times; returns when the last is healed."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._one(fault, start))

    async def _one(self, fault: Fault, start: float) -> None:
        await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
        lane = self._lanes[LANES[fault.kind], fault.target]
        # Healing may take longer than was drawn; the next one of the lane waits for it.
        async with lane, self._do[fault.kind](fault) as happened:
            self.happened[fault.kind] += happened
            await asyncio.sleep(fault.seconds if happened else 0)

    def _replica(self, fault: Fault) -> Replica:
        return self._servers.replicas[fault.target]

    def _links(self, fault: Fault) -> list[TcpProxy]:
        replica = self._replica(fault)
        return [replica.postgres] if fault.kind.startswith("postgres") else replica.nats

    @contextlib.asynccontextmanager
    async def _relay_kill(self, fault: Fault) -> AsyncIterator[bool]:
        replica = self._replica(fault)
        replica.down = True
        replica.process.kill()
        yield True
        replica.process.start()
        replica.down = False

    @contextlib.asynccontextmanager
    async def _relay_terminate(self, fault: Fault) -> AsyncIterator[bool]:
        replica = self._replica(fault)
        if not replica.process.running:
            yield False
            return
        replica.down = True
        replica.process.signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(replica.process.wait, _TERMINATE_SECONDS)
            unprepared = code == -signal.SIGTERM and "relay started" not in replica.process.log
            if code and not unprepared:
                replica.exits.append(code)
        except subprocess.TimeoutExpired:
            replica.process.kill()
            self.happened["relay-terminate-too-slow"] += 1
        yield True
        replica.process.start()
        replica.down = False

    @contextlib.asynccontextmanager
    async def _relay_freeze(self, fault: Fault) -> AsyncIterator[bool]:
        process = self._replica(fault).process
        if not process.running:
            yield False
            return
        pid = process.pid
        await asyncio.to_thread(freeze, pid)
        yield True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _relay_zombie(self, fault: Fault) -> AsyncIterator[bool]:
        async with self._relay_freeze(fault) as happened:
            if happened:
                await self._evict(self._replica(fault))
            yield happened

    @contextlib.asynccontextmanager
    async def _cut(self, fault: Fault) -> AsyncIterator[bool]:
        for link in self._links(fault):
            link.cut()
        yield True

    @contextlib.asynccontextmanager
    async def _slow(self, fault: Fault) -> AsyncIterator[bool]:
        for link in self._links(fault):
            if fault.dice < 0.5:
                link.delay_seconds = 2 * fault.dice * _SLOWEST_SECONDS
            else:
                link.bytes_per_second = round(_NARROWEST_BYTES / (fault.dice - 0.49))
        yield True
        for link in self._links(fault):
            link.heal()

    @contextlib.asynccontextmanager
    async def _hold(self, fault: Fault) -> AsyncIterator[bool]:
        for link in self._links(fault):
            link.hold()
        yield True
        for link in self._links(fault):
            link.heal()

    @contextlib.asynccontextmanager
    async def _lose(self, fault: Fault) -> AsyncIterator[bool]:
        async with self._hold(fault) as happened:
            yield happened
            for link in self._links(fault):
                link.cut()

    def _member(self, fault: Fault) -> NatsServer:
        members = self._servers.members
        return members[int(fault.dice * len(members))]

    @contextlib.asynccontextmanager
    async def _broker_kill(self, fault: Fault) -> AsyncIterator[bool]:
        async with self._killed(self._member(fault)):
            yield True

    @contextlib.asynccontextmanager
    async def _leader_kill(self, fault: Fault) -> AsyncIterator[bool]:
        leader = await self._servers.leader()
        if leader is None:
            yield False
            return
        async with self._killed(leader):
            yield True

    @contextlib.asynccontextmanager
    async def _killed(self, member: NatsServer) -> AsyncIterator[None]:
        await asyncio.to_thread(member.kill)
        yield
        await asyncio.to_thread(member.start)

    @contextlib.asynccontextmanager
    async def _broker_rollback(self, fault: Fault) -> AsyncIterator[bool]:
        (member,) = self._servers.members
        await asyncio.to_thread(member.stop)
        await asyncio.to_thread(member.copy_store)
        await asyncio.to_thread(member.start)
        yield True
        await asyncio.to_thread(member.kill)
        await asyncio.to_thread(member.restore_store)
        await asyncio.to_thread(member.start)

    @contextlib.asynccontextmanager
    async def _broker_freeze(self, fault: Fault) -> AsyncIterator[bool]:
        member = self._member(fault)
        await asyncio.to_thread(member.pause)
        yield True
        member.resume()

    @contextlib.asynccontextmanager
    async def _postgres_crash(self, fault: Fault) -> AsyncIterator[bool]:
        postgres = self._servers.postgres
        await asyncio.to_thread(postgres.stop, "immediate")
        yield True
        await asyncio.to_thread(postgres.start)

    @contextlib.asynccontextmanager
    async def _postgres_evict(self, _: Fault) -> AsyncIterator[bool]:
        yield all([await self._evict(replica) for replica in self._servers.replicas])

    async def _evict(self, replica: Replica) -> bool:
        """Whether PostgreSQL was there to do it."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._servers.evict(replica)
            return True
        return False
