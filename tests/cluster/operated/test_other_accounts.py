"""A login that leads elsewhere, although nothing else was changed, leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from outbox_operator.adapters.nats.driver import WireClient
from support.nats import NatsOptions, NatsServer, connected
from support.world import HANDLER, World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")
BILLING = ("EventConsumer", "billing")
ALONE = ("EventConsumer", "alone")
USER = {"userSecretRef": {"name": "nats"}}
TWO_ACCOUNTS = NatsOptions(
    extra={
        "accounts": {
            "A": {"jetstream": True, "users": [{"user": "a", "password": "a"},
                                               {"user": "a2", "password": "a2"}]},
            "B": {"jetstream": True, "users": [{"user": "b", "password": "b"}]},
        }
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def accounts() -> Iterator[NatsServer]:
    """A server with accounts A (users a, a2) and B (user b)."""
    with NatsServer(TWO_ACCOUNTS) as server:
        yield server


@contextmanager
def operator_down(world: World) -> Iterator[None]:
    world.operator.stop()
    try:
        yield
    finally:
        world.operator.start()
        world.operator.wait_ready()


def logs_in_as(world: World, user: str) -> None:
    world.apply(world.secret("nats", username=user, password=user))


async def has_stream(client: WireClient, name: str) -> bool:
    answer = await client.request(f"$JS.API.STREAM.INFO.{name}", b"")
    return b'"config"' in answer.data


def templates(world: World, *names: str) -> list[Any]:
    return [world.deployment(name)["spec"]["template"] for name in names]


def moves(world: World, name: str) -> list[str]:
    return [one["note"] for one in world.events(name) if one["reason"] == "Moved"]


def status(world: World, kind: str, name: str) -> dict[str, Any]:
    return dict((world.get(kind, name) or {}).get("status") or {})


def pending(world: World, kind: str, name: str) -> str:
    return str(status(world, kind, name)["pendingMove"]["hash"])


def is_counted(world: World, name: str) -> bool:
    return bool(status(world, "EventConsumer", name)["consumer"]["pending"] == 2)


@pytest.mark.thorough
async def test_another_account_of_the_same_server(world: World, accounts: NatsServer) -> None:
    """By a Secret alone: seen, also when it happens while nobody looks."""
    stream, pods = f"{world.prefix}-orders", ("orders-relay", "orders-billing-consumer")
    logs_in_as(world, "a")
    world.apply(
        world.secret("database", url=world.database),
        world.pipeline(
            nats={"url": accounts.url, **USER},
            consumers=[{"name": "billing", "handler": HANDLER, "replicas": 0}],
        ),
    )
    world.wait_ready(*PIPELINE)
    alone = world.resource(
        "EventConsumer", "alone", {"streamName": stream, "nats": {"url": accounts.url, **USER}}
    )
    world.apply(alone)
    world.wait_ready(*ALONE)
    async with connected(accounts, "a") as home, connected(accounts, "b") as there:
        for _ in range(2):
            await home.jetstream().publish(f"{world.prefix}.orders.created", b"{}")
        before = templates(world, *pods)
        logs_in_as(world, "b")
        held = world.wait_condition(*PIPELINE, "StreamReady", "False", "ApprovalPending")
        assert "2 messages wait for consumers" in held["message"]
        assert "account A" in held["message"]
        assert world.condition(*PIPELINE, "Stalled")["status"] == "True"
        world.wait_condition(*PIPELINE, "ConsumersReady", "False", "ApprovalPending")
        # Back again, then away while nobody looks.
        logs_in_as(world, "a")
        world.wait_ready(*PIPELINE)
        for name in ("orders-billing", "alone"):
            world.wait(partial(is_counted, world, name), f"what waits for {name} is counted")
        with operator_down(world):
            logs_in_as(world, "b")
        held = world.wait_condition(*PIPELINE, "StreamReady", "False", "ApprovalPending")
        world.wait_condition(*PIPELINE, "ConsumersReady", "False", "ApprovalPending")
        world.wait_condition(*PIPELINE, "RelayAvailable", "Unknown", "ApprovalPending")
        assert templates(world, *pods) == before
        assert not await has_stream(there, stream)
        assert moves(world, "orders") == []
        plan = pending(world, *PIPELINE)
        assert f"approve plan {plan}, set spec.database.migrations.approvedPlan" in held["message"]
        wrong = {"streamRef": {"name": "orders"}, "approveMigration": {"planHash": plan}}
        world.apply(world.resource("OutboxTask", "wrong", wrong))
        failed = world.wait_condition("OutboxTask", "wrong", "Failed", "True")
        assert "is made by OutboxPipeline orders, on which its moves" in failed["message"]
        approve = {"spec": {"database": {"migrations": {"approvedPlan": plan}}}}
        options = ("-n", world.namespace, "--type=merge", "-p", json.dumps(approve))
        world.kubectl("patch", "obp", "orders", *options)
        world.wait(lambda: bool(moves(world, "orders")), "it has moved")
        world.wait_ready(*PIPELINE)
        assert await has_stream(there, stream)
        assert await has_stream(home, stream)
        (said,) = moves(world, "orders")
        assert "2 messages wait" in said
        assert "stay there" in said
        for one, old in zip(templates(world, *pods), before, strict=True):
            assert one != old
        # Who reads it without an EventStream decides for himself.
        world.wait_condition(*ALONE, "ConsumerReady", "False", "ApprovalPending")
        # By a task this time.
        said_yes = {"planHash": pending(world, *ALONE)}
        task = {"consumerRef": {"name": "alone"}, "approveMigration": said_yes}
        world.apply(world.resource("OutboxTask", "yes", task))
        world.wait_condition("OutboxTask", "yes", "Complete", "True")
        world.wait_ready(*ALONE)
        world.wait(lambda: "2 messages wait" in str(moves(world, "alone")), "it is said")
        # Nothing waits in B: back it goes by itself, as another user of A.
        logs_in_as(world, "a2")
        world.wait(lambda: len(moves(world, "orders")) == 2, "it has moved back")
        world.wait_ready(*PIPELINE)


def test_pods_stay_where_they_are_until_it_is_known_where_a_login_leads(world: World) -> None:
    """Of an inbox, and of an outbox; a process that has just begun knows no better."""
    inbox = {"connectionSecretRef": {"name": "inbox"}}
    pods = ("orders-relay", "billing-consumer")
    world.apply(
        world.secret("database", url=world.database),
        world.secret("inbox", url=world.database),
        world.pipeline(),
        world.consumer(handler=HANDLER, replicas=0, inbox=inbox),
    )
    world.wait_ready(*PIPELINE)
    world.wait_ready(*BILLING)
    before = templates(world, *pods)
    parts = urlsplit(world.database)
    away = parts._replace(netloc=f"u:p@{parts.hostname}:1").geturl()
    with operator_down(world):
        world.apply(world.secret("inbox", url=away), world.secret("database", url=away))
    for kind in (PIPELINE, BILLING):
        world.wait_condition(*kind, "DatabaseReachable", "False", "PostgresUnreachable")
    unknown = world.wait_condition(*BILLING, "WorkloadAvailable", "Unknown", "ApprovalPending")
    assert "DatabaseReachable" in unknown["message"]
    world.wait_condition(*PIPELINE, "RelayAvailable", "Unknown", "ApprovalPending")
    assert templates(world, *pods) == before
    # As before again.
    world.apply(
        world.secret("inbox", url=world.database), world.secret("database", url=world.database)
    )
    world.wait_ready(*PIPELINE)
    world.wait_ready(*BILLING)
    assert templates(world, *pods) == before
