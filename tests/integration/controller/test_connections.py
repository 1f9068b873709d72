"""Connections to Postgres that reconcilers share, on a real server."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.url import PostgresTarget, parse_url
from outbox_operator.controller.reconcile.places import IDLE_SECONDS
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError, PostgresError
from support.certificates import Certificates
from support.living import living
from support.ports import free_port
from support.postgres import PostgresServer, with_login
from support.tcp_proxy import TcpProxy
from support.waiting import SECONDS, eventually


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def connections(clock: Clock) -> AsyncIterator[PostgresConnections]:
    shared = PostgresConnections(lambda _user, _trigger: None, clock)
    yield shared
    await shared.close()


@pytest.fixture
def target(database: str) -> PostgresTarget:
    return parse_url(database)


async def both(connections: PostgresConnections, target: PostgresTarget) -> None:
    """Fills the shelf with as many connections as one login may have."""
    async with connections.lease(target, "a"), connections.lease(target, "b"):
        pass


def session(admin: PostgresAdmin) -> int:
    pid: int = admin._connection.get_server_pid()
    return pid


async def test_a_connection_is_used_again(
    connections: PostgresConnections, target: PostgresTarget
) -> None:
    async with connections.lease(target, "a") as admin:
        first = session(admin)
    async with connections.lease(target, "b") as admin:
        assert session(admin) == first


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_after_an_error_or_a_cut_pass_a_connection_is_not_used_again(
    connections: PostgresConnections, target: PostgresTarget, error: type[BaseException]
) -> None:
    seen = []

    async def cut() -> None:
        async with connections.lease(target, "a") as admin:
            seen.append(session(admin))
            raise error

    with pytest.raises(error):
        await cut()
    async with connections.lease(target, "a") as admin:
        assert session(admin) not in seen


async def test_old_connections_are_closed_while_others_are_taken(
    connections: PostgresConnections, target: PostgresTarget, clock: Clock
) -> None:
    """What is being closed is not given to a pass, and the sweep does not trip over one."""
    await both(connections, target)
    clock.now += IDLE_SECONDS + 1

    async def use() -> None:
        async with connections.lease(target, "a") as admin:
            assert await admin._connection.fetchval("SELECT 1") == 1

    await asyncio.gather(connections.sweep(), use(), use())


async def test_a_lease_outlives_a_sweep(
    connections: PostgresConnections, target: PostgresTarget, clock: Clock
) -> None:
    async with connections.lease(target, "a") as admin:
        mine = session(admin)
        clock.now += 100 * IDLE_SECONDS
        await connections.sweep()
    async with connections.lease(target, "a") as admin:
        assert session(admin) == mine


async def test_users_of_a_lost_connection_are_woken(
    target: PostgresTarget, database: str, clock: Clock
) -> None:
    woken: list[Any] = []
    lost = asyncio.Event()

    def wake(user: Any, _trigger: str) -> None:
        woken.append(user)
        lost.set()

    connections = PostgresConnections(wake, clock)
    for user in ("a", "b", "gone"):
        async with connections.lease(target, user) as admin:
            mine = session(admin)
    connections.forget("gone")
    other = await asyncpg.connect(database)
    await other.execute(f"SELECT pg_terminate_backend({mine})")
    async with asyncio.timeout(SECONDS):
        await lost.wait()
    assert sorted(woken) == ["a", "b"]
    await other.close()
    await connections.close()


def tls_contexts() -> int:
    return len(living(ssl.SSLContext))


async def test_what_was_refused_keeps_nothing_of_the_attempt(
    connections: PostgresConnections, tmp_path: Path
) -> None:
    """A tenant may name a server that is away in any number of pipelines."""
    kept, before = list[OutboxError](), tls_contexts()
    ca = Certificates(tmp_path).text("ca.pem")
    for number in range(20):
        url = f"postgresql://u{number}:p@127.0.0.1:{free_port()}/x?sslmode=verify-full"
        target = dataclasses.replace(parse_url(url), ca_pem=ca if number % 2 else None)
        with pytest.raises(PostgresError) as refused:
            async with connections.lease(target, "me"):
                pass
        kept.append(refused.value)
        del refused
    # One with the system's authorities is shared, and the last attempt may not be gone yet.
    assert tls_contexts() <= before + 2


async def test_all_logins_at_a_server_share_its_places(
    postgres_server: PostgresServer, database: str, clock: Clock
) -> None:
    """However many pipelines there are: work, and the question whether the server is there."""
    logins = [postgres_server.create_role(f"login{number}") for number in range(6)]
    targets = [parse_url(with_login(database, *login)) for login in logins]
    connections = PostgresConnections(lambda *_: None, clock, SECONDS, per_server=4)
    counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'outbox-operator'"
    seen = []

    async def work(number: int) -> None:
        user = ObjectKey("OutboxPipeline", f"shop-{number % 3}", str(number))
        async with connections.lease(targets[number % len(targets)], user) as admin:
            seen.append(await admin._connection.fetchval(counted))

    async with asyncio.timeout(2 * SECONDS):
        await asyncio.gather(*map(work, range(60)), *(connections.check() for _ in range(3)))
    assert len(seen) == 60
    assert 1 < max(seen) <= 4
    await connections.close()


async def test_a_server_that_hangs_is_silent_to_all_who_wait_for_its_places(
    postgres_server: PostgresServer, database: str, clock: Clock
) -> None:
    proxy = await TcpProxy(lambda: postgres_server.port).start()
    proxy.hold()
    behind = database.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    targets = [parse_url(with_login(behind, f"login{number}", "x")) for number in range(5)]
    connections = PostgresConnections(lambda *_: None, clock, 0.3, per_server=2)

    async def work(target: PostgresTarget) -> None:
        async with connections.lease(target, "a"):
            pass

    works = [asyncio.create_task(work(target)) for target in targets]
    await asyncio.sleep(0)
    await connections.check()
    assert all(connections.silence(target) is not None for target in targets)
    for one in works:
        one.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    await connections.close()
    await proxy.close()


async def test_a_server_is_not_silent_because_all_its_places_are_taken(
    postgres_server: PostgresServer, database: str, clock: Clock
) -> None:
    """The question takes the place of a connection that was itself being asked, once it was."""
    logins = [postgres_server.create_role(f"place{number}") for number in range(3)]
    mine, other, spare = (parse_url(with_login(database, *login)) for login in logins)
    connections = PostgresConnections(lambda *_: None, clock, SECONDS, per_server=3)
    async with connections.lease(spare, "c"):
        pass
    async with (
        connections.lease(mine, ObjectKey("OutboxPipeline", "a", "a")),
        connections.lease(other, ObjectKey("OutboxPipeline", "b", "b")),
        asyncio.timeout(SECONDS / 2),
    ):
        await connections.check()
        assert connections.silence(mine) is None
    await connections.close()


async def test_a_question_keeps_no_connection_that_nobody_uses(
    postgres_server: PostgresServer, database: str, clock: Clock
) -> None:
    """Its database could never be dropped, and its place never be had by others."""
    login = postgres_server.create_role("unused")
    connections = PostgresConnections(lambda *_: None, clock)
    async with connections.lease(parse_url(with_login(database, *login)), "a"):
        pass
    for _ in range(4):
        clock.now += IDLE_SECONDS / 3
        await connections.check()
    await connections.sweep()
    watcher = await asyncpg.connect(database)
    counted = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"

    async def gone() -> bool:
        return not await watcher.fetchval(counted, login[0])

    await eventually(gone, "its session has ended")
    await watcher.close()
    await connections.close()
