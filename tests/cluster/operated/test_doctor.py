"""`kubectl outbox doctor` and `verify` against what a real operator says on a real API server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from support.cli import CommandLine, steady
from support.golden import assert_golden_text
from support.nats import connected
from support.outbox import publish_all
from support.world import World

GOLDEN: Final = Path(__file__).parent / "golden"


@pytest.fixture
def orders(world: World) -> World:
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    return world


def line_of(world: World) -> CommandLine:
    """The command line in the namespace of a test."""
    return CommandLine(world.kubectl.kubeconfig, world.namespace)


def shown(text: str, world: World) -> str:
    """What was printed, without what differs from run to run."""
    names = {
        f"{world.prefix}-orders": "ORDERS",
        world.namespace: "shop",
        world.database.rpartition("/")[2]: "database",
    }
    text = re.sub(r"127\.0\.0\.1:\d+", "server:1", steady(text, names))
    text = re.sub(r"(diagnose|verify)-orders-\w{5}", r"\1-orders-x", text)
    return re.sub(r"after [\d.]+ s", "after N s", text)


async def unread(world: World) -> None:
    """Commits that are not durable, and messages that nobody reads."""
    connection = await asyncpg.connect(world.database)
    name = world.database.rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    async with connected(world.nats) as client:
        for _ in range(3):
            await client.request(f"{world.prefix}.orders.x", b"1")


async def written(world: World, *, published: bool) -> None:
    """A row, which the cursor says is published or not."""
    connection = await asyncpg.connect(world.database)
    if published:
        await publish_all(connection, "outbox")
    else:
        await connection.execute(
            "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) VALUES "
            "('00000000-0000-0000-0000-000000000001', 'placed', 'a', '1')"
        )
    await connection.close()


def test_the_doctor_says_what_is_wrong_and_what_heals_it(orders: World) -> None:
    outbox = line_of(orders)
    asyncio.run(unread(orders))
    orders.kubectl("annotate", "evs", "orders", "-n", orders.namespace, "outbox.dev/paused=true")
    orders.wait_condition("EventStream", "orders", "Paused", "True")

    found = outbox.run("doctor", "orders")
    facts = outbox.facts("doctor", code=1)
    outside = outbox.run("doctor", "--no-task")

    assert found.code == 1
    assert max(map(len, found.out.splitlines())) <= 80
    assert_golden_text(GOLDEN / "doctor.txt", shown(found.out, orders))
    facts["findings"] = [one for one in facts["findings"] if one["check"] != "LongTransaction"]
    assert_golden_text(GOLDEN / "doctor.json", shown(json.dumps(facts, indent=1) + "\n", orders))
    # Nothing but what the API server shows: an operator that runs elsewhere, and somebody's pause.
    assert "OperatorMissing" in outside.out
    assert "Paused" in outside.out
    assert "NobodyReads" not in outside.out
    assert "made OutboxTask" in found.err
    none = outbox.run("doctor", "billing")
    assert (none.code, none.out) == (1, "")
    assert "there is orders" in none.err


def test_a_verdict_by_the_command_line(orders: World) -> None:
    outbox = line_of(orders)
    asyncio.run(written(orders, published=False))
    waits = outbox.run("verify", "orders")
    asyncio.run(written(orders, published=True))
    lost = outbox.run("verify", "orders", "--since", "1h")

    assert (waits.code, lost.code) == (0, 1)
    assert_golden_text(GOLDEN / "verify.txt", shown(waits.out + lost.out, orders))
    assert outbox.run("verify", "orders", "--since", "1h", "--from-position", "1").code == 2
