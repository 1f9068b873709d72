"""What a relay tells of itself: what waits, how old events were, and that it lives."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import time
from pathlib import Path

import pytest

from support.nats import NatsServer
from support.postgres import running_server
from support.processes import freeze
from support.relaying import Outbox, RelayProcess, an_outbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

WAITING = 20_001
HOUR = 3600


def known(relay: RelayProcess) -> dict[str, float]:
    """What it says of what waits, by the names of the metrics; empty when it does not know."""
    status, body = relay.get("/metrics")
    assert status == 200
    found = re.findall(r"^outbox_relay_known_(\w+)\{.*\} (.*)$", body, re.MULTILINE)
    return {name: float(value) for name, value in found}


def delivered(relay: RelayProcess, seconds: float | None = None) -> float:
    """How many events it has delivered; those of at most so many seconds."""
    bound = "+Inf" if seconds is None else str(float(seconds))
    return relay.metric("delivery_seconds_bucket", le=bound)


async def backends(outbox: Outbox, relay: RelayProcess) -> list[int]:
    rows = await outbox.connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'outbox-relay %'"
    )
    return [row["pid"] for row in rows]


async def test_what_waits_is_told_while_it_is_known(database: str, tmp_path: Path) -> None:
    nothing = {"backlog_rows": 0, "oldest_age_seconds": 0}
    with NatsServer() as broker:
        async with an_outbox(database, broker, tmp_path) as outbox:
            await outbox.delete_stream()
            await outbox.fill(5)
            relay = outbox.relay().start()
            await eventually(lambda: "stream" in relay.failing(), "no stream", relay=relay)
            assert relay.owned
            assert known(relay) == {}  # it has not looked yet

            await outbox.create_stream()
            await outbox.published(5)
            await eventually(lambda: known(relay) == nothing, "nothing waits", relay=relay)

            broker.kill()
            await outbox.fill(WAITING)
            await eventually(lambda: "nats" in relay.failing(), "the loss noticed", relay=relay)
            await eventually(lambda: known(relay) == {}, "it does not know", relay=relay)

            broker.start()
            await outbox.published(5 + WAITING)
            await eventually(lambda: known(relay) == nothing, "nothing waits again", relay=relay)
            await eventually(lambda: delivered(relay) == 5 + WAITING, "all are counted")
            # A duplicate of a crash is delivered once more; there was none.
            assert relay.metric("delivery_seconds_count") == relay.metric("published_total")


async def test_how_old_events_were_when_they_were_delivered(outbox: Outbox) -> None:
    relay = await outbox.relay(poll_max_seconds=0.05).start().active()
    await outbox.add("new")
    await outbox.published(1)
    await eventually(lambda: delivered(relay, 60) == 1, "it is counted", relay=relay)
    times = ["now() - interval '90 s'", "'0001-01-01'", "'-infinity'", "'infinity'", "'2999-01-01'"]
    for moment in times:
        await outbox.connection.execute(
            "INSERT INTO outbox.events (event_type, partition_key, payload, created_at) "
            f"VALUES ('created', 'k', '1', {moment})"
        )
    await outbox.published(6)
    await eventually(lambda: delivered(relay) == 6, "all are counted", relay=relay)
    assert delivered(relay, 0.001) >= 2  # from the future: no age at all
    assert (delivered(relay, 60), delivered(relay, 300), delivered(relay, HOUR)) == (3, 4, 4)
    assert relay.metric("delivery_seconds_sum") > 0


async def test_age_counts_from_the_commit_where_the_database_keeps_its_time(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    with running_server(track_commit_timestamp="on") as server:
        async with an_outbox(server.create_database(), nats_server, tmp_path) as outbox:
            earlier = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=90)
            await outbox.add("k", created_at=earlier)
            await outbox.connection.execute(
                "INSERT INTO outbox.events (event_type, partition_key, payload, created_at) "
                "SELECT 'created', 'k', '1', $1 FROM generate_series(1, 2000)", earlier
            )  # fmt: skip
            relay = await outbox.relay().start().active()  # a poll, pages, and a poll again
            await outbox.published(2001)
            await outbox.add("k", created_at=earlier)
            await outbox.published(2002)
            await eventually(lambda: delivered(relay) == 2002, "all are counted", relay=relay)
            assert relay.metric("delivery_seconds_bucket", le="60.0", since="commit") == 2002
            assert relay.metric("delivery_seconds_bucket", since="created_at") == 0


async def test_probes_are_answered_while_both_servers_hang(database: str, tmp_path: Path) -> None:
    with NatsServer() as broker:
        async with an_outbox(database, broker, tmp_path) as outbox:
            relay = await outbox.relay().start().active()
            frozen = await backends(outbox, relay)
            assert len(frozen) == 2
            broker.pause()
            for pid in frozen:
                freeze(pid)
            try:
                started = time.monotonic()
                for _ in range(100):
                    # Whatever they say, it is out of memory: nobody is asked.
                    assert relay.get("/healthz")[0] == 200
                    assert relay.get("/readyz")[0] in (200, 503)
                    assert relay.get("/metrics")[0] == 200
                assert time.monotonic() - started < SECONDS
            finally:
                broker.resume()
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            await relay.ready()
