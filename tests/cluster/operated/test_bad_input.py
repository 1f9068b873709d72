"""Wrong, missing and unreachable things: a clear condition, no hot loop, recovery by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from nats.js.api import StreamConfig

from support.kube import Kubectl, control_plane, install_crds, kubectl_program, unique_cluster
from support.nats import NatsOptions, NatsServer, connected
from support.operator import running_operator
from support.postgres import running_server
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")


async def sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"


def assert_no_hot_loop(world: World, seconds: float = 4.0, most: int = 6) -> None:
    """What is wrong stays wrong for a while: the operator must not spin on it."""
    before, end = world.passes(), time.monotonic() + seconds
    world.wait(lambda: time.monotonic() > end, "time passes", seconds + 5)
    assert world.passes() - before <= most


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
    assert_no_hot_loop(world)
    world.apply(world.pipeline())
    world.wait_ready(*PIPELINE)


def test_fields_that_do_not_work_yet_are_refused_by_name(world: World) -> None:
    world.apply(
        world.secret("database", url=world.database),
        world.pipeline(relay={"autoscaling": {}}),
    )
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "NotSupportedYet")
    assert "spec.relay.autoscaling" in seen["message"]


def test_an_immutable_field_that_only_the_server_knows(world: World) -> None:
    """The EventStream is new, the stream is not: storage cannot change in place."""
    world.apply(world.stream(storage="Memory"))
    world.wait_ready("EventStream", "orders")
    world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--timeout=30s")
    world.apply(world.stream(storage="File"))
    seen = world.wait_condition("EventStream", "orders", "Stalled", "True", "ImmutableFieldChanged")
    for word in ("storage", "file", "memory"):
        assert word in seen["message"].lower()
    assert_no_hot_loop(world)


# --- two claims on one thing ---------------------------------------------------------------------


def test_two_pipelines_on_one_table(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline("orders"))
    world.wait_ready(*PIPELINE)
    world.apply(world.pipeline("second"))
    seen = world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    assert f"OutboxPipeline/{world.namespace}/orders" in seen["message"]
    world.wait_ready(*PIPELINE)
    assert_no_hot_loop(world)
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
    world.wait_condition("OutboxPipeline", "second", "SchemaApplied", "True", deadline=90)


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
    world.wait_ready(*PIPELINE, deadline=60)


# --- Secrets and roles ---------------------------------------------------------------------------


def test_a_secret_that_comes_later(world: World) -> None:
    world.apply(world.pipeline())
    seen = world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretNotFound")
    assert f"{world.namespace}/database" in seen["message"]
    assert_no_hot_loop(world)
    world.apply(world.secret("database", uri=world.database))
    seen = world.wait_condition(
        *PIPELINE, "DatabaseReachable", "False", "SecretKeyNotFound", deadline=90
    )
    assert "'url'" in seen["message"]
    world.apply(world.secret("database", url=world.database))
    world.wait_ready(*PIPELINE, deadline=90)


async def test_a_wrong_password(world: World) -> None:
    role = f"r_{world.prefix.replace('-', '_')}".lower()
    name = urlsplit(world.database).path[1:]
    await sql(
        world.database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'right'",
        f'GRANT CREATE ON DATABASE "{name}" TO {role}',
    )
    try:
        wrong = with_login(world.database, role, "wrong-secret")
        world.apply(world.secret("database", url=wrong), world.pipeline())
        seen = world.wait_condition(*PIPELINE, "Stalled", "True", "CredentialsRejected")
        assert role in seen["message"]
        assert "wrong-secret" not in str(world.get(*PIPELINE))
        assert_no_hot_loop(world)
        world.apply(world.secret("database", url=with_login(world.database, role, "right")))
        world.wait_ready(*PIPELINE, deadline=90)
    finally:
        world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
        await sql(world.database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


async def test_a_role_that_may_not_create_tables(world: World) -> None:
    role = f"r_{world.prefix.replace('-', '_')}".lower()
    name = urlsplit(world.database).path[1:]
    await sql(world.database, f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        url = with_login(world.database, role, "p")
        world.apply(world.secret("database", url=url), world.pipeline())
        seen = world.wait_condition(*PIPELINE, "SchemaApplied", "False", "PermissionDenied")
        assert "GRANT" in seen["message"]
        assert role in seen["message"]
        assert_no_hot_loop(world)
        await sql(world.database, f'GRANT CREATE ON DATABASE "{name}" TO {role}')
        world.wait_ready(*PIPELINE, deadline=90)
    finally:
        world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
        await sql(world.database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


async def test_a_table_of_that_name_with_other_columns(world: World) -> None:
    await sql(
        world.database,
        "CREATE SCHEMA outbox",
        "CREATE TABLE outbox.events (id int PRIMARY KEY, note text)",
        "INSERT INTO outbox.events VALUES (1, 'mine')",
    )
    world.apply(world.secret("database", url=world.database), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "SchemaApplied", "False")
    assert "outbox.events" in seen["message"]
    assert world.condition(*PIPELINE, "Stalled")["status"] == "True"
    assert_no_hot_loop(world)
    await sql(world.database, "ALTER TABLE outbox.events SET SCHEMA public")
    world.wait_ready(*PIPELINE, deadline=90)
    await sql(world.database, "SELECT id, note FROM public.events")


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
        assert_no_hot_loop(world)
        server.restart(jetstream=True)
        world.wait_ready("EventStream", "orders", deadline=90)


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
        assert_no_hot_loop(world)
        world.apply(world.stream(nats={"url": server.url}, maxBytes="1Mi"))
        world.wait_ready("EventStream", "orders", deadline=90)


def test_nats_goes_and_comes_back(world: World, own_nats: NatsServer) -> None:
    document = world.pipeline(nats={"url": own_nats.url})
    world.apply(world.secret("database", url=world.database), document)
    world.wait_ready(*PIPELINE)
    own_nats.kill()
    seen = world.wait_condition(*PIPELINE, "Ready", "False", "NatsUnreachable", deadline=30)
    assert str(own_nats.port) in seen["message"]
    assert_no_hot_loop(world)
    own_nats.start()
    world.wait_ready(*PIPELINE, deadline=30)


def test_postgres_goes_and_comes_back(world: World) -> None:
    with running_server() as server:
        url = server.create_database()
        world.apply(world.secret("database", url=url), world.pipeline())
        world.wait_ready(*PIPELINE)
        server.kill()
        seen = world.wait_condition(*PIPELINE, "Ready", "False", "PostgresUnreachable", deadline=30)
        assert str(urlsplit(url).port) in seen["message"]
        server.start()
        world.wait_ready(*PIPELINE, deadline=30)


# --- deletion ------------------------------------------------------------------------------------


def test_delete_with_nats_down_ends(world: World, own_nats: NatsServer) -> None:
    """Within its deadline, saying what was left behind."""
    world.apply(world.stream(nats={"url": own_nats.url}, deletionPolicy="Delete"))
    world.wait_ready("EventStream", "orders")
    own_nats.kill()
    world.kubectl("delete", "evs", "orders", "-n", world.namespace, "--wait=false")
    world.wait_gone("EventStream", "orders", deadline=60)
    reasons = {event["reason"] for event in world.events("orders")}
    assert "CleanupAbandoned" in reasons


def test_delete_that_keeps_the_data_needs_no_server(world: World, own_nats: NatsServer) -> None:
    world.apply(
        world.secret("database", url=world.database), world.pipeline(nats={"url": own_nats.url})
    )
    world.wait_ready(*PIPELINE)
    own_nats.kill()
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=10s")


def test_delete_of_the_namespace(world: World) -> None:
    """Secrets may go first: the namespace must not hang on our finalizers."""
    world.apply(
        world.secret("database", url=world.database),
        world.pipeline(deletionPolicy="Delete", consumers=[{"name": "audit"}]),
    )
    world.wait_ready(*PIPELINE)
    world.kubectl("delete", "namespace", world.namespace, "--timeout=120s")
    world.kubectl("create", "namespace", world.namespace)  # the fixture deletes it again


async def test_deleted_while_the_operator_is_down(world: World, tmp_path: Path) -> None:
    """A control plane of its own, whose operator is away when it matters."""
    log = tmp_path / "operator.log"
    with control_plane(unique_cluster("down")) as cluster:
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        kubectl("create", "namespace", world.namespace)
        with running_operator(cluster.kubeconfig, log) as operator:
            own = replace(world, kubectl=kubectl, operator=operator)
            own.apply(own.stream(deletionPolicy="Delete"))
            own.wait_ready("EventStream", "orders")
        own.kubectl("delete", "evs", "orders", "-n", own.namespace, "--wait=false")
        assert own.get("EventStream", "orders") is not None, "the finalizer holds it"
        with running_operator(cluster.kubeconfig, log):
            own.wait_gone("EventStream", "orders")
    async with connected(world.nats) as client:
        names = [s.config.name for s in await client.jetstream().streams_info()]
    assert f"{world.prefix}-orders" not in names
