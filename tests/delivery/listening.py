"""One run of a world with an audience, from the first event to the verdict.

Called by `delivery.__main__` and by tests.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from delivery.audience import Audience
from delivery.groups import Groups
from delivery.lanes import Lanes
from delivery.run import Result, keep_logs
from delivery.settings import Settings
from support.nats import NatsServer, connected
from support.postgres import PostgresServer, running_server


async def run(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Result:
    """A whole run with servers of its own."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="outbox-audience-") as scratch,
        running_server() as postgres,
        NatsServer() as server,
    ):
        async with listening(settings, Path(scratch), postgres, server) as audience:
            await audience.run()
            verdict = await audience.verdict()
            kept = None if verdict.clean else keep_logs(settings, Path(scratch))
    total = len(audience.good) + len(audience.guilty)
    say(f"{total} events, {len(audience.guilty)} of them guilty")
    return Result(
        settings=settings, verdict=verdict, events=total, messages=total, transactions=Counter(),
        rolled_back_events=0, unknown_events=0, faults=audience.faults, exits=[], troubles=[],
        seconds=time.monotonic() - started, caught_up_seconds=0.0, logs=kept,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def listening(
    settings: Settings, folder: Path, postgres: PostgresServer, server: NatsServer
) -> AsyncIterator[Audience]:
    """An audience that has not begun."""
    kind = {"lanes": Lanes, "groups": Groups}.get(settings.world.audience, Audience)
    async with connected(server) as client:
        audience = kind(settings, client, server, folder)
        try:
            await audience.set_up(postgres)
            yield audience
        finally:
            await audience.close()
