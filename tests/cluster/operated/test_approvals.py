"""Plans that a person decides about, and outboxes set anew, by tasks; with the operator killed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from support.cli import CommandLine, steady
from support.golden import assert_golden_text
from support.postgres import execute
from support.waiting import eventually, wait_until
from support.world import World

GOLDEN: Final = Path(__file__).parent / "golden"
TASK = "OutboxTask"
PIPELINE = ("OutboxPipeline", "orders")
ORDERS = {"pipelineRef": {"name": "orders"}}
DROP = "DROP INDEX outbox.events_shard_xid_idx CASCADE"


def task(world: World, name: str, **spec: Any) -> dict[str, Any]:
    return world.resource(TASK, name, {**ORDERS, "requestedBy": "ann", **spec})


def ended(world: World, name: str, type_: str = "Complete") -> tuple[dict[str, Any], str]:
    """Status and message of a task at its end."""
    said = world.wait_condition(TASK, name, type_, "True")
    return (world.get(TASK, name) or {})["status"], said["message"]


def waits(world: World) -> str:
    """Hash of the plan that waits."""
    world.wait_condition(*PIPELINE, "SchemaApplied", "False", "ApprovalPending")
    body = world.get(*PIPELINE) or {}
    return str(body["status"]["schema"]["pendingPlan"]["hash"])


def history(world: World) -> list[tuple[str, str, str, str]]:
    body = world.get(*PIPELINE) or {}
    return [
        (one["decision"], one["by"], one["through"], one["state"])
        for one in body["status"]["approvals"]["history"]
    ]


@pytest.fixture
def orders(world: World) -> World:
    """A pipeline whose next migrations a person approves."""
    database = {"connectionSecretRef": {"name": "database"}}
    world.apply(world.secret("database", url=world.database), world.pipeline(database=database))
    world.wait_ready(*PIPELINE)
    careful = {"policy": "RequireApproval", "lockTimeout": "60s"}
    world.apply(world.pipeline(database={**database, "migrations": careful}))
    world.wait_ready(*PIPELINE)
    return world


def kill_operator(world: World) -> None:
    world.operator.kill()
    world.operator.start()
    world.operator.wait_ready()


@asynccontextmanager
async def locked(world: World, statement: str) -> AsyncIterator[Callable[[], Any]]:
    """Something in the database that others wait for; gives how many of the operator do."""
    holder, watcher = [await asyncpg.connect(world.database) for _ in range(2)]
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(statement)

    async def waiting() -> list[int]:
        found = await watcher.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND application_name LIKE 'outbox-%'"
        )
        return [row["pid"] for row in found]

    try:
        yield waiting
    finally:
        await transaction.rollback()
        await holder.close()
        await watcher.close()


@pytest.mark.thorough
async def test_a_task_rejects_and_another_approves(orders: World) -> None:
    await execute(orders.database, DROP)
    orders.look_again("obp", "orders")
    plan = waits(orders)
    orders.apply(
        task(orders, "wrong", approveMigration={"planHash": "0" * 16}),
        task(orders, "dry", approveMigration={"planHash": plan}, dryRun=True),
    )
    assert f"what waits is plan {plan}" in ended(orders, "wrong", "Failed")[1]
    assert "statements; nothing was changed" in ended(orders, "dry")[1]
    reason = {"planHash": plan, "reason": "not on a Friday"}
    orders.apply(task(orders, "no", rejectMigration=reason))
    assert f"plan {plan} is rejected" in ended(orders, "no")[1]
    said = orders.wait_condition(*PIPELINE, "SchemaApplied", "False", "PlanRejected")
    assert "by ann at " in said["message"]
    assert "not on a Friday" in said["message"]
    # It holds over a restart, until the plan is another one.
    kill_operator(orders)
    orders.wait_passes("OutboxPipeline", 2)
    assert orders.condition(*PIPELINE, "SchemaApplied")["reason"] == "PlanRejected"
    await execute(orders.database, "ALTER TABLE outbox.events ALTER COLUMN headers DROP NOT NULL")
    orders.look_again("obp", "orders")
    other = waits(orders)
    assert other != plan
    assert history(orders) == [("Rejected", "ann", "OutboxTask no", "Outdated")]
    orders.apply(task(orders, "yes", approveMigration={"planHash": other}))
    assert f"plan {other} is approved" in ended(orders, "yes")[1]
    orders.wait_ready(*PIPELINE)
    assert history(orders)[1:] == [("Approved", "ann", "OutboxTask yes", "Done")]


async def test_an_approval_outlives_the_operator(orders: World) -> None:
    """Killed while the migration that was approved waits for a lock."""
    await execute(orders.database, "ALTER TABLE outbox.events ALTER COLUMN headers DROP NOT NULL")
    orders.look_again("obp", "orders")
    plan = waits(orders)
    async with locked(orders, "LOCK TABLE outbox.events IN ACCESS SHARE MODE") as waiting:
        orders.apply(task(orders, "yes", approveMigration={"planHash": plan}))
        await eventually(waiting, "the migration waits")
        kill_operator(orders)
    assert f"plan {plan} is approved" in ended(orders, "yes")[1]
    orders.wait_ready(*PIPELINE)
    assert history(orders) == [("Approved", "ann", "OutboxTask yes", "Done")]


def steady_text(text: str, world: World, *plans: str) -> str:
    """What was printed, without what differs from run to run."""
    text = steady(text, {f"{world.prefix}-orders": "ORDERS", world.namespace: "shop"})
    for number, plan in enumerate(plans):
        text = text.replace(plan, f"PLAN-{number}")
    text = re.sub(r"(-orders)-\w{5}\b", r"\1-xxxxx", re.sub(r"after [\d.]+ s", "after N s", text))
    text = re.sub(r"obt/(approve|reject)-\S+", r"obt/\1-…", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)  # columns are as wide as times are


def test_plans_on_the_command_line(orders: World) -> None:
    outbox = CommandLine(orders.kubectl.kubeconfig, orders.namespace)
    assert outbox("plan", "show") == "no plan waits\n"
    asyncio.run(
        execute(orders.database, "ALTER TABLE outbox.events ALTER COLUMN headers DROP NOT NULL")
    )
    orders.look_again("obp", "orders")
    plan = waits(orders)
    said = [outbox.run("plan", "show")]
    assert said[0].code == 1
    wrong = outbox.run("plan", "approve", "orders", "0" * 16)
    said += [wrong, outbox.run("plan", "reject", "orders", plan, "--reason", "not on a Friday")]
    assert (wrong.code, said[-1].code) == (1, 0)
    orders.wait_condition(*PIPELINE, "SchemaApplied", "False", "PlanRejected")
    said.append(outbox.run("plan", "show", "orders", columns=None))  # names do not wrap
    # Of two words of one second, which is all that the API server tells, a no is the later one.
    spoken = datetime.fromisoformat(
        (orders.get(*PIPELINE) or {})["status"]["approvals"]["history"][-1]["time"]
    )
    wait_until(lambda: datetime.now(UTC) >= spoken + timedelta(seconds=1), "the next second")
    said.append(outbox.run("plan", "approve", "orders", plan))
    assert said[-1].code == 0, said[-1]
    orders.wait_ready(*PIPELINE)
    said.append(outbox.run("plan", "show", "orders", columns=None))
    assert said[-1].code == 0
    text = "\n".join(one.out for one in said)
    assert_golden_text(GOLDEN / "plans.txt", steady_text(text, orders, plan))
    facts = outbox.facts("plan", "show", "orders")
    text = json.dumps(facts["objects"], indent=1) + "\n"
    assert_golden_text(GOLDEN / "plans.json", steady_text(text, orders, plan))
    assert [one["by"] for one in facts["objects"][0]["decisions"]] == ["admin", "admin"]


def test_rebase_on_the_command_line(orders: World) -> None:
    asyncio.run(write(orders, 3))
    outbox = CommandLine(orders.kubectl.kubeconfig, orders.namespace)
    before = asyncio.run(epoch(orders))
    refused = outbox.run("rebase", "orders", "--all")
    assert (refused.code, asyncio.run(epoch(orders))) == (2, before)
    assert "3 of 3 rows would be published" in refused.err
    assert "--yes says that it may" in refused.err
    nothing = outbox.run("rebase", "orders", "--yes")
    assert (nothing.code, asyncio.run(epoch(orders))) == (1, before)
    done = outbox("rebase", "orders", "--from-position", "2", "--yes")
    assert asyncio.run(epoch(orders)) == before + 1
    text = "\n".join([nothing.out, done])
    assert_golden_text(GOLDEN / "rebase.txt", steady_text(text, orders))


SLOW_COMMIT = """
CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slowly AFTER UPDATE ON outbox.cursors DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (old.owner_epoch <> new.owner_epoch) EXECUTE FUNCTION public.slowly()
"""
"""A commit of a rebase that waits for whoever holds the lock, for as long as that takes."""


async def epoch(world: World) -> int:
    """How often the cursor was set anew: a rebase adds one."""
    connection = await asyncpg.connect(world.database)
    try:
        return int(await connection.fetchval("SELECT owner_epoch FROM outbox.cursors"))
    finally:
        await connection.close()


async def write(world: World, rows: int) -> None:
    await execute(
        world.database,
        "INSERT INTO outbox.events (event_type, payload) "
        f"SELECT 'a', '[]' FROM generate_series(1, {rows})",
    )


async def test_an_outbox_is_set_anew_by_a_task(orders: World) -> None:
    await write(orders, 3)
    before = await epoch(orders)
    orders.apply(
        task(orders, "nothing", rebase={}),
        task(orders, "dry", rebase={"publish": "FromPosition", "position": 2}, dryRun=True),
    )
    assert "say which: all of them" in ended(orders, "nothing", "Failed")[1]
    status, said = ended(orders, "dry")
    assert (status["selected"], status["result"]["counts"]["rows"]) == (2, 3)
    assert "2 of 3 rows would be published" in said
    assert "positions 2 to 3" in status["result"]["findings"][0]["message"]
    assert await epoch(orders) == before
    orders.apply(task(orders, "done", rebase={"publish": "All"}))
    status, said = ended(orders, "done")
    assert "3 of 3 rows are to be published" in said
    assert (status["done"], await epoch(orders)) == (3, before + 1)
    assert "progress" not in status


@pytest.mark.parametrize("became", ["committed", "aborted"])
async def test_an_outbox_is_set_anew_once_whoever_dies(orders: World, became: str) -> None:
    """The operator is killed while its transaction is being committed, and nobody knows yet."""
    await write(orders, 3)
    await execute(orders.database, SLOW_COMMIT)
    before = await epoch(orders)
    async with locked(orders, "SELECT pg_advisory_xact_lock(4711)") as waiting:
        orders.apply(task(orders, "all", rebase={"publish": "All"}))
        (backend,) = await eventually(waiting, "the commit waits")
        kill_operator(orders)
        orders.wait_passes(TASK, 2)  # nobody begins anew what may be done yet
        assert await waiting() == [backend]
        if became == "aborted":
            await execute(orders.database, f"SELECT pg_terminate_backend({backend})")
    status, said = ended(orders, "all")
    assert "3 of 3 rows are to be published" in said
    assert (status["done"], await epoch(orders)) == (3, before + 1)


async def test_a_task_that_is_deleted_changes_nothing(orders: World) -> None:
    await write(orders, 3)
    before = await epoch(orders)
    async with locked(orders, "LOCK TABLE outbox.events IN SHARE MODE") as waiting:
        orders.apply(task(orders, "all", rebase={"publish": "All"}))
        await eventually(waiting, "the rows are locked")
        orders.kubectl("delete", "obt", "all", "-n", orders.namespace, "--wait=false")

        async def let_go() -> bool:
            return not await waiting()

        await eventually(let_go, "the statement is cancelled")
    assert await epoch(orders) == before
