"""Whatever dies, nothing is lost, nothing is reordered, and the probes say what is wrong."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import trusting
from support.nats import NatsServer
from support.postgres import PostgresServer, running_server
from support.relaying import Outbox, an_outbox, check_delivery
from support.waiting import eventually
from support.writing import check_everything, writing

pytestmark = pytest.mark.integration


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


async def test_killed_again_and_again(outbox: Outbox) -> None:
    relay = outbox.relay(publish_window=64).start()
    async with writing(outbox):
        for _ in range(4):
            await relay.active()
            before = await outbox.count()

            async def goes_on(before: int = before) -> bool:
                return await outbox.count() >= before + 100

            await eventually(goes_on, "100 more messages", relay=relay)
            relay.kill()
            relay.start()
    await relay.active()
    await check_everything(outbox)
    assert (await outbox.cursor())["owner_epoch"] == 5


async def test_killed_in_the_middle_of_a_backlog(outbox: Outbox) -> None:
    await outbox.fill(6000)
    committed = await outbox.event_ids()
    relay = outbox.relay(publish_window=32).start()
    for target in (500, 2500, 4500):

        async def far_enough(target: int = target) -> bool:
            return await outbox.count() >= target

        await eventually(far_enough, f"{target} messages", relay=relay)
        relay.kill()
        relay.start()
    stored = await outbox.stored(6000)
    check_delivery(stored, committed)
    assert [message.event_id for message in stored] == committed
    await outbox.saved(6000)


async def test_sigterm_finishes_the_page_and_lets_go(outbox: Outbox) -> None:
    await outbox.fill(20000)
    relay = outbox.relay(publish_window=32, drain_seconds=40).start()

    async def under_way() -> bool:
        return await outbox.count() >= 500

    await eventually(under_way, "some messages")
    started = time.monotonic()
    assert relay.terminate() == 0
    assert time.monotonic() - started < 30
    stored = await outbox.stored()
    cursor = await outbox.cursor()
    assert stored
    assert cursor["emission"] == len(stored), "the cursor knows every message"

    async def let_go() -> bool:
        return not await outbox.connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    await eventually(let_go, "its locks are free")
    relay.start()
    check_delivery(await outbox.stored(20000), await outbox.event_ids())


async def test_the_broker_goes_away_and_comes_back(
    database: str, own_nats: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, own_nats, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        async with writing(outbox):
            await outbox.published(100)
            own_nats.kill()
            await eventually(lambda: "nats" in relay.failing(), "not ready for want of NATS")
            assert f"127.0.0.1:{own_nats.port}" in relay.failing()["nats"]
            assert relay.get("/healthz")[0] == 200
            own_nats.start()
            await relay.ready()
        await check_everything(outbox)


async def test_the_broker_hangs(database: str, own_nats: NatsServer, tmp_path: Path) -> None:
    async with an_outbox(database, own_nats, tmp_path) as outbox:
        relay = await outbox.relay().run_by(trusting.__file__).start().active()
        await outbox.add("k0", value=0)
        await outbox.published(1)
        own_nats.pause()
        try:
            await outbox.add("k0", value=1)
            # Read again together with the first, which turns out to be stored after all.
            await outbox.add("k0", value=2)
            await eventually(
                lambda: relay.metric("errors_total", reason="AckTimeout"), "silence noticed"
            )
        finally:
            own_nats.resume()
        await outbox.published(3)
        await check_everything(outbox)


async def test_the_database_restarts(
    own_postgres: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(own_postgres.create_database(), nats_server, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        async with writing(outbox):
            await outbox.published(100)
            own_postgres.stop("immediate")
            await eventually(lambda: "postgres" in relay.failing(), "not ready for want of it")
            assert f"127.0.0.1:{own_postgres.port}" in relay.failing()["postgres"]
            own_postgres.start()
            await relay.ready()
            before = await outbox.count()

            async def goes_on() -> bool:
                return await outbox.count() > before

            await eventually(goes_on, "new messages")
        await check_everything(outbox)


async def test_started_before_its_servers(tmp_path: Path, nats_server: NatsServer) -> None:
    with running_server() as postgres, NatsServer() as nats:
        async with an_outbox(postgres.create_database(), nats, tmp_path) as outbox:
            event = await outbox.add("a")
            postgres.stop()
            nats.stop()
            relay = outbox.relay().start()
            await eventually(lambda: {"postgres", "nats"} <= relay.failing().keys(), "both missing")
            await eventually(lambda: "refused" in relay.failing()["postgres"], "why no PostgreSQL")
            await eventually(lambda: "refused" in relay.failing()["nats"], "why no NATS")
            postgres.start()
            await eventually(lambda: "postgres" not in relay.failing(), "connected to PostgreSQL")
            nats.start()
            await relay.ready()
            (message,) = await outbox.stored(1)
            assert message.event_id == event


async def test_a_standby_takes_over_within_seconds(outbox: Outbox) -> None:
    first = await outbox.relay().start().active()
    second = await outbox.relay().start().standing_by()
    assert (first.metric("owner"), second.metric("owner")) == (1, 0)
    async with writing(outbox):
        await outbox.published(100)
        first.kill()
        started = time.monotonic()
        await second.active()
        # The server sees the end of its connections at once; of one that is frozen, after 10 s.
        assert time.monotonic() - started < 9
        before = await outbox.count()

        async def goes_on() -> bool:
            return await outbox.count() > before

        await eventually(goes_on, "messages of the second")
    await check_everything(outbox)
    await first.start().standing_by()


async def test_a_frozen_relay_that_lost_the_shard_does_no_harm(outbox: Outbox) -> None:
    first = await outbox.relay().start().active()
    second = await outbox.relay().start().standing_by()
    async with writing(outbox):
        await outbox.published(50)
        first.signal(signal.SIGSTOP)
        # What idle_session_timeout does after some seconds.
        await outbox.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid = (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted LIMIT 1)"
        )
        await second.active()
        before = await outbox.count()

        async def goes_on() -> bool:
            return await outbox.count() > before + 50

        await eventually(goes_on, "messages of the second")
        first.signal(signal.SIGCONT)
        await first.standing_by()
    await check_everything(outbox)


async def test_an_owner_that_was_overtaken_stops_at_its_next_write(outbox: Outbox) -> None:
    relay = await outbox.relay().start().active()
    await outbox.connection.execute("UPDATE outbox.cursors SET owner_epoch = owner_epoch + 7")
    await outbox.add("a")
    await eventually(lambda: relay.metric("ownership_losses_total") == 1, "the loss noticed")
    await outbox.published(1)
    await eventually(lambda: relay.metric("owner", shard="0") == 1, "owner again", relay=relay)
    assert (await outbox.cursor())["owner_epoch"] == 9


async def test_a_cursor_of_another_server_stops_everything(outbox: Outbox) -> None:
    await outbox.connection.execute("UPDATE outbox.cursors SET system_identifier = '42'")
    await outbox.add("a")
    relay = outbox.relay().start()
    await eventually(
        lambda: "belong to another PostgreSQL server" in relay.failing().get("role", ""), "refused"
    )
    assert await outbox.count() == 0
    await outbox.connection.execute("UPDATE outbox.cursors SET system_identifier = NULL")
    await outbox.published(1)
    await relay.ready()


async def test_a_database_without_our_tables_is_waited_for(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        await outbox.connection.execute("ALTER SCHEMA outbox RENAME TO hidden")
        relay = outbox.relay().start()
        await eventually(lambda: "migrations" in relay.failing().get("role", ""), "says what lacks")
        await outbox.connection.execute("ALTER SCHEMA hidden RENAME TO outbox")
        await relay.ready()


async def test_a_corrected_password_needs_no_restart(
    outbox: Outbox, postgres_server: PostgresServer
) -> None:
    relay = outbox.relay()
    secret = outbox.directory / "url"
    good = secret.read_text()
    secret.write_text(good.replace(f":{postgres_server.password}@", ":hunter2@"))
    relay.start()
    await eventually(lambda: "28P01" in relay.failing().get("postgres", ""), "login refused")
    secret.write_text(good)
    await relay.ready()
    assert "hunter2" not in relay.log
    assert postgres_server.password not in relay.log
