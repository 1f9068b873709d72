"""What `kubectl apply` of an OutboxPipeline does: schema, streams, durables, children, status."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION
from support.nats import connected
from support.postgres import execute
from support.world import World


async def rows(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(record) for record in await connection.fetch(query)]
    finally:
        await connection.close()


def with_consumers(world: World) -> dict[str, Any]:
    return world.pipeline(
        consumers=[
            {"name": "billing", "filterEventTypes": ["order.created"]},
            {"name": "audit"},
        ]
    )


async def test_one_apply_makes_everything(world: World) -> None:
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    assert await rows(world.database, "SELECT version FROM outbox.schema_version") == [
        (CURRENT_SCHEMA_VERSION,)
    ]
    async with connected(world.nats) as client:
        js = client.jetstream()
        stream = await js.stream_info(f"{world.prefix}-orders")
        assert stream.config.subjects == [f"{world.prefix}.orders.>"]
        await js.stream_info(f"{world.prefix}-orders_DLQ")
        billing = await js.consumer_info(f"{world.prefix}-orders", "orders-billing")
        assert billing.config.filter_subject == f"{world.prefix}.orders.order.created"
    body = world.get("OutboxPipeline", "orders")
    assert body is not None
    status = body["status"]
    assert status["schema"]["currentVersion"] == CURRENT_SCHEMA_VERSION
    assert status["stream"]["name"] == f"{world.prefix}-orders"
    assert status["outbox"]["backlogRows"] == 0
    assert {c["name"]: c["ready"] for c in status["consumers"]} == {"billing": True, "audit": True}
    types = {c["type"]: c["status"] for c in status["conditions"]}
    assert types == {
        "Ready": "True", "Reconciling": "False", "Stalled": "False", "DatabaseReachable": "True",
        "SchemaApplied": "True", "StreamReady": "True", "ConsumersReady": "True",
        "RelayAvailable": "True", "Lagging": "False", "ForeignPublisher": "False",
        "Unfenced": "False",
        "StreamLostEvents": "False",
        "PositionsMoved": "False",
        "Paused": "False",
    }  # fmt: skip
    assert all(c["observedGeneration"] == 1 for c in status["conditions"])


async def test_a_cursor_of_another_server_stalls_the_pipeline(world: World) -> None:
    """No pod runs here: the tables alone tell, and the message holds the command."""
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready("OutboxPipeline", "orders")
    await execute(world.database, "UPDATE outbox.cursors SET system_identifier = '42'")
    world.look_again("obp", "orders")
    seen = world.wait_condition("OutboxPipeline", "orders", "Stalled", "True")
    assert seen["reason"] == "CursorFromOtherServer"
    assert f"kubectl outbox rebase orders -n {world.namespace}" in (seen["message"])
    await execute(world.database, "UPDATE outbox.cursors SET system_identifier = NULL")
    world.wait_ready("OutboxPipeline", "orders")


async def test_other_publishers_that_a_relay_met_are_a_condition(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready("OutboxPipeline", "orders")
    assert world.condition("OutboxPipeline", "orders", "ForeignPublisher")["status"] == "False"
    await execute(world.database, "UPDATE outbox.cursors SET remark = 'somebody on orders.x'")
    world.look_again("obp", "orders")
    seen = world.wait_condition("OutboxPipeline", "orders", "ForeignPublisher", "True")
    assert (seen["reason"], seen["message"]) == ("PublishingWithoutFence", "somebody on orders.x")
    assert world.condition("OutboxPipeline", "orders", "Ready")["status"] == "True"


def test_wait_for_ready_works_right_after_apply(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.kubectl(
        "wait", "obp/orders", "-n", world.namespace, "--for=condition=Ready", "--timeout=120s"
    )


def test_the_relay_is_rendered_and_waited_for(world: World) -> None:
    """No node runs pods here: the pipeline must say that, and not that it is ready."""
    world.apply(world.secret("database", url=world.database), world.pipeline(relay={}))
    seen = world.wait_condition("OutboxPipeline", "orders", "RelayAvailable", "False")
    assert "0 of 1 pods ready" in seen["message"] or seen["reason"] == "Creating"
    world.wait(lambda: world.get("Deployment", "orders-relay") is not None, "a Deployment")
    assert world.condition("OutboxPipeline", "orders", "Ready")["status"] == "False"


async def test_what_somebody_breaks_is_put_back_and_said(world: World) -> None:
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    stream = f"{world.prefix}-orders"
    async with connected(world.nats) as client:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=30)
        # As a relay notes it that has published something.
        await execute(
            world.database,
            "UPDATE outbox.cursors SET emission = 5, stream_created = "
            f"'{json.loads(answer.data)['created']}'",
        )
        await client.jetstream().delete_stream(stream)
        await execute(world.database, "DROP INDEX outbox.events_shard_xid_idx CASCADE")
        for kind, name in [
            ("evs", "orders"), ("evc", "orders-billing"), ("obp", "orders"),
        ]:  # fmt: skip
            world.kubectl(
                "annotate", kind, name, "-n", world.namespace, "outbox.dev/reconcile-at=now"
            )

        def repaired() -> bool:
            evs, obp = world.get("EventStream", "orders"), world.get("OutboxPipeline", "orders")
            return bool(
                evs
                and obp
                and evs["status"]["stream"]["driftCorrectedCount"] == 1
                and obp["status"]["schema"]["driftCorrectedCount"] == 1
            )

        world.wait(repaired, "both repairs counted")
        world.look_again("obp", "orders")
        world.wait_condition(
            "OutboxPipeline", "orders", "StreamLostEvents", "True", "StreamRecreated"
        )
        told = {"kind": "EventStream", "trigger": "changed in JetStream"}
        # The server may lose what it has to say of a stream that it deletes.
        await client.jetstream().update_stream(name=stream, subjects=[stream], max_msgs=7)
        world.wait(
            lambda: world.operator.metric("outbox_operator_wakeups_total", **told) > 0,
            "the operator is told of changes in JetStream",
        )
        await client.jetstream().stream_info(stream)
    world.wait_ready("OutboxPipeline", "orders")

    def annotation_removed() -> bool:
        body = world.get("OutboxPipeline", "orders")
        assert body is not None
        return "outbox.dev/reconcile-at" not in body["metadata"].get("annotations", {})

    world.wait(annotation_removed, "the annotation removed")


def test_a_deleted_child_comes_back(world: World) -> None:
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    old = world.get("EventConsumer", "orders-billing")
    assert old is not None
    world.kubectl("delete", "evc", "orders-billing", "-n", world.namespace)

    def back() -> bool:
        new = world.get("EventConsumer", "orders-billing")
        return new is not None and new["metadata"]["uid"] != old["metadata"]["uid"]

    world.wait(back, "a new EventConsumer")
    world.wait_ready("OutboxPipeline", "orders")


def test_a_consumer_taken_out_goes(world: World) -> None:
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    world.apply(world.pipeline(consumers=[{"name": "audit"}]))
    world.wait_gone("EventConsumer", "orders-billing")
    world.wait_ready("OutboxPipeline", "orders")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_follows_the_policy(world: World, policy: str) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline(deletionPolicy=policy))
    world.wait_ready("OutboxPipeline", "orders")
    assert world.exported("pipeline_backlog_rows", pipeline="orders") == 0
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    world.wait_gone("EventStream", "orders")
    world.wait(
        lambda: f'namespace="{world.namespace}"' not in world.operator.fetch("/metrics"),
        "no series of what is gone",
    )
    kept = policy == "Retain"
    found = await rows(world.database, "SELECT to_regclass('outbox.events')::text")
    assert found == [("outbox.events" if kept else None,)]
    async with connected(world.nats) as client:
        names = [s.config.name for s in await client.jetstream().streams_info()]
    assert (f"{world.prefix}-orders" in names) is kept


def test_a_pipeline_that_comes_back_takes_up_what_was_kept(world: World) -> None:
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    world.wait_gone("EventStream", "orders")
    world.apply(with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")


async def test_a_plan_waits_for_approval(world: World) -> None:
    database = {
        "connectionSecretRef": {"name": "database"},
        "migrations": {"policy": "RequireApproval"},
    }
    world.apply(world.secret("database", url=world.database), world.pipeline(database=database))
    world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", "False", "ApprovalPending")
    body = world.get("OutboxPipeline", "orders")
    assert body is not None
    plan = body["status"]["schema"]["pendingPlan"]
    assert any("CREATE TABLE" in statement for statement in plan["statements"])
    assert await rows(world.database, "SELECT to_regclass('outbox.events')") == [(None,)]
    # A hash of another plan does nothing; this one's stays where it is, and counts once.
    for said, status in (("0" * 16, "False"), (plan["hash"], "True")):
        approved = {"migrations": {"policy": "RequireApproval", "approvedPlan": said}}
        world.apply(world.pipeline(database={**database, **approved}))
        seen = world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", status)
    world.wait_ready("OutboxPipeline", "orders")
    body = world.get("OutboxPipeline", "orders")
    assert body is not None
    assert "pendingPlan" not in body["status"]["schema"]
    approvals = body["status"]["approvals"]
    assert approvals["spentPlan"] == plan["hash"]
    (word,) = approvals["history"]
    assert (word["decision"], word["state"], word["plan"]) == ("Approved", "Done", plan["hash"])
    assert word["through"] == "spec.database.migrations.approvedPlan"
    # The same repair, twice: what was approved is done once.
    for says in ("is another plan", "has approved this plan once"):
        await execute(world.database, "DROP INDEX outbox.events_shard_xid_idx CASCADE")
        world.look_again("obp", "orders")
        seen = world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", "False")
        assert says in seen["message"]
        body = world.get("OutboxPipeline", "orders") or {}
        repair = body["status"]["schema"]["pendingPlan"]["hash"]
        approved = {"migrations": {"policy": "RequireApproval", "approvedPlan": repair}}
        world.apply(world.pipeline(database={**database, **approved}))
        if says == "is another plan":
            world.wait_ready("OutboxPipeline", "orders")


async def test_the_relay_of_the_version_before_goes_on_until_the_migration_has_run(
    world: World,
) -> None:
    database = {
        "connectionSecretRef": {"name": "database"},
        "migrations": {"policy": "RequireApproval"},
    }
    world.apply(world.secret("database", url=world.database), world.pipeline(database=database))
    approve(world)
    world.wait_ready("OutboxPipeline", "orders")
    # As an operator of the version before has left it.
    await execute(world.database, "UPDATE outbox.schema_version SET version = version - 1")
    world.look_again("obp", "orders")
    world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", "False", "ApprovalPending")
    relay = ("deployment", "orders-relay", "-n", world.namespace)
    world.kubectl("set", "image", "/".join(relay[:2]), *relay[2:], "relay=outbox-operator:before")
    world.look_again("obp", "orders")
    world.wait_passes("OutboxPipeline", 2)
    assert image(world) == "outbox-operator:before"
    seen = world.condition("OutboxPipeline", "orders", "RelayAvailable")
    assert "until the schema is migrated" in seen["message"]
    approve(world)
    world.wait(lambda: image(world) != "outbox-operator:before", "the relay follows")
    world.wait_ready("OutboxPipeline", "orders")
    # The annotation of versions before is heeded, said to be going, and removed.
    world.wait_event("orders", "Deprecated")
    body = world.get("OutboxPipeline", "orders") or {}
    assert [one["state"] for one in body["status"]["approvals"]["history"]] == ["Done", "Done"]
    world.wait(
        lambda: (
            "outbox.dev/approve-plan"
            not in (world.get("OutboxPipeline", "orders") or {})["metadata"].get("annotations", {})
        ),
        "the annotation is removed",
    )


def image(world: World) -> str:
    """Image of the relay's pods."""
    containers = world.deployment("orders-relay")["spec"]["template"]["spec"]["containers"]
    return str(containers[0]["image"])


def approve(world: World) -> None:
    """Approve the plan that waits, once it does."""
    world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", "False", "ApprovalPending")
    body = world.get("OutboxPipeline", "orders") or {}
    plan = body["status"]["schema"]["pendingPlan"]["hash"]
    world.kubectl(
        "annotate", "obp", "orders", "-n", world.namespace, f"outbox.dev/approve-plan={plan}"
    )


async def test_paused_changes_nothing_and_says_so(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready("OutboxPipeline", "orders")
    world.kubectl("annotate", "obp", "orders", "-n", world.namespace, "outbox.dev/paused=true")
    world.wait_condition("OutboxPipeline", "orders", "Paused", "True")
    await execute(world.database, "DROP INDEX outbox.events_shard_xid_idx CASCADE")
    world.look_again("obp", "orders")
    world.wait_condition("OutboxPipeline", "orders", "Ready", "False", "UpdateFrozen")
    world.kubectl("annotate", "obp", "orders", "-n", world.namespace, "outbox.dev/paused-")
    world.wait_ready("OutboxPipeline", "orders")


def test_spec_is_never_written(world: World) -> None:
    """GitOps tools compare what they applied with what is there."""
    world.apply(world.secret("database", url=world.database), with_consumers(world))
    world.wait_ready("OutboxPipeline", "orders")
    body = world.get("OutboxPipeline", "orders")
    assert body is not None
    assert body["metadata"]["generation"] == 1
    managers = world.kubectl.get("obp", "orders", "-n", world.namespace, "--show-managed-fields")[
        "metadata"
    ]["managedFields"]
    ours = [m for m in managers if m["manager"].startswith("outbox-operator")]
    assert ours
    assert not any("f:spec" in m["fieldsV1"] for m in ours)


def test_no_secret_in_status_events_or_logs(world: World) -> None:
    password = world.database.split("://", 1)[1].split("@", 1)[0].partition(":")[2]
    wrong = world.database.replace(world.database.split("/")[-1], "no_such_database")
    world.apply(world.secret("database", url=wrong), world.pipeline())
    world.wait_condition("OutboxPipeline", "orders", "Ready", "False")
    said = (
        world.kubectl("get", "obp,evs,evc", "-n", world.namespace, "-o", "yaml")
        + str(world.events("orders"))
        + world.operator.text()
    )
    assert password
    assert password not in said


def test_every_condition_is_there_whatever_is_wrong(world: World) -> None:
    document = world.pipeline(
        relay={"replicas": 0, "podTemplate": {"spec": {"containers": "none"}}}
    )
    world.apply(world.secret("database", url=world.database), document)
    world.wait_condition("OutboxPipeline", "orders", "Stalled", "True")
    body = world.get("OutboxPipeline", "orders")
    assert body is not None
    found = {c["type"]: c["status"] for c in body["status"]["conditions"]}
    assert set(found) == {
        "Ready", "Reconciling", "Stalled", "DatabaseReachable", "SchemaApplied", "StreamReady",
        "ConsumersReady", "RelayAvailable", "Lagging", "ForeignPublisher", "Unfenced",
        "StreamLostEvents", "PositionsMoved", "Paused",
    }  # fmt: skip
    assert found["SchemaApplied"] == "True"
    assert found["RelayAvailable"] == "False"
