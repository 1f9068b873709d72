"""The rights on docs/how-to/nats-permissions.md are enough for each role's whole life, and none
can be left out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from nats.aio.client import Client

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.client import Event, NatsLink, Nudge, Publish
from outbox_operator.client import Outbox as Writer
from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent, RetryAfter
from outbox_operator.errors import ConflictError, SpecError
from outbox_operator.wire.config import NatsConfig
from support import consuming
from support.command import outbox_command
from support.consuming import Source
from support.links import open_link
from support.nats import NatsServer, connected, server_binary, with_permissions
from support.outbox import migrate
from support.permission_page import Right, block, in_configuration, in_nsc, rights
from support.permissions import EVERYTHING, ROLE, allow, give, login, violations
from support.relaying import Outbox
from support.waiting import SECONDS, HangsError, eventually, frames

pytestmark = pytest.mark.integration

STREAM, LETTERS, DURABLE = "ORDERS", "ORDERS_DLQ", "orders-billing"
ROOMY = 1 << 30


@dataclass(frozen=True)
class World:
    """Where a role lives: servers, a database, a folder, and an administrator's connection."""

    server: NatsServer
    admin: Client
    database: str
    directory: Path

    @property
    def auth(self) -> NatsAuth:
        return replace(self.server.auth, username=ROLE, password=ROLE)


Life = Callable[[World], Coroutine[Any, Any, None]]


async def operator(world: World) -> None:
    """Streams and durables from their making to their end, and dead letters in between."""
    client = await connect(world.auth, name="operator")
    try:
        await operate(JetStreamAdmin(client, world.auth), world.admin)
    finally:
        await client.close()


async def operate(admin: JetStreamAdmin, other: Client) -> None:
    stream: dict[str, Any] = {
        "name": STREAM, "subjects": ["orders.>"], "storage": "file", "num_replicas": 1,
        "max_bytes": -1,
    }  # fmt: skip
    letters = {
        **stream, "name": LETTERS,
        "subjects": ["dlq.ORDERS.>", "$JS.EVENT.ADVISORY.CONSUMER.*.ORDERS.>"],
    }  # fmt: skip
    durable: dict[str, Any] = {
        "name": DURABLE, "durable_name": DURABLE, "ack_policy": "explicit", "max_deliver": 1,
        "ack_wait": 60_000_000_000,
    }  # fmt: skip
    context = other.jetstream()
    await context.add_stream(name="OTHER", subjects=["orders.>"])
    assert await admin.stream_info(STREAM) is None
    with pytest.raises(ConflictError, match="OTHER"):
        await admin.create_stream(stream)
    await context.delete_stream("OTHER")
    with pytest.raises(SpecError, match="maxBytes wants"):
        await admin.create_stream({**stream, "max_bytes": 1 << 50})
    for config in (stream, letters):
        await admin.stream_info(config["name"])
        await admin.create_stream(config)
        await admin.update_stream({**config, "max_msgs": 1000})
    assert await admin.consumer_info(STREAM, DURABLE) is None
    await admin.create_consumer(STREAM, durable)
    later = {**durable, "pause_until": "2100-01-01T00:00:00Z"}
    await admin.update_consumer(STREAM, later)
    await admin.update_consumer(STREAM, durable)
    await admin.reset_consumer(STREAM, DURABLE, 1)
    await give_up_on_one(other)
    assert await admin.dead_letters(LETTERS).collect(STREAM, DURABLE, "dlq.ORDERS") == 1
    assert await admin.subject_message_count(LETTERS, "dlq.ORDERS.>") == 1
    sampled = await admin.consumer_info(STREAM, DURABLE)
    assert sampled is not None
    await admin.delete_consumer(STREAM, DURABLE)
    await admin.delete_stream(STREAM)
    await admin.delete_stream(LETTERS)


async def give_up_on_one(other: Client) -> None:
    """Have the server tell of a message that it will not deliver again."""
    context = other.jetstream()
    await context.publish("orders.created", b"{}", headers={"Ce-Id": "e1"})
    reader = await context.pull_subscribe_bind(DURABLE, STREAM)
    (message,) = await reader.fetch(1, timeout=SECONDS)
    await message.term()

    async def told() -> bool:
        return bool((await context.stream_info(LETTERS)).state.messages)

    await eventually(told, "an advisory")


async def relay(world: World) -> None:
    """Publish, be nudged, die, and be taken over from with a tail to read."""
    await migrate(world.database)
    connection = await asyncpg.connect(world.database)
    outbox = Outbox(world.database, world.server, world.directory, connection, STREAM)
    process = outbox.relay(
        nats=login(world.server, world.directory), stream=STREAM, subject="orders.{event_type}"
    )
    try:
        await outbox.create_stream(subjects=["orders.>"])
        await process.start().ready()
        await outbox.fill(20)
        await outbox.saved(20)

        async def nudged() -> bool:
            await world.admin.publish("outbox.nudge.shop.orders")
            return process.metric("nudges_total") > 0

        await eventually(nudged, "nudged", relay=process)
        await outbox.killed(process)
        await connection.execute(
            "UPDATE outbox.cursors SET stream_sequence = 2, emission = 2, last_position = 2"
        )
        await process.start().active()
        await outbox.add("a")
        await outbox.saved(21)
        await process.ready()
        assert process.metric("resumed_total") == 18
        assert process.terminate() == 0
        said = [line for line in process.log.splitlines() if "iolation" in line]
        assert not said
    finally:
        outbox.stop_all()
        await connection.close()


async def consumer(world: World) -> None:
    """Fetch, acknowledge, give back, take long, and refuse; alone, and as one of many in order."""
    source = await Source.create(
        world.admin, STREAM, durable=DURABLE, dead_letter_subject="dlq.ORDERS", ack_wait=1.0,
        nats=NatsConfig(**login(world.server, world.directory)),
    )  # fmt: skip
    await world.admin.jetstream().add_stream(name=LETTERS, subjects=["dlq.ORDERS.>"])
    seen: list[str] = []

    async def handle(event: ReceivedEvent, _: Context) -> RetryAfter | DeadLetter | None:
        seen.append(event.type)
        if event.type == "slow":
            await asyncio.sleep(1.5)
        if event.type == "failing" and seen.count("failing") == 1:
            return RetryAfter(seconds=0.01, reason="not yet")
        return DeadLetter("never") if event.type == "bad" else None

    types = ["good", "slow", "failing", "bad"]
    async with consuming.consuming(source.config, consuming.calling(handle)) as app:
        for event_type in types:
            await source.publish(type=event_type)
        await source.settled(4)
        await eventually(lambda: ready(app), "ready")
    assert sorted(seen) == sorted([*types, "failing"])
    assert (await world.admin.jetstream().stream_info(LETTERS)).state.messages == 1
    await source.create_ordered(ack_policy="all")
    config = replace(source.config, ordering="PerKey")
    async with consuming.consuming(config, consuming.calling(handle)):
        await source.publish(type="good", **{"Ce-Partitionkey": "k"})
        await source.settled(5)


async def ready(app: Any) -> bool:
    return (await consuming.readiness(app))[0] == 200


async def nudging(world: World) -> None:
    """Write, commit, nudge."""
    nudges = await world.admin.subscribe("outbox.nudge.shop.orders")
    await world.admin.flush()
    async with sender(world) as link:
        await commit(world, Writer(send=Nudge(link=link, namespace="shop", pipeline="orders")))
        assert (await nudges.next_msg(SECONDS)).data == b""


async def sending(world: World) -> None:
    """Write, commit, publish."""
    await world.admin.jetstream().add_stream(name=STREAM, subjects=["orders.>"])
    attempts = figure("attempts_total")
    successes = figure("success_total")
    async with sender(world) as link:
        send = Publish(
            link=link, namespace="shop", pipeline="orders", subject="orders.{event_type}"
        )
        await commit(world, Writer(send=send))
        assert await asyncio.to_thread(link.flush, SECONDS)
    assert figure("attempts_total") - attempts == figure("success_total") - successes == 1
    assert (await world.admin.jetstream().stream_info(STREAM)).state.messages == 1


def sender(world: World) -> contextlib.AbstractAsyncContextManager[NatsLink]:
    return open_link(
        lambda: nats.connect(world.server.url, user=ROLE, password=ROLE), timeout_seconds=SECONDS
    )


def figure(name: str) -> float:
    import prometheus_client

    labels = {"namespace": "shop", "pipeline": "orders"}
    name = f"outbox_optimistic_send_{name}"
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


async def commit(world: World, writer: Writer) -> None:
    await migrate(world.database)
    connection = await asyncpg.connect(world.database)
    try:
        async with writer.transaction(connection):
            await writer.publish_after_commit(connection, Event(type="created", payload={}))
    finally:
        await connection.close()


async def rebase(world: World) -> None:
    """`outbox rebase` asks the stream where it ends."""
    await migrate(world.database)
    connection = await asyncpg.connect(world.database)
    outbox = Outbox(world.database, world.server, world.directory, connection, STREAM)
    await outbox.create_stream(subjects=["orders.>"])
    config = outbox.relay(
        nats=login(world.server, world.directory), stream=STREAM, subject="orders.{event_type}"
    ).config
    await connection.close()
    done = await outbox_command("rebase", "--config", str(config), "--all", "--yes")
    assert done.code == 0, done.output


async def list_dead_letters(world: World) -> None:
    """`kubectl outbox dlq list` runs `outbox dead-letters` in a relay's pod."""
    context = world.admin.jetstream()
    await context.add_stream(name=LETTERS, subjects=["dlq.ORDERS.>"])
    letter = {"Outbox-Dead-Letter-Reason": "MaxDeliver", "Ce-Id": "event-1"}
    await context.publish(f"dlq.ORDERS.{DURABLE}", b"{}", headers=letter)
    connection = await asyncpg.connect(world.database)
    outbox = Outbox(world.database, world.server, world.directory, connection, STREAM)
    config = outbox.relay(nats=login(world.server, world.directory), stream=STREAM).config
    await connection.close()
    done = await outbox_command("dead-letters", "--config", str(config), "--stream", LETTERS)
    assert (done.code, "event-1" in done.output) == (0, True), done.output


LIVES: dict[str, Life] = {
    "operator": operator,
    "relay": relay,
    "consumer": consumer,
    "service that nudges": nudging,
    "service that sends": sending,
    "`outbox rebase`": rebase,
    "`kubectl outbox dlq list`": list_dead_letters,
}


@pytest.fixture
def server() -> Iterator[NatsServer]:
    options = with_permissions(**{ROLE: EVERYTHING})
    with NatsServer(replace(options, max_file=ROOMY)) as server:
        yield server


@pytest.fixture
async def world(server: NatsServer, database: str, tmp_path: Path) -> Any:
    async with connected(server) as admin:
        yield World(server, admin, database, tmp_path)


def permissions(some: Sequence[Right]) -> dict[str, Any]:
    """What a user may do who has these rows and no others."""
    return allow(
        publish=[right.subject for right in some if right.action == "publish"],
        subscribe=[right.subject for right in some if right.action == "subscribe"],
    )


def test_every_role_is_tried() -> None:
    assert {right.role for right in rights()} == set(LIVES)


@pytest.mark.parametrize("role", LIVES)
async def test_the_rights_of_a_role_are_enough(
    world: World, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    give(world.server, permissions([right for right in rights() if right.role == role]))
    await LIVES[role](world)
    assert violations(world.server) == []
    assert not [r for r in caplog.records if "iolation" in r.getMessage()]
    assert not [r for r in caplog.records if "PermissionDenied" in r.getMessage()]


# A life is ended wherever it stands; in the middle of a login its socket is left to be collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("left_out", rights(), ids=str)
async def test_no_right_can_be_left_out(
    world: World, left_out: Right, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    others = [r for r in rights() if r.role == left_out.role and r != left_out]
    give(world.server, permissions(others))
    life = asyncio.create_task(LIVES[left_out.role](world))
    try:
        await eventually(
            lambda: life.done() or violations(world.server), "refused something", seconds=240
        )
        assert violations(world.server), "nothing was refused"
    finally:
        life.cancel()
        await asyncio.wait([life], timeout=2 * SECONDS)
        assert life.done(), f"goes on although it was cancelled: {''.join(frames(life.get_coro()))}"
        # Of whatever kind, for enough was seen; but it does end.
        assert life.cancelled() or not isinstance(life.exception(), HangsError), life.exception()


@pytest.mark.parametrize("found", [in_configuration(), in_nsc()], ids=["configuration", "nsc"])
def test_the_blocks_to_paste_say_what_the_table_says(
    found: dict[str, set[tuple[str, str]]],
) -> None:
    roles = {
        "operator": ["operator"],
        "relay": ["relay"],
        "consumer": ["consumer"],
        "service": ["service that nudges", "service that sends"],
    }
    wanted = {
        user: {(r.action, r.subject) for r in rights() if r.role in named}
        for user, named in roles.items()
    }
    assert found == wanted


def test_the_server_understands_its_block(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(block("text"))
    answer = subprocess.run(
        [str(server_binary()), "-t", "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
