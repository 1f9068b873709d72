"""Objects that rest: who is woken, and who sleeps on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.pipeline import counted_from
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.resting import Confirming, Kin, Outside, Surroundings
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import KubernetesError, NatsError, OutboxError
from outbox_operator.plan.postgres.state import OutboxNumbers
from support.waiting import eventually

KEY = ObjectKey(meta.PIPELINE, "shop", "orders")
OTHER = ObjectKey(meta.PIPELINE, "shop", "billing")
KIN = ObjectKey(meta.STREAM, "shop", "orders")
SECONDS = 0.005


@dataclass(eq=False)
class Server:
    """Where objects rest: answers what it is told to, and counts how often it was asked."""

    answers: dict[object, object] = field(default_factory=dict)
    asked: int = 0
    wholes: int = 0
    error: Exception | None = None
    hangs: bool = False

    async def ask(
        self, _context: Surroundings, questions: Sequence[Any], *, whole: bool
    ) -> Sequence[object]:
        self.asked += 1
        self.wholes += whole
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return [self.answers.get(one) for one in questions]


@dataclass
class World:
    """A context, the Secrets of its API server, and who was woken."""

    context: Context
    secrets: dict[str, bytes]
    woken: list[ObjectKey]
    refusals: list[OutboxError]
    """What the API server says instead of a Secret, once each."""

    def put(self, key: ObjectKey, version: int, **status: object) -> None:
        metadata = {
            "name": key.name, "namespace": key.namespace, "uid": str(key),
            "resourceVersion": str(version),
        }  # fmt: skip
        self.context.objects.observed({"kind": key.kind, "metadata": metadata, "status": status})

    async def rest(
        self,
        server: Server,
        *,
        key: ObjectKey = KEY,
        answer: object = "a",
        confirming: Confirming | None = None,
    ) -> None:
        """As a pass does it that saw version 5 of the object, and 7 of its kin."""
        server.answers[key] = answer
        digest = await self.context.secrets.digest("shop", {"db"})
        outside = Outside(
            place=server, question=key, answer=answer, secrets=frozenset({"db"}),
            digest=digest, kin={KIN: Kin(self.context.objects.get(KIN) or {})},
        )  # fmt: skip
        self.context.resting.rest(key, outside, 5, SECONDS, confirming)

    async def looks(self, server: Server, count: int = 3) -> None:
        """Wait until so many looks at a server have begun, the last but one of which has ended."""
        wanted = server.asked + count
        await eventually(lambda: server.asked >= wanted, "it was asked")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    absent, secrets, woken = cast(Any, None), {"url": b"one"}, list[ObjectKey]()
    refusals: list[OutboxError] = []

    class Source:
        async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
            if refusals:
                raise refusals.pop()
            return dict(secrets)

    context = Context(
        kube=absent,
        objects=Objects(),
        children=Children(lambda _owner, _trigger: None, ()),
        settings=Settings(image="i", lease_namespace="system", identity="a"),
        exported=Exported(lambda _key: None, 60),
        wake=lambda key, _trigger: woken.append(key),
        secrets=Secrets(Source(), time.monotonic, 0.0),
        nats=NatsConnections(lambda _user, _trigger: None, time.monotonic),
        redis=RedisConnections(lambda _user, _trigger: None, time.monotonic),
        postgres=PostgresConnections(lambda _user, _trigger: None, time.monotonic),
        background=Background(lambda _key, _trigger: None),
        cluster=ClusterIdentity(absent),
        comparisons=Room(lambda _key, _trigger: None),
    )
    found = World(context, secrets, woken, refusals)
    for key, version in ((KEY, 5), (OTHER, 5), (KIN, 7)):
        found.put(key, version)
    running = asyncio.create_task(context.resting.run(context))
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_gets_the_same_answer_sleeps_on(world: World) -> None:
    server = Server()
    await world.rest(server)
    await world.rest(server, key=OTHER)
    await world.looks(server)
    assert (world.woken, len(world.context.resting)) == ([], 2)


async def test_our_own_write_that_the_watch_brings_late_wakes_nobody(world: World) -> None:
    world.put(KEY, 4)
    server = Server()
    await world.rest(server)
    await world.looks(server)
    world.put(KEY, 5)
    await world.looks(server)
    assert world.woken == []


@pytest.mark.parametrize("what", ["answer", "no answer", "status", "kin", "secret", "gone"])
async def test_who_sees_something_else_is_woken_alone(world: World, what: str) -> None:
    """Once: it rests no more until a pass says so."""
    server = Server()
    await world.rest(server)
    await world.rest(server, key=OTHER)
    await world.looks(server)
    match what:
        case "answer":
            server.answers[KEY] = "b"
        case "no answer":
            del server.answers[KEY]
        case "status":
            world.put(KEY, 6)
        case "kin":
            world.context.resting.leave(OTHER)
            world.put(KIN, 8, messages=1)
        case "secret":
            world.context.resting.leave(OTHER)
            world.secrets["url"] = b"two"
        case "gone":
            world.context.objects.lost(world.context.objects.get(KEY) or {})
    await eventually(lambda: world.woken, "it was woken")
    if len(world.context.resting):
        await world.looks(server)
    assert world.woken == [KEY]


@pytest.mark.parametrize("error", [NatsError("away"), ValueError("a defect")])
async def test_all_are_woken_when_nobody_can_be_asked(world: World, error: Exception) -> None:
    server = Server(error=error)
    await world.rest(server)
    await world.rest(server, key=OTHER)
    await eventually(lambda: len(world.woken) == 2, "both were woken")
    assert sorted(world.woken) == sorted([KEY, OTHER])


async def test_an_api_server_that_does_not_answer_once_wakes_nobody(world: World) -> None:
    """As while it is restarted; one that stays away has its Secrets looked after by passes."""
    server, away = Server(), KubernetesError("GET secrets shop/db: HTTP 503")
    await world.rest(server)
    await world.looks(server)
    for _ in range(3):
        world.refusals.append(away)
        await eventually(lambda: not world.refusals, "it was asked")
        await world.looks(server)
    assert world.woken == []
    world.refusals.extend([away, away])
    await eventually(lambda: world.woken == [KEY], "a pass says what is wrong")


async def test_who_cannot_say_that_nothing_changes_says_it_later(world: World) -> None:
    server, said, refused = Server(), list[int](), [KubernetesError("HTTP 503")]

    async def say(version: int) -> int:
        if refused:
            raise refused.pop()
        said.append(version)
        return version

    await world.rest(server, confirming=Confirming(0.0, 60.0, say))
    await eventually(lambda: said, "it was said")
    assert (refused, world.woken) == ([], [])


async def test_who_rests_at_a_silent_server_holds_up_nobody(world: World) -> None:
    silent, server = Server(hangs=True), Server()
    await world.rest(silent)
    await world.rest(server, key=OTHER)
    await world.looks(server)
    assert silent.asked == 1  # and no second time beside it
    server.answers[OTHER] = "b"
    await eventually(lambda: world.woken == [OTHER], "it was woken")


async def test_an_answer_that_a_pass_was_faster_than_wakes_nobody(world: World) -> None:
    class Slow(Server):
        go = asyncio.Event()

        async def ask(
            self, context: Surroundings, questions: Sequence[Any], *, whole: bool
        ) -> Sequence[object]:
            answers = await super().ask(context, questions, whole=whole)
            await self.go.wait()
            return answers

    server = Slow()
    await world.rest(server)
    server.answers[KEY] = "of before"
    await eventually(lambda: server.asked, "it was asked")
    world.context.resting.leave(KEY)
    await world.rest(server, answer="b")
    server.go.set()
    await world.looks(server)
    assert world.woken == []


async def test_who_ends_a_look_by_a_defect_keeps_nobody_else_from_being_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotten, server, read = ObjectKey(meta.PIPELINE, "bank", "a"), Server(), Secrets.digest

    async def digest(self: Secrets, namespace: str, names: Sequence[str]) -> str:
        if namespace == rotten.namespace:
            raise ValueError("nobody has thought of this")
        return await read(self, namespace, names)

    monkeypatch.setattr(Secrets, "digest", digest)
    world.put(rotten, 5)
    await world.rest(server, key=rotten)
    await world.rest(server)
    await eventually(lambda: world.woken == [rotten], "its own pass has to say what is wrong")
    await world.looks(server)
    server.answers[KEY] = "b"
    await eventually(lambda: world.woken == [rotten, KEY], "it was woken")


async def test_a_pass_learns_once_what_a_look_confirmed_last(world: World) -> None:
    server = Server()
    await world.rest(server)
    await world.looks(server)
    world.context.resting.leave(KEY)
    assert world.context.resting.confirmed(KEY) == "a"
    assert world.context.resting.confirmed(KEY) is None


async def test_kin_whose_numbers_were_confirmed_wakes_nobody(world: World) -> None:
    server = Server()
    await world.rest(server)
    world.put(KIN, 8, sampledAt="2026-01-31T00:00:00Z")
    await world.looks(server)
    assert world.woken == []


async def test_now_and_then_all_is_asked(world: World) -> None:
    server, settings = Server(), replace(world.context.settings, catalog_interval_seconds=0.02)
    object.__setattr__(world.context, "settings", settings)
    await world.rest(server)
    await eventually(lambda: server.wholes > 1, "all was asked")
    assert server.asked > server.wholes


async def test_that_nothing_changes_is_said_now_and_then(world: World) -> None:
    server, said = Server(), list[int]()

    async def say(version: int) -> int:
        said.append(version)
        world.put(KEY, version + 1)
        return version + 1

    await world.rest(server, confirming=Confirming(0.02, 0.001, say))
    assert said == []
    await eventually(lambda: len(said) > 2, "it was said again and again")
    assert (said[:3], world.woken) == ([5, 6, 7], [])


async def test_who_finds_something_newer_said_has_a_pass(world: World) -> None:
    async def say(_version: int) -> int:
        raise WriteConflictError("somebody was faster")

    await world.rest(Server(), confirming=Confirming(0.0, 60.0, say))
    await eventually(lambda: world.woken, "it was woken")
    assert world.woken == [KEY]


NUMBERS = OutboxNumbers(
    backlog_rows=0, backlog_is_estimate=False, oldest_age_seconds=0.0, dead_letters=0,
    published_total=5, last_published_at=None, last_position=5, remark=None, notice=None,
    position_notice=None, stream_created=None, taken_at=datetime(2026, 1, 31, tzinfo=UTC),
)  # fmt: skip


def taken(seconds: float, total: int = 5) -> OutboxNumbers:
    at = NUMBERS.taken_at + timedelta(seconds=seconds)
    return replace(NUMBERS, taken_at=at, published_total=total)


@pytest.mark.parametrize(
    ("earlier", "looked", "sample", "counted"),
    [
        (taken(0), taken(290), taken(320, 305), taken(290)),
        (taken(0), taken(290), taken(291, 305), taken(281)),  # else the rate would jump
        (taken(0), taken(3), taken(4, 305), taken(0)),
        (taken(0), None, taken(320, 305), taken(0)),
        (taken(0), taken(290, 6), taken(320, 305), taken(0)),  # those of another rest
        (None, taken(290), taken(320, 305), None),
        (taken(0), taken(290), None, taken(0)),
    ],
)
def test_a_rate_is_not_spread_over_the_time_of_a_rest(
    earlier: OutboxNumbers | None,
    looked: OutboxNumbers | None,
    sample: OutboxNumbers | None,
    counted: OutboxNumbers | None,
) -> None:
    found = counted_from(earlier, looked, sample)
    assert (found, found and found.taken_at) == (counted, counted and counted.taken_at)
