"""Immediate sending: what arrives after a commit, and that nothing else ever does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import nats
import prometheus_client
import psycopg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from outbox_operator.client import (
    Event,
    NatsLink,
    Nudge,
    Outbox,
    Publish,
    SpecError,
    SyncOutbox,
    TransactionError,
)
from outbox_operator.wire.subjects import nudge_subject
from support.books import call
from support.links import open_link
from support.nats import NatsServer, connected, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give
from support.relaying import an_outbox
from support.shop import Shop, django_connection, savepoint
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

Begin = Callable[[str, Any], AbstractAsyncContextManager[Any]]
"""A transaction whose commit the outbox is told of; gives the connection."""


class _DeclinedError(Exception):
    pass


@asynccontextmanager
async def by_asyncpg(url: str, outbox: Outbox) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with outbox.transaction(connection):
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_pool(url: str, outbox: Outbox) -> AsyncIterator[Any]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        outbox.transaction(connection),
    ):
        yield connection


@asynccontextmanager
async def by_psycopg(url: str, outbox: Outbox) -> AsyncIterator[Any]:
    async with (
        await psycopg.AsyncConnection.connect(url) as connection,
        outbox.transaction(connection),
    ):
        yield connection


@asynccontextmanager
async def by_sqlalchemy(url: str, outbox: Outbox) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with engine.connect() as connection, outbox.transaction(connection):
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_session(url: str, outbox: Outbox) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_sync_psycopg(url: str, outbox: SyncOutbox) -> AsyncIterator[Any]:
    with psycopg.connect(url) as connection, outbox.transaction(connection):
        yield connection


@asynccontextmanager
async def by_sync_session(url: str, outbox: SyncOutbox) -> AsyncIterator[Any]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with Session(engine) as session:
            yield session
            session.commit()
    finally:
        engine.dispose()


@asynccontextmanager
async def by_django(url: str, outbox: SyncOutbox) -> AsyncIterator[Any]:
    from django.db import transaction

    with django_connection(url) as connection, transaction.atomic():
        yield connection


BEGINS: dict[str, tuple[type[Outbox] | type[SyncOutbox], Any]] = {
    "asyncpg": (Outbox, by_asyncpg),
    "asyncpg-pool": (Outbox, by_pool),
    "psycopg": (Outbox, by_psycopg),
    "sqlalchemy": (Outbox, by_sqlalchemy),
    "session": (Outbox, by_session),
    "sync-psycopg": (SyncOutbox, by_sync_psycopg),
    "sync-session": (SyncOutbox, by_sync_session),
    "django": (SyncOutbox, by_django),
}


@pytest.fixture
def link(nats_server: NatsServer) -> Iterator[NatsLink]:
    with contextlib.closing(NatsLink(nats_server.url, timeout_seconds=SECONDS)) as made:
        yield made


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    async with connected(nats_server) as found:
        yield found


@pytest.fixture
async def connection(shop: Shop) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(shop.url)
    yield opened
    await opened.close()


def unique() -> str:
    """A pipeline of this test alone."""
    return f"p{uuid.uuid4().hex[:12]}"


def figure(name: str, pipeline: str, **labels: str) -> float:
    """Value of one of the library's metrics."""
    wanted = {"namespace": "shop", "pipeline": pipeline, **labels}
    found = prometheus_client.REGISTRY.get_sample_value(f"outbox_optimistic_send_{name}", wanted)
    return found or 0.0


async def received(subscription: Any) -> list[Msg]:
    """All messages until the one that says `last`."""
    found: list[Msg] = []
    while True:
        message = await subscription.next_msg(SECONDS)
        if message.data == b'"last"' or message.subject == "last":
            return found
        found.append(message)


@pytest.mark.parametrize("name", BEGINS)
async def test_only_what_is_committed_is_published(
    name: str, shop: Shop, link: NatsLink, client: Client, stream_prefix: str
) -> None:
    """Not after a rollback, not after one to a savepoint, not before the commit."""
    kind, begin = BEGINS[name]
    pipeline = unique()
    subject = f"{stream_prefix}.{{event_type}}"
    outbox = kind(send=Publish(link=link, namespace="shop", pipeline=pipeline, subject=subject))
    await client.jetstream().add_stream(name=stream_prefix, subjects=[f"{stream_prefix}.>"])
    arrivals = await client.subscribe(f"{stream_prefix}.>")
    await client.flush()

    async with begin(shop.url, outbox) as connection:
        event = Event(type="kept", key="k 1", payload={"n": 1}, headers={"x": "y"})
        await call(outbox.publish_after_commit(connection, event))
        with contextlib.suppress(_DeclinedError):
            async with savepoint(connection):
                await call(outbox.publish_after_commit(connection, Event(type="undone", payload=2)))
                raise _DeclinedError
        async with savepoint(connection):
            await call(outbox.publish_after_commit(connection, Event(type="nested", payload=3)))
        assert figure("attempts_total", pipeline) == 0
    with contextlib.suppress(_DeclinedError):
        async with begin(shop.url, outbox) as connection:
            await call(outbox.publish_after_commit(connection, Event(type="declined", payload=4)))
            raise _DeclinedError
    assert await asyncio.to_thread(link.flush, SECONDS)
    async with begin(shop.url, outbox) as connection:
        await call(outbox.publish_after_commit(connection, Event(type="end", payload="last")))
    found = await received(arrivals)
    assert {message.subject.rpartition(".")[2] for message in found} == {"kept", "nested"}
    assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("attempts_total", pipeline) == figure("success_total", pipeline) == 3
    assert figure("latency_seconds_count", pipeline) == 3
    # There before the first one: a rate does not see the first value of a series.
    labels = {"namespace": "shop", "pipeline": pipeline, "reason": "SendTimeout"}
    sample = prometheus_client.REGISTRY.get_sample_value
    assert sample("outbox_optimistic_send_failures_total", labels) == 0
    types = [row["event_type"] for row in await shop.events()]
    assert types == ["kept", "nested", "end"]


@pytest.mark.parametrize("name", BEGINS)
async def test_a_commit_nudges_the_relay_and_a_rollback_does_not(
    name: str, shop: Shop, link: NatsLink, client: Client
) -> None:
    kind, begin = BEGINS[name]
    pipeline = unique()
    outbox = kind(send=Nudge(link=link, namespace="shop", pipeline=pipeline))
    nudges = await client.subscribe(f"outbox.nudge.shop.{pipeline}")
    await client.flush()
    with contextlib.suppress(_DeclinedError):
        async with begin(shop.url, outbox) as connection:
            await call(outbox.publish_after_commit(connection, Event(type="a", payload=1)))
            raise _DeclinedError
    assert figure("attempts_total", pipeline) == 0
    async with begin(shop.url, outbox) as connection:
        for _ in range(3):
            await call(outbox.publish_after_commit(connection, Event(type="a", payload=1)))
    message = await nudges.next_msg(SECONDS)
    assert message.data == b""
    assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("attempts_total", pipeline) == figure("success_total", pipeline) == 3


async def test_nothing_is_sent_for_a_transaction_that_had_failed(
    shop: Shop, link: NatsLink, client: Client, stream_prefix: str
) -> None:
    """PostgreSQL then answers COMMIT with a rollback, and asyncpg does not mind."""
    subject = f"{stream_prefix}.{{event_type}}"
    pipeline = unique()
    outbox = Outbox(send=Publish(link=link, namespace="shop", pipeline=pipeline, subject=subject))
    broken = "SELECT 1/0"

    async def fail_quietly(begin: Begin) -> None:
        async with begin(shop.url, outbox) as connection:
            await outbox.publish_after_commit(connection, Event(type="a", payload=1))
            with pytest.raises(Exception, match="division by zero"):
                await connection.execute(broken if begin is by_asyncpg else text(broken))

    for begin in (by_asyncpg, by_sqlalchemy):
        with pytest.raises(TransactionError, match="is rolled back"):
            await fail_quietly(begin)
    await fail_quietly(by_session)  # whose transaction is the application's
    assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("attempts_total", pipeline) == 0
    assert await shop.events() == []


def roll_back() -> None:
    """Leave psycopg's block without a word."""
    raise psycopg.Rollback


async def test_a_quiet_rollback_of_psycopg_sends_nothing(shop: Shop, link: NatsLink) -> None:
    pipeline = unique()
    outbox = Outbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline))
    async with by_psycopg(shop.url, outbox) as connection:
        await outbox.publish_after_commit(connection, Event(type="a", payload=1))
        roll_back()
    assert figure("attempts_total", pipeline) == 0


async def test_a_session_inside_somebody_elses_transaction_sends_nothing(
    shop: Shop, link: NatsLink
) -> None:
    """As in test suites that roll everything back in the end."""
    pipeline = unique()
    outbox = SyncOutbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline))
    engine = create_engine(shop.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection, connection.begin() as transaction:
        session = Session(bind=connection, join_transaction_mode="create_savepoint")
        outbox.publish_after_commit(session, Event(type="a", payload=1))
        session.commit()
        session.close()
        transaction.rollback()
    engine.dispose()
    assert figure("attempts_total", pipeline) == 0


async def test_the_relay_drops_what_was_published_and_would_have_written_the_same(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """The first half of the events is the relay's alone, the second is published directly."""
    fields: list[dict[str, Any]] = [
        {
            "type": "order.created",
            "key": "Zürich 8 %",
            "payload": {"a": "ü"},
            "headers": {"x": "y"},
        },
        {"type": "a", "payload": 1, "routing_key": "eu.b", "headers": {"content-type": "a/b"}},
    ]
    async with (
        an_outbox(database, nats_server, tmp_path) as whole,
        open_link(nats_server.url, timeout_seconds=SECONDS) as link,
    ):
        subject = whole.prefix + ".{event_type}.{partition_key}"
        outbox = Outbox(
            send=Publish(link=link, namespace="shop", pipeline="orders", subject=subject)
        )
        async with outbox.transaction(whole.connection):
            await outbox.add_many(whole.connection, [Event(**one) for one in fields])
        async with outbox.transaction(whole.connection):
            for one in fields:
                await outbox.publish_after_commit(whole.connection, Event(**one))
        direct = await whole.stored(len(fields))
        await whole.idle(whole.relay(ordering="None", subject=subject).start())
        stored = await whole.stored(2 * len(fields))
    assert stored[: len(fields)] == direct
    relayed = stored[len(fields) :]
    assert len(relayed) == len(fields)
    of_the_relay = {
        "Outbox-Position", "Outbox-Emission", "Outbox-Shard", "Outbox-Predecessor",
        "Outbox-Reached",
    }  # fmt: skip
    of_each = {"Nats-Msg-Id", "Ce-Id", "Ce-Time"}
    for sent, other in zip(direct, relayed, strict=True):
        assert other.subject == sent.subject
        assert json.loads(other.data) == json.loads(sent.data)
        assert dict(sent.headers).keys() == dict(other.headers).keys() - of_the_relay
        for name in sent.headers.keys() - of_each:
            assert sent.headers[name] == other.headers[name]
        time = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
        assert time.fullmatch(sent.headers["Ce-Time"])
        assert time.fullmatch(other.headers["Ce-Time"])


async def commit(outbox: Outbox, connection: Any) -> float:
    """Commit an event; how long that took."""
    start = time.perf_counter()
    async with outbox.transaction(connection):
        await outbox.publish_after_commit(connection, Event(type="a", payload=1))
    return time.perf_counter() - start


async def test_when_nats_is_away_or_hangs_the_caller_never_notices(
    shop: Shop, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "outbox_operator.client")
    pipeline = unique()
    with NatsServer() as server:
        # Refused at once; of what hangs the test waits for the whole time.
        async with (
            open_link(server.url, timeout_seconds=2) as link,
            contextlib.AsyncExitStack() as stack,
        ):
            outbox = Outbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline))
            server.stop()
            took = [await commit(outbox, connection) for _ in range(20)]
            assert await asyncio.to_thread(link.flush, SECONDS)
            assert figure("failures_total", pipeline, reason="NatsUnreachable") == 20
            assert [r.levelname for r in caplog.records] == ["WARNING"]
            assert "immediate sending fails, events of shop/" in caplog.text
            server.start()
            listener = await stack.enter_async_context(connected(server))
            await listener.subscribe(nudge_subject("shop", pipeline))
            await listener.flush()

            async def works() -> bool:
                await commit(outbox, connection)
                await asyncio.to_thread(link.flush, SECONDS)
                return figure("success_total", pipeline) > 0

            await eventually(works, "nudges go out again")
            assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
            server.pause()
            took += [await commit(outbox, connection) for _ in range(20)]
            assert await asyncio.to_thread(link.flush, SECONDS)
            assert figure("failures_total", pipeline, reason="SendTimeout") >= 20
            server.resume()
            assert min(took[:20]) < 0.2
            assert min(took[20:]) < 0.2
            await asyncio.to_thread(link.close)
            await commit(outbox, connection)
            assert figure("failures_total", pipeline, reason="LinkClosed") == 1
    assert len(await shop.events()) == figure("attempts_total", pipeline)


async def test_a_link_may_be_closed_again(
    shop: Shop, connection: Any, nats_server: NatsServer, client: Client
) -> None:
    """By an exit handler and a framework's shut-down, say (FU-10)."""
    pipeline = unique()
    await client.subscribe(nudge_subject("shop", pipeline))
    await client.flush()
    async with open_link(nats_server.url, timeout_seconds=SECONDS) as link:
        outbox = Outbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline))
        await commit(outbox, connection)
        await asyncio.gather(*(asyncio.to_thread(link.close, SECONDS) for _ in range(3)))
        await asyncio.to_thread(link.close)
        assert figure("success_total", pipeline) == 1
        await commit(outbox, connection)
        assert figure("failures_total", pipeline, reason="LinkClosed") == 1


NO_FILES_LEFT = """
import asyncio, resource, sys
import asyncpg
from outbox_operator.client import Event, NatsLink, Nudge, Outbox

async def main(url):
    connection, before = await asyncpg.connect(url), resource.getrlimit(resource.RLIMIT_NOFILE)
    link = NatsLink("nats://127.0.0.1:1")
    outbox = Outbox(send=Nudge(link=link, namespace="shop", pipeline="orders"))
    async with outbox.transaction(connection):
        await outbox.publish_after_commit(connection, Event(type="a", payload=1))
        # From here on no file, socket or event loop can be opened.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert link.flush(50), "something waits for ever"
    await connection.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_nothing_is_raised_after_the_commit(shop: Shop) -> None:
    """Who got an error would do it all again, and the order would exist twice (kin of FU-6)."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", NO_FILES_LEFT, shop.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(await shop.events()) == 1


async def test_a_refused_message_is_left_to_the_relay(connection: Any, link: NatsLink) -> None:
    pipeline = unique()
    nowhere = Publish(link=link, namespace="shop", pipeline=pipeline, subject="nobody.takes.this")
    await commit(Outbox(send=nowhere), connection)
    assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("failures_total", pipeline, reason="SendRefused") == 1


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("publishes", [False, True])
async def test_what_the_login_may_not_publish_is_a_failure_with_the_words_of_nats(
    connection: Any, caplog: pytest.LogCaptureFixture, given: bool, publishes: bool
) -> None:
    pipeline = unique()
    subject = "orders.a" if publishes else nudge_subject("shop", pipeline)
    with NatsServer(with_permissions(**{ROLE: deny(publish=[subject])})) as server:
        own = await nats.connect(server.url, user=ROLE, password=ROLE)
        how = own if given else lambda: nats.connect(server.url, user=ROLE, password=ROLE)
        try:
            async with (
                open_link(how, timeout_seconds=1 if publishes else SECONDS) as link,
                contextlib.AsyncExitStack() as stack,
            ):
                send: Nudge | Publish = Nudge(link=link, namespace="shop", pipeline=pipeline)
                if publishes:
                    send = Publish(
                        link=link,
                        namespace="shop",
                        pipeline=pipeline,
                        subject="orders.{event_type}",
                    )
                for _ in range(2):
                    await commit(Outbox(send=send), connection)
                    assert await asyncio.to_thread(link.flush, SECONDS)
                assert figure("success_total", pipeline) == 0
                assert figure("failures_total", pipeline, reason="SendRefused") == 2
                assert f'permissions violation for publish to "{subject}"' in caplog.text.lower()
                if not publishes:
                    give(server, EVERYTHING)
                    relay = await stack.enter_async_context(connected(server))
                    await relay.subscribe(subject)
                    await relay.flush()
                    await eventually(lambda: healed(send, connection, pipeline), "heard again")
        finally:
            await own.close()


async def healed(send: Nudge | Publish, connection: Any, pipeline: str) -> bool:
    """Whether an event that is committed now is sent."""
    await commit(Outbox(send=send), connection)
    assert await asyncio.to_thread(send.link.flush, SECONDS)
    return figure("success_total", pipeline) > 0


@pytest.mark.parametrize("given", [False, True])
async def test_a_nudge_that_no_relay_listens_for_is_a_failure(
    shop: Shop,
    connection: Any,
    nats_server: NatsServer,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    given: bool,
) -> None:
    """Of another namespace, say (FU-5); the relay that does listen hears its own meanwhile."""
    right, wrong = unique(), unique()
    async with open_link(client if given else nats_server.url, timeout_seconds=SECONDS) as link:
        here, nowhere = (
            Outbox(send=Nudge(link=link, namespace="shop", pipeline=name))
            for name in (right, wrong)
        )
        nudges = await client.subscribe(nudge_subject("shop", right))
        await client.flush()
        for _ in range(20):
            async with by_asyncpg(shop.url, here) as one:
                await here.publish_after_commit(one, Event(type="a", payload=1))
                await nowhere.publish_after_commit(one, Event(type="b", payload=1))
        assert await asyncio.to_thread(link.flush, SECONDS)
        assert figure("success_total", right) == figure("attempts_total", right) == 20
        assert figure("failures_total", wrong, reason="NobodyListens") == 20
        assert (
            f"nobody listens on {nudge_subject('shop', wrong)}: the relay does not" in caplog.text
        )
        await nudges.unsubscribe()
        await client.flush()
        await commit(here, connection)
        assert await asyncio.to_thread(link.flush, SECONDS)
        assert figure("failures_total", right, reason="NobodyListens") == 1


async def test_a_login_that_may_hear_no_answers_nudges_all_the_same(connection: Any) -> None:
    pipeline = unique()
    rights = deny(subscribe=["_INBOX.>"])
    with NatsServer(with_permissions(**{ROLE: rights})) as server:
        how = lambda: nats.connect(server.url, user=ROLE, password=ROLE)  # noqa: E731
        async with open_link(how, timeout_seconds=SECONDS) as link:
            for _ in range(2):
                await commit(
                    Outbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline)), connection
                )
            assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("success_total", pipeline) == 2


async def test_the_flag_turns_all_of_it_off(shop: Shop, connection: Any) -> None:
    def connect() -> Any:
        raise AssertionError("connected although it is off")

    pipeline = unique()
    link = NatsLink(connect, enabled=False)
    await commit(Outbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline)), connection)
    await commit(Outbox(), connection)
    assert len(await shop.events()) == 2
    assert figure("attempts_total", pipeline) == 0


async def test_a_transaction_may_write_to_several_pipelines(
    shop: Shop, link: NatsLink, client: Client
) -> None:
    first, second = unique(), unique()
    orders = Outbox(send=Nudge(link=link, namespace="shop", pipeline=first))
    audit = Outbox(send=Nudge(link=link, namespace="shop", pipeline=second))
    nudges = {name: await client.subscribe(f"outbox.nudge.shop.{name}") for name in (first, second)}
    await client.flush()
    async with by_asyncpg(shop.url, orders) as connection:
        await orders.publish_after_commit(connection, Event(type="a", payload=1))
        await audit.publish_after_commit(connection, Event(type="b", payload=2))
    for subscription in nudges.values():
        await subscription.next_msg(SECONDS)


async def test_a_given_connection_is_used(shop: Shop, client: Client) -> None:
    pipeline = unique()
    outbox = Outbox(send=Nudge(link=NatsLink(client), namespace="shop", pipeline=pipeline))
    nudges = await client.subscribe(f"outbox.nudge.shop.{pipeline}")
    async with by_asyncpg(shop.url, outbox) as connection:
        await outbox.publish_after_commit(connection, Event(type="a", payload=1))
    await nudges.next_msg(SECONDS)
    with pytest.raises(SpecError, match="where its event loop runs"):
        await asyncio.to_thread(NatsLink, client)


FORKING = """
import os, sys
import psycopg
from outbox_operator.client import Event, NatsLink, Nudge, SyncOutbox

url, nats, pipeline = sys.argv[1:]
link = NatsLink(nats, timeout_seconds=50)
outbox = SyncOutbox(send=Nudge(link=link, namespace="shop", pipeline=pipeline))


def work(number):
    with psycopg.connect(url) as connection, outbox.transaction(connection):
        outbox.publish_after_commit(connection, Event(type="a", payload=number))
    assert link.flush(50)
    return 0


work(0)  # the parent has a thread and a connection now
children = []
for number in (1, 2):
    child = os.fork()
    if child == 0:
        os._exit(work(number))
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
work(3)
link.close()
"""


async def test_forked_processes_send_by_connections_of_their_own(
    shop: Shop, nats_server: NatsServer, client: Client
) -> None:
    """As a server that loads the application and forks its workers."""
    pipeline = unique()
    nudges = await client.subscribe(f"outbox.nudge.shop.{pipeline}")
    await client.flush()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "ignore", "-c", FORKING, shop.url, nats_server.url, pipeline],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for _ in range(4):
        await nudges.next_msg(SECONDS)
    assert len(await shop.events()) == 4
