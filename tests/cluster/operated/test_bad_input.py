"""Wrong, missing and unreachable things: a clear condition, no hot loop, recovery by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from nats.js.api import StreamConfig

from support.nats import NatsOptions, NatsServer, connected
from support.postgres import PostgresServer, execute, running_server, with_login
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
ROW = "INSERT INTO outbox.events (event_type, payload) VALUES ('order.created', '{}')"


# --- refused by the API server -------------------------------------------------------------------


def test_unknown_field(world: World) -> None:
    assert 'unknown field "spec.replica"' in world.refused(world.pipeline(replica=1))


@pytest.mark.parametrize(
    ("part", "value"),
    [("maxAge", "one day"), ("maxBytes", "1GB"), ("duplicateWindow", "2 m"), ("maxAge", "")],
)
def test_unparseable_duration_or_size(world: World, part: str, value: str) -> None:
    document = world.pipeline()
    document["spec"]["stream"][part] = value
    assert f"spec.stream.{part}" in world.refused(document)


def test_immutable_fields(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    document = world.pipeline()
    document["spec"]["stream"]["name"] = "OTHER"
    assert "fixed at creation" in world.refused(document)
    document = world.pipeline(outbox={"payloadType": "bytea"})
    assert "fixed at creation" in world.refused(document)


# --- the specification cannot work ---------------------------------------------------------------


def test_a_template_that_cannot_match_the_stream(world: World) -> None:
    document = world.pipeline()
    document["spec"]["stream"]["subjects"] = [f"{world.prefix}.other.>"]
    world.apply(world.secret("database", url=world.database), document)
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "InvalidSpec")
    assert f"{world.prefix}.orders." in seen["message"]
    assert f"{world.prefix}.other.>" in seen["message"]
    world.assert_no_hot_loop("OutboxPipeline")
    world.apply(world.pipeline())
    world.wait_ready(*PIPELINE)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"spec": {"nodeSelectr": {"disk": "ssd"}}}, "nodeSelectr"),
        ({"spec": {"nodeSelector": "ssd"}}, "nodeSelector"),
        (
            {"spec": {"containers": [{"name": "relay", "resources": {"limits": {"cpu": "lots"}}}]}},
            "quantit",
        ),
        ({"spec": {"tolerations": [{"key": "x", "effect": "Whatever"}]}}, "effect"),
        ({"metadata": {"labels": {"a b": "c"}}}, "a b"),
    ],
)
def test_a_pod_template_that_kubernetes_refuses(
    world: World, template: dict[str, Any], words: str
) -> None:
    document = world.pipeline(relay={"replicas": 0, "podTemplate": template})
    world.apply(world.secret("database", url=world.database), document)
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "InvalidSpec")
    assert words in seen["message"]
    world.apply(world.pipeline())
    world.wait_ready(*PIPELINE)
    assert world.condition(*PIPELINE, "Ready")["reason"] == "Stopped"


def test_an_immutable_field_that_only_the_server_knows(world: World) -> None:
    """The EventStream is new, the stream is not: storage cannot change in place."""
    world.apply(world.stream(storage="Memory"))
    world.wait_ready("EventStream", "orders")
    world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--timeout=120s")
    world.apply(world.stream(storage="File"))
    seen = world.wait_condition("EventStream", "orders", "Stalled", "True", "ImmutableFieldChanged")
    for word in ("storage", "file", "memory"):
        assert word in seen["message"].lower()
    world.assert_no_hot_loop("EventStream")


# --- two claims on one thing ---------------------------------------------------------------------


def test_two_pipelines_on_one_table(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline("orders"))
    world.wait_ready(*PIPELINE)
    world.apply(world.pipeline("second"))
    seen = world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    assert f"OutboxPipeline/{world.namespace}/orders" in seen["message"]
    world.wait_ready(*PIPELINE)
    world.assert_no_hot_loop("OutboxPipeline")
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    # Retained, it carries the mark of one that is gone: taking it over is a word of a person.
    database = {"connectionSecretRef": {"name": "database"}, "adoptionPolicy": "Adopt"}
    world.apply(world.pipeline("second", database=database))
    world.wait_condition("OutboxPipeline", "second", "SchemaApplied", "True")


def test_two_pipelines_on_one_stream(world: World) -> None:
    other = world.pipeline("second")
    other["spec"]["database"]["schema"] = "second"
    other["spec"]["stream"] = world.pipeline()["spec"]["stream"]
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready(*PIPELINE)
    world.apply(other)
    seen = world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    assert f"EventStream/{world.namespace}/orders" in seen["message"]
    world.wait_ready(*PIPELINE)


async def test_a_stream_that_nobody_declared(world: World) -> None:
    async with connected(world.nats) as client:
        await client.jetstream().add_stream(
            StreamConfig(name=f"{world.prefix}-orders", subjects=[f"{world.prefix}.orders.>"])
        )
    world.apply(world.secret("database", url=world.database), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "StreamExists")
    assert "adoptionPolicy: Adopt" in seen["message"]
    document = world.pipeline()
    document["spec"]["stream"]["adoptionPolicy"] = "Adopt"
    world.apply(document)
    world.wait_ready(*PIPELINE)


# --- Secrets and roles ---------------------------------------------------------------------------


def test_a_secret_that_comes_later(world: World) -> None:
    world.apply(world.pipeline())
    seen = world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretNotFound")
    assert f"{world.namespace}/database" in seen["message"]
    world.assert_no_hot_loop("OutboxPipeline")
    world.apply(world.secret("database", address=world.database))
    seen = world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretKeyNotFound")
    assert "'url'" in seen["message"]
    world.apply(world.secret("database", url=world.database))
    world.wait_ready(*PIPELINE)


async def test_a_wrong_password(world: World, postgres_server: PostgresServer) -> None:
    role, right = postgres_server.create_role("owner")
    name = urlsplit(world.database).path[1:]
    await execute(world.database, f'GRANT CREATE ON DATABASE "{name}" TO {role}')
    wrong = with_login(world.database, role, "wrong-secret")
    world.apply(world.secret("database", url=wrong), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "CredentialsRejected")
    assert role in seen["message"]
    assert "wrong-secret" not in str(world.get(*PIPELINE))
    world.assert_no_hot_loop("OutboxPipeline")
    world.apply(world.secret("database", url=with_login(world.database, role, right)))
    world.wait_ready(*PIPELINE)


async def test_a_role_that_may_not_create_tables(
    world: World, postgres_server: PostgresServer
) -> None:
    role, password = postgres_server.create_role("poor")
    name = urlsplit(world.database).path[1:]
    url = with_login(world.database, role, password)
    world.apply(world.secret("database", url=url), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "SchemaApplied", "False", "PermissionDenied")
    assert "GRANT" in seen["message"]
    assert role in seen["message"]
    world.assert_no_hot_loop("OutboxPipeline")
    await execute(world.database, f'GRANT CREATE ON DATABASE "{name}" TO {role}')
    world.wait_ready(*PIPELINE)


async def test_a_table_of_that_name_with_other_columns(world: World) -> None:
    await execute(
        world.database,
        "CREATE SCHEMA outbox",
        "CREATE TABLE outbox.events (id int PRIMARY KEY, note text)",
        "INSERT INTO outbox.events VALUES (1, 'mine')",
    )
    world.apply(world.secret("database", url=world.database), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "SchemaApplied", "False")
    assert "outbox.events" in seen["message"]
    assert world.condition(*PIPELINE, "Stalled")["status"] == "True"
    world.assert_no_hot_loop("OutboxPipeline")
    await execute(world.database, "ALTER TABLE outbox.events SET SCHEMA public")
    world.wait_ready(*PIPELINE)
    await execute(world.database, "SELECT id, note FROM public.events")


# --- NATS is not as needed -----------------------------------------------------------------------


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


def test_nats_without_jetstream(world: World) -> None:
    with NatsServer(NatsOptions(jetstream=False)) as server:
        world.apply(world.stream(nats={"url": server.url}))
        seen = world.wait_condition(
            "EventStream", "orders", "Ready", "False", "JetStreamNotEnabled"
        )
        assert "JetStream is not enabled" in seen["message"]
        world.assert_no_hot_loop("EventStream")
        server.restart(jetstream=True)
        world.wait_ready("EventStream", "orders")


def test_a_server_that_is_too_old_for_a_field(world: World) -> None:
    with NatsServer(version="2.10.26") as server:
        world.apply(world.stream(nats={"url": server.url}, allowMessageSchedules=True))
        seen = world.wait_condition("EventStream", "orders", "Stalled", "True", "UnsupportedServer")
        assert "allowMessageSchedules" in seen["message"]
        world.apply(world.stream(name="plain", nats={"url": server.url}))
        world.wait_ready("EventStream", "plain")


def test_more_storage_than_the_account_has(world: World) -> None:
    with NatsServer(NatsOptions(max_file=10_000_000)) as server:
        world.apply(world.stream(nats={"url": server.url}, maxBytes="1Gi"))
        seen = world.wait_condition("EventStream", "orders", "StreamReady", "False")
        assert "1073741824" in seen["message"] or "1Gi" in seen["message"]
        world.assert_no_hot_loop("EventStream")
        world.apply(world.stream(nats={"url": server.url}, maxBytes="1Mi"))
        world.wait_ready("EventStream", "orders")


async def test_nats_goes_and_comes_back(world: World, own_nats: NatsServer) -> None:
    document = world.pipeline(
        nats={"url": own_nats.url},
        consumers=[{"name": "audit"}],
        stream={"name": "ORDERS", "subject": "orders.{event_type}", "maxAge": "1h"},
    )
    world.apply(world.secret("database", url=world.database), document)
    world.wait_ready(*PIPELINE)
    began = time.monotonic()
    async with connected(own_nats) as client:
        for _ in range(3):
            await client.jetstream().publish("orders.a", b"{}")
    of_consumer = {"consumer": "orders-audit", "pipeline": "orders", "stream": "orders"}
    of_stream = {"stream": "orders", "pipeline": "orders"}
    world.wait_exported(3, "consumer_pending", **of_consumer)
    world.wait_exported(3, "stream_messages", **of_stream)
    assert world.exported("stream_max_age_seconds", **of_stream) == 3600
    assert world.exported("stream_max_bytes", **of_stream) is None
    age = world.exported("consumer_oldest_unread_age_seconds", **of_consumer)
    assert age is not None
    assert 0 < age < time.monotonic() - began
    assert world.exported("consumer_ready_replicas", **of_consumer) is None  # nobody handles it
    own_nats.kill()
    seen = world.wait_condition(*PIPELINE, "Ready", "False", "NatsUnreachable")
    assert str(own_nats.port) in seen["message"]
    # What cannot be known is not there; what can is, and is what the status says.
    world.wait_exported(None, "consumer_pending", **of_consumer)
    world.wait_exported(None, "stream_messages", **of_stream)
    since = world.exported("consumer_sample_timestamp_seconds", **of_consumer)
    await execute(world.database, ROW)
    world.wait_exported(1, "pipeline_backlog_rows", pipeline="orders")
    world.wait(
        lambda: (world.get(*PIPELINE) or {})["status"]["outbox"]["backlogRows"] == 1,
        "backlogRows: 1",
    )
    assert since is not None
    assert world.exported("consumer_sample_timestamp_seconds", **of_consumer) == since
    world.assert_no_hot_loop("EventStream")
    own_nats.start()
    world.wait_ready(*PIPELINE)
    world.wait_exported(3, "consumer_pending", **of_consumer)


async def test_postgres_goes_and_comes_back(world: World) -> None:
    orders = {"pipeline": "orders"}
    reachable = {"kind": PIPELINE[0], "name": "orders", "type": "DatabaseReachable"}
    with running_server() as server:
        url = server.create_database()
        world.apply(world.secret("database", url=url), world.pipeline())
        world.wait_ready(*PIPELINE)
        await execute(url, ROW, ROW)
        world.wait_exported(2, "pipeline_backlog_rows", **orders)
        age = world.exported("pipeline_oldest_age_seconds", **orders)
        assert age is not None
        assert age > 0
        assert world.exported("condition", status="True", **reachable) == 1
        server.kill()
        seen = world.wait_condition(*PIPELINE, "Ready", "False", "PostgresUnreachable")
        assert str(urlsplit(url).port) in seen["message"]
        world.wait_exported(None, "pipeline_backlog_rows", **orders)
        assert world.exported("pipeline_oldest_age_seconds", **orders) is None
        assert world.exported("condition", status="True", **reachable) == 0
        assert world.exported("condition", status="False", **reachable) == 1
        since = world.exported("pipeline_sample_timestamp_seconds", **orders)
        assert since is not None
        world.wait_passes("OutboxPipeline", 2)
        assert world.exported("pipeline_sample_timestamp_seconds", **orders) == since
        assert world.exported("pipeline_relay_wanted_replicas", **orders) == 0
        server.start()
        world.wait_ready(*PIPELINE)
        world.wait_exported(2, "pipeline_backlog_rows", **orders)


# --- deletion ------------------------------------------------------------------------------------


def test_delete_with_nats_down_ends(world: World, own_nats: NatsServer) -> None:
    """Within its deadline, saying what was left behind."""
    world.apply(world.stream(nats={"url": own_nats.url}, deletionPolicy="Delete"))
    world.wait_ready("EventStream", "orders")
    own_nats.kill()
    world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--wait=false")
    world.wait_gone("EventStream", "orders")
    reasons = {event["reason"] for event in world.events("orders")}
    assert "CleanupAbandoned" in reasons


def test_delete_that_keeps_the_data_needs_no_server(world: World, own_nats: NatsServer) -> None:
    world.apply(
        world.secret("database", url=world.database), world.pipeline(nats={"url": own_nats.url})
    )
    world.wait_ready(*PIPELINE)
    own_nats.kill()
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=120s")
    reasons = {event["reason"] for event in world.events("orders")}
    assert not {"CleanupFailed", "CleanupAbandoned"} & reasons


def test_delete_of_the_namespace(world: World) -> None:
    """Secrets may go first: the namespace must not hang on our finalizers."""
    world.apply(
        world.secret("database", url=world.database),
        world.pipeline(deletionPolicy="Delete", consumers=[{"name": "audit"}]),
    )
    world.wait_ready(*PIPELINE)
    world.kubectl("delete", "namespace", world.namespace, "--timeout=120s")
    world.kubectl("create", "namespace", world.namespace)  # the fixture deletes it again
