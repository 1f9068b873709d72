"""Tasks that look: what a diagnosis finds, and a verdict on table and stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from outbox_operator.wire.message import Place, event_head, event_source, event_time
from support.cli import CommandLine
from support.nats import connected
from support.outbox import publish_all
from support.postgres import PostgresServer, with_login
from support.waiting import eventually
from support.world import World

TASK = "OutboxTask"
ORDERS = {"pipelineRef": {"name": "orders"}}


@pytest.fixture
def orders(world: World) -> World:
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    return world


def result(world: World, name: str) -> dict[str, Any]:
    """What a task answered, once it is at its end."""
    world.wait_condition(TASK, name, "Complete", "True", "Completed")
    body = world.get(TASK, name)
    assert body is not None
    found: dict[str, Any] = body["status"]["result"]
    return found


def findings(world: World, name: str, **target: dict[str, str]) -> list[dict[str, str]]:
    """What a diagnosis finds."""
    world.apply(world.resource(TASK, name, {**target, "diagnose": {}}))
    found: list[dict[str, str]] = result(world, name)["findings"]
    return found


def looked(world: World, name: str, **target: dict[str, str]) -> dict[str, str]:
    """Severity by check of a diagnosis."""
    return {one["check"]: one["severity"] for one in findings(world, name, **target)}


async def test_a_diagnosis_finds_what_was_made_unwell(orders: World) -> None:
    stream = f"{orders.prefix}-orders"
    before = looked(orders, "well", **ORDERS)
    assert "Error" not in before.values()
    assert before["ClearText"] == "Info"
    connection = await asyncpg.connect(orders.database)
    name = orders.database.rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    # Beyond all partitions: the next row goes to the default one.
    await connection.execute(
        "SELECT setval('outbox.events_position_seq', 900 * 1000000000::bigint)"
    )
    await connection.execute("INSERT INTO outbox.events (event_type, payload) VALUES ('x', '1')")
    await connection.close()
    async with connected(orders.nats) as client:
        by_hand = {"durable_name": "by-hand", "ack_policy": "explicit"}
        await client.request(
            f"$JS.API.CONSUMER.CREATE.{stream}.by-hand",
            json.dumps({"stream_name": stream, "config": {"name": "by-hand", **by_hand}}).encode(),
        )
        for _ in range(3):
            await client.request(f"{orders.prefix}.orders.x", b"1")

    found = looked(orders, "unwell", **ORDERS)
    of_stream = looked(orders, "of-stream", streamRef={"name": "orders"})
    of_consumer = looked(orders, "of-consumer", consumerRef={"name": "orders-audit"})

    assert found["DefaultPartition"] == "Warning"
    assert found["CommitsNotDurable"] == "Warning"
    assert found["DurableOfNobody"] == "Info"
    # `audit` has no handler of ours, and nobody reads it.
    assert (
        found["NobodyReads"] == of_stream["NobodyReads"] == of_consumer["NobodyReads"] == "Warning"
    )
    assert "DefaultPartition" not in of_stream
    # The database is away: the rest is looked at all the same.
    orders.apply(orders.secret("database", url="postgresql://nobody:x@127.0.0.1:1/gone"))
    orders.wait_condition("OutboxPipeline", "orders", "DatabaseReachable", "False")
    away = looked(orders, "away", **ORDERS)
    assert away["Unreachable"] == "Error"
    assert away["NobodyReads"] == "Warning"


def test_a_diagnosis_looks_at_archives(world: World, postgres_server: PostgresServer) -> None:
    """Of a pipeline's consumers: what its tables lack, and who is not let in."""
    writer, password = postgres_server.create_role("writer")
    url = with_login(world.database, writer, password)
    archive: dict[str, Any] = {
        "connectionSecretRef": {"name": "writer"},
        "migrationSecretRef": {"name": "database"},
        "retention": [{"name": "default", "keep": "90d"}],
        "migrations": {"policy": "RequireApproval"},
    }
    audit = {"name": "audit", "handler": {"archive": archive}, "replicas": 0}
    world.apply(
        world.secret("database", url=world.database),
        world.secret("writer", url=url),
        world.pipeline(consumers=[audit]),
    )
    consumer = ("EventConsumer", "orders-audit")
    world.wait_condition(*consumer, "SchemaApplied", "False", "ApprovalPending")
    line = CommandLine(world.kubectl.kubeconfig, world.namespace)
    waits = line.run("plan", "show", "evc/orders-audit")
    assert "of the archive: waits for approval" in waits.out
    assert 'CREATE TABLE "archive"."events"' in waits.out
    body = world.get(*consumer)
    assert body is not None
    plan = body["status"]["archive"]["pendingPlan"]["hash"]
    archive["migrations"] = {"policy": "RequireApproval", "approvedPlan": plan}
    world.apply(world.pipeline(consumers=[audit]))
    world.wait_ready(*consumer)
    well = looked(world, "well", **ORDERS)
    assert "Error" not in well.values()
    assert "DatabaseRight" not in well  # its mark names the cluster (FC-AM1)
    # A wrong password, and a database that is not there.
    world.apply(world.secret("writer", url=with_login(world.database, writer, "wrong")))
    world.wait_condition(*consumer, "DatabaseReachable", "False", "CredentialsRejected")
    [refused] = [one for one in findings(world, "refused", **ORDERS) if one["severity"] == "Error"]
    assert refused["object"].startswith("spec.handler.archive.connectionSecretRef, the login of")
    assert "CredentialsRejected" in refused["message"]
    gone = with_login(world.database, writer, password).rpartition("/")[0] + "/gone"
    world.apply(world.secret("writer", url=gone))
    world.wait_condition(*consumer, "DatabaseReachable", "False", "DatabaseMissing")
    [missing] = [one for one in findings(world, "gone", **ORDERS) if one["severity"] == "Error"]
    assert 'database "gone" does not exist' in missing["message"]


async def write(world: World, count: int) -> None:
    """Rows, each with its message in the stream, and the cursor behind them."""
    connection = await asyncpg.connect(world.database)
    await connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) "
        "SELECT 'placed', 'k' || n % 3, to_jsonb(n) FROM generate_series(1, $1::int) n",
        count,
    )
    rows = await connection.fetch("SELECT * FROM outbox.events ORDER BY position")
    await publish_all(connection, "outbox")
    await connection.close()
    async with connected(world.nats) as client:
        for number, row in enumerate(rows, 1):
            head = event_head(
                event_id=str(row["event_id"]), event_type="placed",
                partition_key=row["partition_key"],
                source=event_source(world.namespace, "orders"),
                time=event_time(row["created_at"]), content_type="application/json",
                place=Place(0, row["position"], number),
            )  # fmt: skip
            headers = dict(line.split(": ", 1) for line in head.splitlines())
            subject = f"{world.prefix}.orders.placed"
            await client.request(subject, b"1", headers=headers)


async def test_a_verdict_survives_the_operator(orders: World) -> None:
    await write(orders, 30)
    orders.apply(orders.resource(TASK, "clean", {**ORDERS, "verify": {}}))
    clean = result(orders, "clean")
    assert clean["counts"] == {
        "rows": 30, "messages": 30, "lost": 0, "duplicate": 0, "reordered": 0, "misnumbered": 0,
        "phantom": 0,
    }  # fmt: skip
    assert clean["summary"] == "all of 30 rows are accounted for, once and in order"
    async with connected(orders.nats) as client:
        verb = f"$JS.API.STREAM.MSG.DELETE.{orders.prefix}-orders"
        await client.request(verb, json.dumps({"seq": 7}).encode())
    connection = await asyncpg.connect(orders.database)
    # The table's rows can be read to see where to begin and end, and not to be compared.
    async with connection.transaction():
        await connection.execute("LOCK TABLE outbox.cursors IN ACCESS EXCLUSIVE MODE")
        orders.apply(
            orders.resource(TASK, "again", {**ORDERS, "verify": {"fromPosition": 3}}),
        )

        def at_work() -> bool:
            status = (orders.get(TASK, "again") or {}).get("status") or {}
            return "compares from position 3" in str(status.get("conditions"))

        await eventually(at_work, "a window under way")
        orders.operator.kill()
        orders.operator.start()
    await connection.close()
    await asyncio.to_thread(orders.operator.wait_ready)
    again = result(orders, "again")
    assert (again["counts"]["rows"], again["counts"]["lost"]) == (28, 1)
    [finding] = again["findings"]
    assert (finding["check"], finding["severity"]) == ("Lost", "Error")
    assert "position 7 shard 0" in finding["message"]
    assert "placed" not in json.dumps(again)
