"""What a consumer tells of itself: how old events were when handled, and that it lives."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.consumer import ReceivedEvent
from outbox_operator.wire.config import InboxConfig
from support.consuming import Source, calling, consuming, metric, readiness
from support.nats import NatsServer, connected
from support.outbox import migrate_inbox
from support.processes import freeze
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


async def succeed(_: ReceivedEvent) -> None:
    """A handler that has nothing to do."""


async def test_how_old_events_were_when_they_were_handled(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    old = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=90)
    async with consuming(source.python(), calling(succeed)) as app:
        for time in (old.isoformat(), "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "no time"):
            await source.publish(**{"Ce-Time": time})

        def handled(seconds: str = "+Inf") -> float:
            return metric(app, "outbox_consumer_end_to_end_seconds_bucket", le=seconds)

        await eventually(lambda: handled() == 4, "all are handled")
        # Of "no time" counts when the stream stored it, and what is to come has no age.
        assert (handled("60.0"), handled("120.0"), handled("3600.0")) == (2, 3, 3)
        assert handled("0.001") >= 1


async def test_probes_are_answered_while_broker_and_inbox_database_hang(
    database: str, tmp_path: Path
) -> None:
    await migrate_inbox(database)
    (tmp_path / "url").write_text(database)
    inbox = InboxConfig(url_file=str(tmp_path / "url"))
    with NatsServer() as server:
        async with connected(server) as client:
            source = await Source.create(client, "T")
            async with consuming(replace(source.python(), inbox=inbox), calling(succeed)) as app:
                await source.publish()
                await source.settled(1)
                owner = await asyncpg.connect(database)
                rows = await owner.fetch(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
                await owner.close()
                assert rows
                for row in rows:
                    freeze(row["pid"])
                await source.publish()
                server.pause()
                try:
                    # Whatever it says, it is out of memory: nobody is asked.
                    async with asyncio.timeout(SECONDS):
                        for _ in range(100):
                            status, checks = await readiness(app)
                            assert status in (200, 503)
                            assert {"nats", "inbox"} <= checks.keys()
                finally:
                    server.resume()
                    for row in rows:
                        os.kill(row["pid"], signal.SIGCONT)
                await source.settled(2)
