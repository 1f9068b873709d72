"""A database that keeps one waiting holds up nothing but its own part, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api.conditions import Condition
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.consumer_inbox import ensure_inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.pipeline_database import PipelineDatabase
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import CredentialsError, KubernetesError, OutboxError
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.status.conditions import Part
from outbox_operator.reasons import Reason
from support.resources import consumer, pipeline
from support.tcp_proxy import TcpProxy
from support.waiting import SECONDS, eventually

ANSWER_SECONDS = 0.3
"""Of a server that hangs; one that does not may be as busy as the machine."""


class OneSecret:
    """An API server that knows one Secret, the login of the database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.refusal: OutboxError | None = None

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        if self.refusal is not None:
            raise self.refusal
        return {"url": self.url.encode()}


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[TcpProxy]:
    started = await TcpProxy(lambda: urlsplit(database).port or 5432).start()
    yield started
    await started.close()


@pytest.fixture
def woken() -> list[tuple[str, str]]:
    """Names of objects that are to be looked at, and why."""
    return []


@pytest.fixture
def secret(database: str, proxy: TcpProxy) -> OneSecret:
    return OneSecret(database.replace(f":{urlsplit(database).port}/", f":{proxy.port}/"))


@pytest.fixture
async def context(
    secret: OneSecret, proxy: TcpProxy, woken: list[tuple[str, str]]
) -> AsyncIterator[Context]:
    absent = cast(Any, None)  # nothing here asks Kubernetes
    children = Children(lambda _owner, _trigger: None, ())

    def wake(key: Any, trigger: str) -> None:
        woken.append((key.name, trigger))

    shared = Context(
        kube=absent,
        objects=Objects(),
        children=children,
        settings=Settings(image="i", lease_namespace="system", identity="a"),
        exported=Exported(lambda _key: None, 60),
        wake=wake,
        secrets=Secrets(secret, time.monotonic, 0.0),
        nats=NatsConnections(wake, time.monotonic),
        redis=RedisConnections(lambda _user, _trigger: None, time.monotonic),
        postgres=PostgresConnections(wake, time.monotonic, answer_seconds=SECONDS),
        background=Background(wake, patience_seconds=1.0),
        comparisons=Room(wake),
        cluster=ClusterIdentity(absent),
    )
    yield shared
    proxy.heal()
    await shared.background.close()
    await shared.postgres.close()


def named(name: str, generation: int = 1) -> Pipeline:
    resource = pipeline(
        name=name,
        database={"connectionSecretRef": {"name": "db"}, "schema": f"outbox_{name}"},
    )
    changed = dataclasses.replace(resource.meta, uid=f"uid-{name}", generation=generation)
    return dataclasses.replace(resource, meta=changed)


def is_in(wanted: tuple[str, str], found: list[tuple[str, str]]) -> bool:
    return wanted in found


@contextlib.contextmanager
def hanging(context: Context, proxy: TcpProxy) -> Iterator[None]:
    """A server that does not answer, and that nobody waits long for."""
    proxy.hold()
    context.postgres._answer_seconds = ANSWER_SECONDS
    yield
    context.postgres._answer_seconds = SECONDS
    proxy.heal()


async def a_look(databases: PipelineDatabase, generation: int = 1) -> DatabaseResult:
    """What a look at the database of a pipeline comes to, however busy the machine is."""

    async def ended() -> DatabaseResult | None:
        result = await databases.ensure(named("orders", generation))
        return None if result.pending else result

    found: DatabaseResult = await eventually(ended, "a look at the database")
    return found


async def test_passes_do_not_wait_for_the_connections_of_others(
    context: Context, proxy: TcpProxy, woken: list[tuple[str, str]]
) -> None:
    """Two connections per login; whoever waits for one ends its pass and says the other parts."""
    databases = PipelineDatabase(context)
    proxy.hold()
    names = [f"p{number}" for number in range(20)]
    started = time.monotonic()
    looks = await asyncio.gather(*(databases.ensure(named(name)) for name in names))
    assert time.monotonic() - started < 15  # one after the other they would take 40
    assert {look.reachable.reason for look in looks} == {Reason.NOT_OBSERVED}
    assert all(look.pending for look in looks)

    proxy.heal()
    for name in names:
        await eventually(partial(is_in, (name, "background"), woken), "its look has ended")
    looks = await asyncio.gather(*(databases.ensure(named(name)) for name in names))
    assert {look.schema_applied.reason for look in looks} == {Reason.UP_TO_DATE}


async def test_a_server_that_hangs_is_seen_while_looks_at_it_wait(
    context: Context, proxy: TcpProxy, woken: list[tuple[str, str]]
) -> None:
    databases, target = PipelineDatabase(context), parse_url("postgresql://u@h/d")
    assert context.postgres.silence(target) is None
    known = await a_look(databases)
    assert known.schema_applied.reason == Reason.UP_TO_DATE

    woken.clear()  # of looks that took long
    with hanging(context, proxy):
        meanwhile = await databases.ensure(named("orders"))
        # What was known holds until somebody knows better; a newer generation is not known.
        assert (meanwhile.reachable, meanwhile.migrated) == (known.reachable, True)
        assert meanwhile.sample is None
        assert (await databases.ensure(named("orders", generation=2))).pending

        await context.postgres.check()
        assert ("orders", "postgres is silent") in woken
        silent = await databases.ensure(named("orders", generation=2))
        assert (silent.reachable.status, silent.reachable.reason) == (
            "False", Reason.POSTGRES_UNREACHABLE,
        )  # fmt: skip
        assert "no answer within 0.3 s" in silent.reachable.message
        inbox = await ensure_inbox(context, handling(), {})
        assert inbox.reachable is not None
        assert inbox.reachable.reason == Reason.POSTGRES_UNREACHABLE

    await eventually(partial(is_in, ("orders", "background"), woken), "the look has ended")
    await context.postgres.check()
    assert ("orders", "postgres answers") in woken
    again = await a_look(databases, generation=2)
    assert again.schema_applied.reason == Reason.UP_TO_DATE


def handling() -> Any:
    return consumer(
        handler={"http": {"url": "http://handler/events"}},
        inbox={"connectionSecretRef": {"name": "db"}},
    )


async def test_what_was_known_does_not_outlive_a_look_that_failed(
    context: Context, database: str
) -> None:
    """The server answers, and the look is not done all the same: a table is locked."""
    context = dataclasses.replace(
        context, background=Background(context.wake, patience_seconds=0.2, longest_seconds=1.0)
    )
    databases, orders = PipelineDatabase(context), named("orders")
    known = await looked_at(databases, orders, lambda result: result.migrated)
    orders = as_known(known, orders)
    locker = await asyncpg.connect(database)
    async with locker.transaction():
        await locker.execute("LOCK TABLE outbox_orders.cursors")
        assert (await databases.ensure(orders)).schema_applied.status == "True"
        cut = await looked_at(databases, orders, lambda result: result.error is not None)
        assert (cut.reachable.status, cut.schema_applied.reason, cut.migrated) == (
            "True", Reason.STATEMENT_TIMEOUT, False,
        )  # fmt: skip
        assert "was not done within 1 s" in cut.schema_applied.message
        # The next look has only begun.
        again = await databases.ensure(as_known(cut, orders))
        assert (again.reachable.status, again.schema_applied.status) == ("Unknown", "Unknown")
        await context.background.close()
    await locker.close()


async def test_what_is_under_way_goes_on_while_nobody_can_read_its_secret(
    context: Context, secret: OneSecret, proxy: TcpProxy, woken: list[tuple[str, str]]
) -> None:
    """As while the API server is restarted. A Secret that is gone, or is nonsense, ends it."""
    databases = PipelineDatabase(context)
    proxy.hold()
    assert (await databases.ensure(named("orders"))).pending
    secret.refusal = KubernetesError("GET secrets shop/db: HTTP 503")
    unread = await databases.ensure(named("orders"))
    assert (unread.reachable.status, unread.reachable.reason) == (
        "Unknown", Reason.KUBERNETES_UNAVAILABLE,
    )  # fmt: skip
    assert (unread.schema_applied.status, unread.located) == ("Unknown", False)
    proxy.heal()
    await eventually(partial(is_in, ("orders", "background"), woken), "the look ends")
    secret.refusal = None
    found = await a_look(databases)
    assert (found.reachable.status, found.error) == ("True", None)

    proxy.hold()
    waiting = named("billing")
    assert (await databases.ensure(waiting)).pending
    secret.refusal = CredentialsError("gone", reason=Reason.SECRET_NOT_FOUND)
    gone = await databases.ensure(waiting)
    assert (gone.reachable.status, gone.reachable.reason) == ("False", Reason.SECRET_NOT_FOUND)
    assert context.background._works == {}, "it is cut"


async def test_what_was_known_says_nothing_of_another_database(
    context: Context, proxy: TcpProxy, secret: OneSecret
) -> None:
    """The Secret leads elsewhere, and whatever is there keeps one waiting."""
    databases = PipelineDatabase(context)
    orders = as_known(await a_look(databases), named("orders"))
    inbox = await ensure_inbox(context, handling(), {})
    known = [condition(part) for part in inbox.parts]
    handler = dataclasses.replace(handling(), status=EventConsumerStatus(conditions=known))
    proxy.hold()
    secret.url = secret.url.replace("127.0.0.1", "localhost")
    looked, inbox = await asyncio.gather(
        databases.ensure(orders), ensure_inbox(context, handler, {})
    )
    parts = [looked.reachable, looked.schema_applied, *inbox.parts]
    assert [part.status for part in parts] == ["Unknown"] * 4
    assert (looked.pending, inbox.pending) == (True, True)


def as_known(result: DatabaseResult, resource: Pipeline) -> Pipeline:
    """A pipeline whose status says what a look came to."""
    said = [condition(result.reachable), condition(result.schema_applied)]
    status = OutboxPipelineStatus(conditions=said, schema=result.schema)
    return dataclasses.replace(resource, status=status)


def condition(part: Part) -> Condition:
    return Condition(
        type=part.type.value, status=part.status, reason=part.reason, observedGeneration=1
    )


async def looked_at(
    databases: PipelineDatabase, resource: Pipeline, holds: Callable[[DatabaseResult], bool]
) -> DatabaseResult:
    """Passes until one comes to what is wanted."""

    async def comes() -> DatabaseResult | None:
        result = await databases.ensure(resource)
        return result if holds(result) else None

    found: DatabaseResult = await eventually(comes, "what is wanted", pause=0.05)
    return found


async def test_an_idle_connection_tells_that_its_server_hangs(
    context: Context, proxy: TcpProxy, woken: list[tuple[str, str]]
) -> None:
    """Nobody looks just now: the next look would find it half a minute later."""
    await a_look(PipelineDatabase(context))
    await context.postgres.check()
    woken.clear()
    with hanging(context, proxy):
        await context.postgres.check()
        assert woken == [("orders", "postgres is silent")]


async def test_a_handlers_pods_wait_for_an_inbox_that_is_not_known(
    context: Context, proxy: TcpProxy
) -> None:
    proxy.hold()
    pending = await ensure_inbox(context, handling(), {})
    assert pending.pending
    assert [part.status for part in pending.parts] == ["Unknown", "Unknown"]
