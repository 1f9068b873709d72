"""Fixtures that start real servers. Helpers live in `support`."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support.nats import NatsServer, connected, remove_streams, unique_prefix
from support.postgres import PostgresServer, newest_binaries, running_server
from support.redis import RedisServer
from support.watchdog import watched

TESTS = Path(__file__).parent
LONGEST_FIRST: Final = (
    "stage", "operated-tasks", "operated-load", "operated", "control-plane",
)  # fmt: skip
"""Groups that take minutes. A parallel run begins with them: none may be what it waits for."""
DEAREST_FIRST: Final = ("delivery", "e2e", "cluster", "integration", "chart", "contract", "unit")
"""Order of the others, for the same reason; more clusters begin when the first ones are up."""
WORKERS_A_CORE: Final = 3
PLANES_GIGABYTES: Final = 8
"""What the clusters of a run take together: there is one for each group that needs one."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """More than cores, because most of what takes long waits for servers; a gigabyte for each."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return max(1, min(WORKERS_A_CORE * (os.cpu_count() or 1), gigabytes - PLANES_GIGABYTES))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare Python's garbage collector the thousands of tests: they stay, and each worker has all.

    It would go through them again and again, while they are made and in every test.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a module in one worker of a parallel run, if nothing else groups its tests."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("/".join(_place(item.path))))
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


@functools.cache
def _place(module: Path) -> tuple[str, ...]:
    """Folders below this one, and the module's name."""
    return module.relative_to(TESTS).with_suffix("").parts


def _turn(item: pytest.Item) -> tuple[int, int]:
    """What comes first in a parallel run."""
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    [group] = marker.args
    long = LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)
    return long, DEAREST_FIRST.index(_place(item.path)[0])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Whatever waits for ever in a test or around it has an end."""
    with watched(item):
        return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run when tests that share a control plane would go to several workers."""
    if getattr(session.config.option, "loadgroup", False):
        lost = [item.nodeid for item in session.items if "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist does not see the group of {lost[0]}")


_SHARED: Final[dict[str, Any]] = {
    # Its locks, sessions and transactions would be among those of a test, now and then.
    "autovacuum": "off"
}
"""Settings of a PostgreSQL of many tests."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run of a worker; do not stop it (`running_server` makes one)."""
    with running_server(**_SHARED) as server:
        yield server


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """Superuser URL of a fresh, empty database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def two_phase_server() -> Iterator[PostgresServer]:
    """A PostgreSQL where transactions may be prepared."""
    with running_server(max_prepared_transactions="10", **_SHARED) as server:
        yield server


@pytest.fixture(scope="session", params=["usual", "newest"])
def any_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Each PostgreSQL that we test with, in turn: the system's, and the newest there is."""
    if request.param == "usual":
        yield request.getfixturevalue("postgres_server")
        return
    with running_server(newest_binaries(), **_SHARED) as server:
        yield server


@pytest.fixture
def any_database(any_postgres: PostgresServer) -> Iterator[str]:
    """Superuser URL of a fresh, empty database on each of them."""
    url = any_postgres.create_database()
    yield url
    any_postgres.drop_database(url)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """One nats-server with JetStream for the whole run of a worker; do not stop it."""
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the whole run of a worker; do not stop it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def stream_prefix(nats_server: NatsServer) -> AsyncIterator[str]:
    """Start of every stream name and subject of one test; what is left is removed afterwards."""
    prefix = unique_prefix()
    yield prefix
    async with connected(nats_server) as client:
        await remove_streams(client, prefix)
