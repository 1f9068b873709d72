"""`kubectl outbox` against what a real operator says on a real API server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Final

import asyncpg

from support.cli import CommandLine, steady
from support.golden import assert_golden_text
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
GOLDEN: Final = Path(__file__).parent / "golden"


def line_of(world: World) -> CommandLine:
    """The command line in the namespace of a test."""
    return CommandLine(world.kubectl.kubeconfig, world.namespace)


def shown(text: str, world: World) -> str:
    """What was printed, without what differs from run to run."""
    text = text.partition("\nevents\n")[0]  # as many as passes had something to say
    return steady(text, {f"{world.prefix}-orders": "ORDERS", world.namespace: "shop"})


def test_status_shows_what_the_operator_says(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    world.settle()
    outbox = line_of(world)
    assert_golden_text(GOLDEN / "status.txt", shown(outbox("status"), world))
    facts = outbox.facts("status", "orders")
    [pipeline] = facts["pipelines"]
    assert {said["reason"] for said in pipeline["events"]} >= {"InSync", "Stopped"}
    pipeline["events"] = []
    assert_golden_text(GOLDEN / "status.json", shown(json.dumps(facts, indent=1) + "\n", world))
    assert outbox("status", "-o", "name") == "outboxpipeline.outbox.dev/orders\n"
    assert [hop["hop"] for hop in outbox.facts("lag")["hops"]] == [
        "outbox", "consumer/audit", "consumer/billing",
    ]  # fmt: skip
    # The numbers of a database that is gone are not known, and not 0.
    world.apply(world.secret("database", url="postgresql://nobody:x@127.0.0.1:1/gone"))
    world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "PostgresUnreachable")
    [pipeline] = outbox.facts("status", code=1)["pipelines"]
    assert pipeline["rows"]["waiting"] is None
    assert outbox.facts("lag", code=1)["hops"][0]["waiting"] is None
    assert pipeline["rows"]["sample"]["why"] == "PostgresUnreachable"
    assert [one["type"] for one in pipeline["notWell"]] == ["DatabaseReachable"]
    none = outbox.run("status", "billing")
    assert (none.code, none.out) == (1, "")
    assert "no OutboxPipeline 'billing'" in none.err
    assert "billing is a consumer of orders (evc/orders-billing)" in none.err
    assert "there is orders" in none.err


def marks(world: World) -> dict[str, str]:
    """Annotations of ours on the pipeline."""
    found = (world.get(*PIPELINE) or {})["metadata"].get("annotations") or {}
    return {name: value for name, value in found.items() if name.startswith("outbox.dev/")}


def test_verbs_that_change_wait_until_it_took_effect(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    outbox = line_of(world)
    said = [outbox("pause", "orders")]
    assert world.condition("EventStream", "orders", "Paused")["status"] == "True"
    waits = outbox.run("restart", "orders")
    assert waits.code == 1
    said += [waits.out, outbox("resume", "orders")]
    # What was asked for during the pause is done now.
    said += [outbox("restart", "orders"), outbox("restart", "evc/orders-billing")]
    assert marks(world) == {}
    said += [outbox("reconcile", "orders", "evs/orders", "evc/orders-audit")]
    said += [outbox("stop", "orders"), outbox("stop", "orders", "--consumer", "billing")]
    pipeline = world.get(*PIPELINE) or {}
    assert pipeline["spec"]["relay"]["state"] == "Stopped"
    assert [one.get("state") for one in pipeline["spec"]["consumers"]] == ["Stopped", "Running"]
    said += [outbox("start", "orders"), outbox("start", "orders", "--consumer", "billing")]
    refused = outbox.run("stop", "evc/orders-billing")
    assert refused.code == 2
    said += [refused.err]
    assert_golden_text(GOLDEN / "changes.txt", shown("\n".join(said), world))
    # Without a node no relay starts: what was asked for is so, but does not take effect.
    world.kubectl("patch", "obp", "orders", "-n", world.namespace, "--type=merge",
                  '-p={"spec": {"relay": {"replicas": 1}}}')  # fmt: skip
    late = outbox.run("restart", "orders", "--timeout", "1")
    assert late.code == 1
    assert "but it has not taken effect: not within 1 s: " in late.out.replace("\n ", "")
    [found] = outbox.facts("pause", "orders", "--no-wait")["changes"]
    assert (found["done"], found["action"]) == (None, "paused")
    assert marks(world)["outbox.dev/paused"] == "true"


async def kill(url: str, *letters: tuple[str, str]) -> list[str]:
    """Rows among the dead letters of a relay: key and reason; their event ids."""
    connection = await asyncpg.connect(url)
    try:
        statement = """INSERT INTO outbox.dead_letters
            (position, event_id, event_type, partition_key, payload, headers, created_at, reason)
            VALUES (nextval('outbox.events_position_seq'), gen_random_uuid(), 'placed', $1,
                    '{"card": "hidden"}', '{"Trace": "t1"}', now(), $2)
            RETURNING event_id::text"""
        return [await connection.fetchval(statement, *letter) for letter in letters]
    finally:
        await connection.close()


def test_dead_letters_are_counted_replayed_and_purged(world: World) -> None:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    outbox = line_of(world)
    ids = asyncio.run(
        kill(world.database, ("a", "InvalidHeaders"), ("a", "KeyBlocked"), ("b", "MessageTooLarge"))
    )
    world.wait(
        lambda: outbox.facts("dlq", "list")["places"][0]["deadLetters"] == 3, "three are counted"
    )
    assert "relay" in outbox("dlq", "list")
    [counted] = outbox.facts("dlq", "replay", "orders", "--all", "--dry-run")["tasks"]
    assert (counted["reason"], counted["selected"], counted["done"]) == ("DryRun", 3, 0)
    assert (counted["requestedBy"], counted["kind"]) == ("admin", "OutboxPipeline")
    said = outbox("dlq", "replay", "orders", "--key", "a")
    [task] = outbox("dlq", "purge", "orders", "--id", ids[2], "--yes", "-o", "name").split()
    assert task.startswith("outboxtask.outbox.dev/purge-dead-letters-orders-")
    again = outbox("task", task.partition("/")[2])
    text = shown("\n".join([said, again]), world)
    text = re.sub(r"(letters-orders)-\w{5}", r"\1-xxxxx", text)
    assert_golden_text(GOLDEN / "tasks.txt", re.sub(r"after [\d.]+ s", "after N s", text))
    # Asked for what there is not: failed, and nobody has to read it to know.
    lost = outbox.run("dlq", "replay", "orders", "--relay", "--id", ids[2])
    assert lost.code == 1
    assert ids[2] in lost.out
    assert outbox.run("dlq", "purge", "orders", "--relay", "--all").code == 2  # nobody to ask
    assert outbox.run("dlq", "replay", "orders").code == 2  # which ones?
    before = outbox.run("dlq", "replay", "orders", "--relay", "--all", "--no-wait")
    assert before.code == 0
