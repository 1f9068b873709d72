"""The other half: from the stream to a handler that misbehaves, and every event accounted for.

Called by `delivery.listening` for worlds with an audience. Events are stored as a relay
would store them. Pods of the consumer runtime handle them, are killed and started again. In the
end every event was handled, or is a dead letter because there is something wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import nats.errors
from aiohttp import web
from nats.aio.client import Client

from delivery.settings import Settings
from delivery.verdict import Verdict
from outbox_operator.wire.config import ConsumerConfig, InboxConfig, encode
from support.consuming import Endpoint, Request, Source
from support.nats import NatsServer, unique_prefix
from support.outbox import migrate_inbox
from support.postgres import PostgresServer
from support.starter import Started, starter
from support.waiting import SECONDS, eventually

PLANTED: Final = Path(__file__).with_name("planted.py")
GUILTY: Final = "guilty"
_BURST: Final = 20
_REST_SECONDS: Final = 0.3
_A_SECOND: Final = 12
"""Events that an endpoint with a limit takes."""
_START_SECONDS: Final = 60.0
_LEAST: Final = 3 * _BURST
"""Events that are stored however long that takes: what is planted shows when they are many."""
_MOST_GUILTY: Final = 6
"""Who kills the process costs a restart each time."""

HANDLERS: Final = '''
import asyncio
import os
import signal


class PanicError(BaseException):
    """As panics of extensions come."""


async def handle(event, context):
    if event.type == "guilty":
        how = os.environ["GUILTY"]
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise PanicError("not for you")
    if context.connection is not None:
        await context.connection.execute("INSERT INTO effects VALUES ($1)", event.id)
        return
    await asyncio.sleep(0.002)
    with open("handled", "a") as file:
        file.write(event.id + "\\n")
'''


class Audience:
    """A stream, events in it, and pods that handle them.

    Attributes:
        good, guilty: Ids of events by what handlers make of them.
        handled: How often each was handled.
    """

    def __init__(self, settings: Settings, client: Client, server: NatsServer, folder: Path):
        self._settings = settings
        self._client = client
        self._server = server
        self._folder = folder
        self._random = random.Random(f"{settings.seed}/audience")
        self._endpoint = Endpoint(answer=self._answer)
        self._accepted: list[float] = []
        self._pods: dict[int, Started] = {}
        self._database: asyncpg.Connection[Any] | None = None
        self._emission = 0
        self._away = False
        self.good: list[str] = []
        self.guilty: list[str] = []
        self.handled: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    async def set_up(self, postgres: PostgresServer) -> None:
        """Stream, durable consumer, and what the handler needs."""
        kind = self._settings.world.audience
        options = dict(self._settings.world.consumer)
        source = await Source.create(
            self._client, unique_prefix(), ack_wait=options.pop("ack_wait", 1.0),
            **{"max_deliver": 3, "breaker_failures": 0, **options},
        )  # fmt: skip
        if kind == "foreign" or options.get("ordering") == "PerKey":
            await source.create_ordered()
        config = source.python("handlers:handle")
        if kind in ("limited", "unreachable"):
            await self._endpoint.start()
            config = source.http(self._endpoint)
        if kind == "foreign":
            url = await asyncio.to_thread(postgres.create_database)
            await migrate_inbox(url)
            self._database = await asyncpg.connect(url)
            await self._database.execute("CREATE TABLE effects (id text)")
            (self._folder / "url").write_text(url)
            inbox = InboxConfig(url_file=str(self._folder / "url"), mode="PerShard")
            config = replace(config, inbox=inbox)
        self.source = replace(source, config=config)
        (self._folder / "handlers.py").write_text(HANDLERS)
        (self._folder / "handled").touch()

    async def run(self) -> None:
        """Store events for a while, and have them handled."""
        settings, begun = self._settings, time.monotonic()
        for number in range(settings.replicas):
            self._pods[number] = self._pod(number)
        until = begun + settings.seconds
        async with asyncio.TaskGroup() as group:
            restarting = group.create_task(self._restart())
            breaking = group.create_task(self._break(until))
            while time.monotonic() < until or self._emission < _LEAST:
                await self._store(_BURST)
                rest = _REST_SECONDS / settings.pace
                if settings.world.audience == "limited" and settings.seconds > 1:
                    rest = _BURST / _A_SECOND
                await asyncio.sleep(rest)
            await breaking
            await self._settled()
            restarting.cancel()
        await self._count()

    async def _store(self, count: int) -> None:
        """Some events, one of them perhaps guilty, or with a number that no relay wrote."""
        draw, kind = self._random, self._settings.world.audience
        for _ in range(count):
            guilty = (
                kind in ("killers", "raisers")
                and draw.random() < 0.1
                and len(self.guilty) < _MOST_GUILTY
            )
            self._emission += 1
            emission = str(self._emission)
            if kind == "foreign" and draw.random() < 0.3:
                emission = draw.choice(("1", str(2**63 - 1), "9" * 5000, "-3", "x", "7"))
            event = str(uuid.UUID(int=draw.getrandbits(128), version=4))
            await self.source.publish(
                {"n": self._emission}, id=event, type=GUILTY if guilty else "good",
                **{
                    "Ce-Partitionkey": f"k{draw.randrange(9)}", "Outbox-Shard": "0",
                    "Outbox-Emission": emission,
                },
            )  # fmt: skip
            (self.guilty if guilty else self.good).append(event)

    async def _answer(self, request: Request) -> web.Response:
        """An endpoint that takes so many a second, and tells the others to come later."""
        now = time.monotonic()
        if self._away:
            return web.Response(status=self._random.choice((502, 503, 504)))
        self._accepted = [moment for moment in self._accepted if now - moment < 1.0]
        if self._settings.world.audience == "limited" and len(self._accepted) >= _A_SECOND:
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._accepted.append(now)
        self.handled[request.id] += 1
        return web.Response(status=204)

    def _config(self, _number: int) -> ConsumerConfig:
        """What a pod reads."""
        return self.source.config

    def _pod(self, number: int) -> Started:
        path = self._folder / f"pod-{number}.json"
        path.write_text(encode(replace(self._config(number), health_port=0)))
        plant = self._settings.plant
        program = [str(PLANTED), plant] if plant else []
        temporary = self._folder / f"tmp-{number}"
        temporary.mkdir(exist_ok=True)
        how = {"killers": "kill", "raisers": "raise"}.get(self._settings.world.audience, "")
        with (self._folder / f"pod-{number}.log").open("ab") as log:
            return starter("consume").start(
                {
                    **os.environ, "OUTBOX_CONFIG": str(path), "GUILTY": how,
                    "TMPDIR": str(temporary),
                },
                log.fileno(), folder=self._folder, program=program,
            )  # fmt: skip

    async def _restart(self) -> None:
        """As Kubernetes does."""
        while True:
            for number, pod in list(self._pods.items()):
                if pod.poll() is not None:
                    self._pods[number] = self._pod(number)
            await asyncio.sleep(0.05)

    async def _break(self, until: float) -> None:
        """What happens around it."""
        draw, settings = self._random, self._settings
        if settings.world.audience == "unreachable":
            await eventually(lambda: bool(self.handled), "the first event handled")
            await self._endpoint.stop()
            self.faults["endpoint-away"] += 1
            await self._store(_BURST)
            await asyncio.sleep(max(0.5, min(5.0, settings.seconds / 8)))
            self._away = True  # and so says what stands before it
            await self._endpoint.start()
            await asyncio.sleep(max(0.5, min(5.0, settings.seconds / 8)))
            self._away = False
        while (wait := draw.expovariate(settings.pace / 10)) < until - time.monotonic():
            await asyncio.sleep(wait)
            if draw.random() < 0.7:
                self._pods[draw.choice(sorted(self._pods))].terminate()
                self.faults["pod-terminate"] += 1
            elif settings.world.audience != "killers":
                self._pods[draw.choice(sorted(self._pods))].kill()
                self.faults["pod-kill"] += 1

    async def _settled(self) -> None:
        """Wait as long as anything moves."""
        best, deadline = 0, time.monotonic() + _START_SECONDS
        total = len(self.good) + len(self.guilty)
        while time.monotonic() < deadline:
            with contextlib.suppress(nats.errors.Error):
                info = await self.source.info()
                if info.num_ack_pending == 0 and info.ack_floor.stream_seq >= total:
                    return
                done = info.delivered.stream_seq - info.num_ack_pending
                if done > best:
                    best, deadline = done, time.monotonic() + self._settings.patience_seconds
            await asyncio.sleep(0.05)

    async def _count(self) -> None:
        if self._database is not None:
            self.handled.update(
                record[0] for record in await self._database.fetch("SELECT id FROM effects")
            )
        self.handled.update((self._folder / "handled").read_text().split())

    async def verdict(self) -> Verdict:
        """Every event was handled, or is a dead letter for a reason."""
        verdict = Verdict()
        letters = {
            (letter.headers or {})["Ce-Id"]: (letter.headers or {})["Outbox-Dead-Letter-Error"]
            for letter in await self.source.dead_letters()
        }
        for event in self.good:
            if event in letters:
                verdict.add("buried", f"event {event}: {letters[event][:200]}")
            elif not self.handled[event]:
                verdict.add("lost", f"event {event}: neither handled nor a dead letter")
            elif self.handled[event] > 1 and self._database is not None:
                verdict.add("duplicate", f"event {event}: {self.handled[event]} effects")
        for event in self.guilty:
            if event not in letters:
                verdict.add("lost", f"event {event}: should be a dead letter, and is none")
        return verdict

    async def close(self) -> None:
        """End the pods."""
        for pod in self._pods.values():
            if pod.poll() is None:
                pod.kill()
            pod.wait(SECONDS)
        await self._endpoint.stop()
        if self._database is not None:
            await self._database.close()
