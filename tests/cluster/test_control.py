"""Operators alone on a control plane: restarts, pauses, a second leader, hand-made changes."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.kube import (
    Cluster,
    Kubectl,
    control_plane,
    install_crds,
    kubectl_program,
    unique_cluster,
)
from support.nats import connected
from support.operator import OperatorProcess, running_operator
from support.world import World

PIPELINE = ("OutboxPipeline", "orders")
STREAM = ("EventStream", "orders")
HANDLER = {"http": {"url": "http://handler.test/events"}}
OURS = "outboxpipelines|eventstreams|eventconsumers|deployments|configmaps|serviceaccounts|pod"

Start = Callable[..., AbstractContextManager[OperatorProcess]]


@pytest.fixture(scope="module")
def quiet_cluster() -> Iterator[Cluster]:
    """A control plane without the operator that the other modules share."""
    with control_plane(unique_cluster("control")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kubectl(quiet_cluster: Cluster) -> Kubectl:
    program = Kubectl(kubectl_program(), quiet_cluster.kubeconfig)
    install_crds(program)
    return program


@pytest.fixture
def start(quiet_cluster: Cluster, namespace: str, tmp_path: Path) -> Start:
    """Starts operators that see this test's namespace only."""

    def make(identity: str = "one", lease_namespace: str | None = None) -> Any:
        return running_operator(
            quiet_cluster.kubeconfig,
            tmp_path / f"{identity}.log",
            namespaces=(namespace,),
            lease_namespace=lease_namespace or namespace,
            identity=identity,
        )

    return make


@pytest.fixture
def operator(start: Start, kubectl: Kubectl, namespace: str) -> Iterator[OperatorProcess]:
    """The operator of one test, which cleans up after it as it does for everybody."""
    with start() as process:
        yield process
        if process.process is None:
            process.start()
        kubectl("delete", "obp,evs,evc", "--all", "-n", namespace, "--timeout=60s")


def writes(kubectl: Kubectl) -> Counter[str]:
    """Applies and patches of our objects and of their children that the API server has counted."""
    found: Counter[str] = Counter()
    pattern = re.compile(r"apiserver_request_total\{(.*)\} (\d+)")
    for labels, value in pattern.findall(kubectl("get", "--raw", "/metrics")):
        said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if said["verb"] in ("APPLY", "PATCH") and re.match(OURS, said["resource"]):
            found[f"{said['verb']} {said['resource']}/{said['subresource']}"] += int(value)
    return found


SETTLED = 18.0
"""Live numbers that follow the creation of children are written within this time."""


def quiet_for(world: World, seconds: float, settled_after: float = 2.0) -> Counter[str]:
    """What was written in a while; starts when nothing was written for `settled_after` seconds."""
    before, since = writes(world.kubectl), time.monotonic()

    def settled() -> bool:
        nonlocal before, since
        now = writes(world.kubectl)
        if now != before:
            before, since = now, time.monotonic()
        return time.monotonic() - since > settled_after

    world.wait(settled, "no more writes", 60, lambda: world.log(30))
    end = time.monotonic() + seconds
    world.wait(lambda: time.monotonic() > end, "time passes", seconds + 5)
    return writes(world.kubectl) - before


def whole(world: World) -> tuple[dict[str, Any], ...]:
    """A pipeline with everything that can be without pods: a relay and a handler, scaled to 0."""
    return (
        world.secret("database", url=world.database),
        world.pipeline(
            consumers=[{"name": "billing", "handler": HANDLER, "replicas": 0}, {"name": "audit"}]
        ),
    )


def durables_counted(world: World) -> int:
    body = world.get("EventStream", "orders") or {}
    state = body.get("status", {}).get("stream") or {}
    return int(state.get("consumerCount", 0))


def annotate(world: World, kind: str, name: str, text: str) -> None:
    world.kubectl("annotate", kind, name, "-n", world.namespace, text, "--overwrite")


def deployment(world: World, name: str) -> dict[str, Any]:
    found = world.get("deployment", name)
    assert found is not None
    return found


def has_replicas(world: World, name: str, count: int) -> bool:
    return bool(deployment(world, name)["spec"]["replicas"] == count)


def passed_over(operator: OperatorProcess, kind: str) -> bool:
    return operator.metric("outbox_operator_reconcile_duration_seconds_count", kind=kind) > 0


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# --- restart, second leader ----------------------------------------------------------------------


def test_a_restart_and_idle_passes_write_nothing(world: World, start: Start) -> None:
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    # A stream looked at before its durables were made would count them a minute later.
    annotate(world, "evs", "orders", "outbox.dev/reconcile-at=now")
    world.wait(lambda: durables_counted(world) == 2, "the durables are counted")
    quiet_for(world, 0, SETTLED)
    world.operator.stop()
    before = writes(world.kubectl)
    with start("two") as second:
        everything = ("OutboxPipeline", "EventStream", "EventConsumer")
        for kind in everything:
            world.wait(
                partial(passed_over, second, kind),
                f"a pass over {kind}",
                20,
                second.tail,
            )
        # Longer than the pause between two passes over anything quiet with pods.
        end = time.monotonic() + 39
        world.wait(lambda: time.monotonic() > end, "time passes", 50)
        assert writes(world.kubectl) - before == Counter()
    world.operator.start()
    world.operator.wait_ready()


async def test_two_leaders_do_no_harm(world: World, start: Start) -> None:
    """The Lease should prevent it; when it does not, nothing flaps and nothing is counted twice."""
    world.kubectl("create", "namespace", f"{world.namespace}-b")
    try:
        with start("two", lease_namespace=f"{world.namespace}-b") as second:
            world.apply(*whole(world))
            world.wait_ready(*PIPELINE)
            assert quiet_for(world, 10, SETTLED) == Counter()
            async with connected(world.nats) as client:
                await client.jetstream().delete_stream(f"{world.prefix}-orders")
                annotate(world, "evs", "orders", "outbox.dev/reconcile-at=now")

                # Which of the two counts it is a matter of luck; one of them says it.
                world.wait(
                    lambda: any(e["reason"] == "DriftCorrected" for e in world.events("orders")),
                    "the repair is said",
                )
                await client.jetstream().stream_info(f"{world.prefix}-orders")
            world.wait_ready(*PIPELINE, deadline=90)
            assert quiet_for(world, 5, SETTLED) == Counter()
            for one in (world.operator, second):
                assert "pass failed by a defect" not in one.text()
                assert "changed and has been put back" not in one.text()
    finally:
        world.kubectl("delete", "namespace", f"{world.namespace}-b", "--wait=false")


# --- drift ---------------------------------------------------------------------------------------


def test_a_deployment_changed_by_hand_is_put_back_and_counted(world: World) -> None:
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    for name in ("orders-relay", "orders-billing-consumer"):
        world.kubectl("scale", "deployment", name, "-n", world.namespace, "--replicas=2")
        world.wait(partial(has_replicas, world, name, 0), "replicas: 0")
    world.kubectl("delete", "configmap", "orders-relay", "-n", world.namespace)
    world.wait(lambda: world.get("configmap", "orders-relay") is not None, "the ConfigMap")

    def counted() -> bool:
        pipeline, consumer = world.get(*PIPELINE), world.get("EventConsumer", "orders-billing")
        assert pipeline is not None
        assert consumer is not None
        found = [one["status"].get("driftCorrectedCount") for one in (pipeline, consumer)]
        return found == [2, 1]

    world.wait(counted, "two and one", detail=lambda: str(world.get(*PIPELINE)))
    body = world.get("EventConsumer", "orders-billing")
    assert body is not None
    assert "spec.replicas" in body["status"]["lastDrift"]
    notes = [event["note"] for event in world.events("orders-billing")]
    assert any("spec.replicas" in note for note in notes)


def test_a_status_that_was_wiped_comes_back(world: World) -> None:
    """As after a restore from a backup, which leaves statuses out."""
    world.apply(world.stream())
    world.wait_ready(*STREAM)
    quiet_for(world, 0)
    world.kubectl(
        "patch", "evs", "orders", "-n", world.namespace, "--subresource=status",
        "--type=json", '-p=[{"op":"remove","path":"/status"}]',
    )  # fmt: skip
    annotate(world, "evs", "orders", "outbox.dev/reconcile-at=now")
    world.wait_ready(*STREAM)


async def test_paused_reaches_the_children_and_what_they_look_after(world: World) -> None:
    """Paused means paused: what the children look after is left as it is too."""
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    annotate(world, "obp", "orders", "outbox.dev/paused=true")
    for one in (PIPELINE, STREAM, ("EventConsumer", "orders-audit")):
        world.wait_condition(*one, "Paused", "True")
    world.kubectl("scale", "deployment", "orders-billing-consumer", "-n", world.namespace,
                  "--replicas=2")  # fmt: skip
    world.kubectl("delete", "evc", "orders-audit", "-n", world.namespace)
    world.wait_condition(*PIPELINE, "ConsumersReady", "False", "UpdateFrozen")
    async with connected(world.nats) as client:
        await client.jetstream().delete_stream(f"{world.prefix}-orders")
        annotate(world, "evs", "orders", "outbox.dev/reconcile-at=now")
        annotate(world, "evc", "orders-billing", "outbox.dev/reconcile-at=now")
        world.wait_condition(*STREAM, "StreamReady", "False", "UpdateFrozen")
        billing = ("EventConsumer", "orders-billing")
        world.wait_condition(*billing, "WorkloadAvailable", "False", "UpdateFrozen")
        assert world.get("EventConsumer", "orders-audit") is None
        assert deployment(world, "orders-billing-consumer")["spec"]["replicas"] == 2
        assert "created again" not in world.log(1000)
        annotate(world, "obp", "orders", "outbox.dev/paused-")
        world.wait_ready(*PIPELINE, deadline=60)
        await client.jetstream().stream_info(f"{world.prefix}-orders")


# --- one-shot annotations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rolled"),
    [
        ("all", {"orders-relay", "orders-billing-consumer"}),
        ("relay", {"orders-relay"}),
        ("consumers", {"orders-billing-consumer"}),
    ],
)
def test_restart_rolls_once_what_it_names(world: World, value: str, rolled: set[str]) -> None:
    names = ("orders-relay", "orders-billing-consumer")
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    quiet_for(world, 0)
    before = {name: deployment(world, name)["metadata"]["generation"] for name in names}
    annotate(world, "obp", "orders", f"outbox.dev/restart={value}")

    def done() -> bool:
        bodies = [
            world.get(*PIPELINE),
            world.get("EventConsumer", "orders-billing"),
            world.get("EventConsumer", "orders-audit"),
        ]
        return not any(
            "outbox.dev/restart" in (body or {})["metadata"].get("annotations", {})
            for body in bodies
        )

    world.wait(done, "the annotations are removed", detail=lambda: world.log(30))
    quiet_for(world, 0)
    after = {name: deployment(world, name)["metadata"]["generation"] for name in names}
    assert {name: after[name] - before[name] for name in names} == {
        name: int(name in rolled) for name in names
    }


def test_an_unknown_restart_is_said(world: World) -> None:
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    annotate(world, "obp", "orders", "outbox.dev/restart=relais")
    world.wait(
        lambda: any("'relais'" in event["note"] for event in world.events("orders")), "an event"
    )
    assert "outbox.dev/restart" not in (world.get(*PIPELINE) or {})["metadata"]["annotations"]


# --- consumers -----------------------------------------------------------------------------------


def test_a_handler_taken_out_takes_its_workload_along(world: World) -> None:
    world.apply(world.stream(), world.consumer(handler=HANDLER, replicas=0))
    billing = ("EventConsumer", "billing")
    world.wait_ready(*billing)
    deployment(world, "billing-consumer")
    world.apply(world.consumer())
    world.wait_ready(*billing)
    world.wait(lambda: world.get("deployment", "billing-consumer") is None, "no Deployment")
    body = world.get(*billing)
    assert body is not None
    assert "WorkloadAvailable" not in {c["type"] for c in body["status"]["conditions"]}


async def test_a_consumer_of_a_stream_that_something_else_declares(world: World) -> None:
    name = f"{world.prefix}-theirs"
    spec = {"streamName": name, "nats": {"url": world.nats.url}, "filterSubjects": []}
    document = world.resource("EventConsumer", "billing", {**spec, "deletionPolicy": "Delete"})
    billing = ("EventConsumer", "billing")
    world.apply(document)
    seen = world.wait_condition(*billing, "ConsumerReady", "False", "StreamNotFound")
    assert name in seen["message"]
    async with connected(world.nats) as client:
        js = client.jetstream()
        await js.add_stream(name=name, subjects=[f"{world.prefix}.theirs.>"])
        world.wait_ready(*billing)
        await js.consumer_info(name, "billing")
        await js.delete_consumer(name, "billing")
        annotate(world, "evc", "billing", "outbox.dev/reconcile-at=now")

        def counted() -> bool:
            body = world.get(*billing)
            return body is not None and body["status"]["consumer"]["driftCorrectedCount"] == 1

        world.wait(counted, "the repair is counted")
        world.kubectl("delete", "evc", "billing", "-n", world.namespace, "--timeout=30s")
        assert await js.consumers_info(name) == []


def test_scale(world: World) -> None:
    world.apply(world.stream(), world.consumer(handler=HANDLER, replicas=0))
    world.wait_ready("EventConsumer", "billing")
    world.kubectl("scale", "evc/billing", "-n", world.namespace, "--replicas=3")
    world.wait(
        lambda: deployment(world, "billing-consumer")["spec"]["replicas"] == 3, "three replicas"
    )
    body = world.get("EventConsumer", "billing")
    assert body is not None
    assert "app.kubernetes.io/instance=billing" in body["status"]["selector"]


def test_the_scale_of_a_pipelines_consumer_belongs_to_the_pipeline(world: World) -> None:
    world.apply(*whole(world))
    world.wait_ready(*PIPELINE)
    world.kubectl("scale", "evc/orders-billing", "-n", world.namespace, "--replicas=3")

    def put_back() -> bool:
        body = world.get("EventConsumer", "orders-billing")
        return body is not None and body["spec"]["replicas"] == 0

    world.wait(put_back, "replicas: 0")
    world.wait(
        lambda: any("spec.replicas" in event["note"] for event in world.events("orders")),
        "an event that names the field",
    )


def test_what_a_consumer_leaves_behind_is_said(world: World) -> None:
    """Its EventStream went first, while no operator was there to remember where it was."""
    world.apply(world.stream(), world.consumer(deletionPolicy="Delete"))
    world.wait_ready("EventConsumer", "billing")
    world.operator.stop()
    for kind, name in (("evs", "orders"), ("evc", "billing")):
        world.kubectl("delete", kind, name, "-n", world.namespace, "--wait=false")
    no_finalizers = '{"metadata":{"finalizers":null}}'
    world.kubectl(
        "patch", "evs", "orders", "-n", world.namespace, "--type=merge", f"-p={no_finalizers}"
    )
    world.wait_gone(*STREAM)
    world.operator.start()
    world.operator.wait_ready()
    world.wait_gone("EventConsumer", "billing")
    notes = {event["reason"]: event["note"] for event in world.events("billing")}
    assert f"billing of stream {world.prefix}-orders" in notes["CleanupAbandoned"]


# --- stream.ref ----------------------------------------------------------------------------------


def test_a_pipeline_into_a_shared_stream(world: World) -> None:
    document = world.pipeline(consumers=[{"name": "audit"}])
    document["spec"]["stream"] = {
        "ref": {"name": "shared"}, "subject": f"{world.prefix}.shared.{{event_type}}",
    }  # fmt: skip
    world.apply(world.secret("database", url=world.database), document)
    seen = world.wait_condition(*PIPELINE, "StreamReady", "False", "StreamNotFound")
    assert f"{world.namespace}/shared" in seen["message"]
    world.apply(world.stream("shared"))
    world.wait_ready(*PIPELINE)
    body = world.get(*PIPELINE)
    assert body is not None
    assert body["status"]["stream"]["name"] == f"{world.prefix}-shared"
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=30s")
    world.wait_ready("EventStream", "shared")


def test_an_event_stream_of_that_name_that_is_not_the_pipelines(world: World) -> None:
    world.apply(world.stream("orders"))
    world.wait_ready(*STREAM)
    world.apply(world.secret("database", url=world.database), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "Stalled", "True", "ResourceConflict")
    assert f"EventStream {world.namespace}/orders" in seen["message"]
    assert world.condition(*PIPELINE, "SchemaApplied")["status"] == "True"
    assert world.get("deployment", "orders-relay") is None


def test_a_deployment_of_that_name_that_is_not_ours_is_left_alone(world: World) -> None:
    world.kubectl("create", "deployment", "orders-relay", "-n", world.namespace,
                  "--image=theirs", "--replicas=0")  # fmt: skip
    world.apply(*whole(world))
    seen = world.wait_condition(*PIPELINE, "RelayAvailable", "False", "ResourceConflict")
    assert f"Deployment {world.namespace}/orders-relay" in seen["message"]
    containers = deployment(world, "orders-relay")["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in containers] == ["theirs"]
    assert world.condition(*PIPELINE, "SchemaApplied")["status"] == "True"
    world.kubectl("delete", "deployment", "orders-relay", "-n", world.namespace)
    world.wait_ready(*PIPELINE, deadline=90)


# --- conflicts -----------------------------------------------------------------------------------


def test_who_loses_the_table_runs_no_relay(world: World) -> None:
    """The older pipeline comes into force later, because its Secret does."""
    late = world.pipeline("orders")
    late["spec"]["database"]["connectionSecretRef"]["name"] = "late"
    world.apply(late)
    world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "SecretNotFound")
    end = time.monotonic() + 1.1  # the time of creation counts in seconds
    world.wait(lambda: time.monotonic() > end, "a second passes")
    world.apply(world.secret("database", url=world.database), world.pipeline("second"))
    world.wait_ready("OutboxPipeline", "second")
    deployment(world, "second-relay")
    world.apply(world.secret("late", url=world.database))
    world.wait_ready(*PIPELINE, deadline=60)
    annotate(world, "obp", "second", "outbox.dev/reconcile-at=now")
    seen = world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    assert f"OutboxPipeline/{world.namespace}/orders" in seen["message"]
    world.wait(lambda: world.get("deployment", "second-relay") is None, "its relay goes")
    world.wait_ready(*PIPELINE)


def test_who_loses_the_stream_runs_no_relay(world: World) -> None:
    world.apply(world.secret("database", url=world.database), world.pipeline())
    world.wait_ready(*PIPELINE)
    other = world.pipeline("second")
    other["spec"]["database"]["schema"] = "second"
    other["spec"]["stream"] = world.pipeline()["spec"]["stream"]
    world.apply(other)
    world.wait_condition("OutboxPipeline", "second", "Stalled", "True", "ResourceConflict")
    seen = world.condition("OutboxPipeline", "second", "RelayAvailable")
    assert seen["status"] == "Unknown"
    assert "the stream belongs to another resource" in seen["message"]
    assert "applied Deployment second-relay" not in world.log(1000)
    world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=30s")
    world.wait_condition("EventStream", "second", "Ready", "False", "StreamExists", deadline=60)


def test_who_loses_a_durable_consumer_runs_no_workload(world: World) -> None:
    """The older one comes into force later, because its EventStream does."""
    same: dict[str, Any] = {"durableName": "same", "handler": HANDLER, "replicas": 0}
    world.apply(world.consumer("first", streamRef={"name": "alias"}, **same))
    world.wait_condition("EventConsumer", "first", "ConsumerReady", "False", "StreamNotFound")
    end = time.monotonic() + 1.1  # the time of creation counts in seconds
    world.wait(lambda: time.monotonic() > end, "a second passes")
    world.apply(world.stream(), world.consumer("second", **same))
    world.wait_ready("EventConsumer", "second")
    deployment(world, "second-consumer")
    world.apply(world.resource("EventStream", "alias", world.stream()["spec"]))
    world.wait_ready("EventConsumer", "first")
    annotate(world, "evc", "second", "outbox.dev/reconcile-at=now")
    seen = world.wait_condition("EventConsumer", "second", "Stalled", "True", "ResourceConflict")
    assert f"EventConsumer/{world.namespace}/first" in seen["message"]
    world.wait(lambda: world.get("deployment", "second-consumer") is None, "its workload goes")


# --- roles and Secrets ---------------------------------------------------------------------------


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"


async def test_the_relays_login_is_wrong_and_the_migrations_is_right(world: World) -> None:
    role = f"r_{world.prefix.replace('-', '_')}".lower()
    await execute(world.database, f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    try:
        document = world.pipeline()
        document["spec"]["database"] = {
            "connectionSecretRef": {"name": "relay"}, "migrationSecretRef": {"name": "owner"},
        }  # fmt: skip
        wrong = with_login(world.database, role, "wrong-secret")
        world.apply(
            world.secret("owner", url=world.database), world.secret("relay", url=wrong), document
        )
        seen = world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "CredentialsRejected")
        assert role in seen["message"]
        assert "connectionSecretRef" in seen["message"]
        assert world.condition(*PIPELINE, "SchemaApplied")["status"] == "True"
        world.apply(world.secret("relay", url=with_login(world.database, role, "right")))
        world.wait_ready(*PIPELINE, deadline=90)
    finally:
        world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
        await execute(world.database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_a_writer_that_does_not_exist(world: World) -> None:
    document = world.pipeline()
    document["spec"]["database"]["grants"] = {"writers": ["nobody_like_this"]}
    world.apply(world.secret("database", url=world.database), document)
    seen = world.wait_condition(*PIPELINE, "Stalled", "True")
    assert "nobody_like_this" in seen["message"]
    assert "spec.database.grants.writers" in seen["message"]


def test_a_secret_that_is_not_text(world: World) -> None:
    secret = world.secret("database")
    del secret["stringData"]
    world.apply({**secret, "data": {"url": "/v8="}}, world.pipeline())
    seen = world.wait_condition(*PIPELINE, "Stalled", "True")
    assert f"{world.namespace}/database" in seen["message"]


async def test_a_rotated_password_reconnects_and_rolls(world: World) -> None:
    role = f"r_{world.prefix.replace('-', '_')}".lower()
    name = urlsplit(world.database).path[1:]
    await execute(
        world.database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'old'",
        f'GRANT CREATE ON DATABASE "{name}" TO {role}',
    )
    try:
        _, document = whole(world)
        world.apply(world.secret("database", url=with_login(world.database, role, "old")), document)
        world.wait_ready(*PIPELINE)
        quiet_for(world, 0)
        before = deployment(world, "orders-relay")["metadata"]["generation"]
        await execute(
            world.database,
            f"ALTER ROLE {role} PASSWORD 'new'",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
        )
        world.apply(world.secret("database", url=with_login(world.database, role, "new")))

        def rolled() -> bool:
            return bool(deployment(world, "orders-relay")["metadata"]["generation"] > before)

        world.wait(rolled, "the pods are rolled", deadline=60)
        world.wait_ready(*PIPELINE, deadline=20)
    finally:
        world.kubectl("delete", "obp", "orders", "-n", world.namespace, "--timeout=60s")
        await execute(world.database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_an_inbox_database_that_is_away(world: World) -> None:
    document = world.consumer(
        handler=HANDLER, replicas=0, inbox={"connectionSecretRef": {"name": "inbox"}}
    )
    parts = urlsplit(world.database)
    away = f"postgresql://u:p@{parts.hostname}:1{parts.path}"
    world.apply(world.stream(), world.secret("inbox", url=away), document)
    billing = ("EventConsumer", "billing")
    world.wait_condition(*billing, "DatabaseReachable", "False", "PostgresUnreachable")
    for kind, status in [
        ("NatsReachable", "True"), ("ConsumerReady", "True"), ("SchemaApplied", "Unknown"),
        ("WorkloadAvailable", "Unknown"), ("Ready", "False"),
    ]:  # fmt: skip
        world.wait_condition(*billing, kind, status)
    assert world.get("deployment", "billing-consumer") is None
    world.apply(world.secret("inbox", url=world.database))
    world.wait_ready(*billing, deadline=60)


# --- conditions ----------------------------------------------------------------------------------


def test_every_condition_is_there_whatever_is_wrong(world: World) -> None:
    document = world.pipeline(
        relay={"replicas": 0, "podTemplate": {"spec": {"containers": "none"}}}
    )
    world.apply(world.secret("database", url=world.database), document)
    world.wait_condition(*PIPELINE, "Stalled", "True")
    body = world.get(*PIPELINE)
    assert body is not None
    found = {c["type"]: c["status"] for c in body["status"]["conditions"]}
    assert set(found) == {
        "Ready", "Reconciling", "Stalled", "DatabaseReachable", "SchemaApplied", "StreamReady",
        "ConsumersReady", "RelayAvailable", "Lagging", "ForeignPublisher", "Paused",
    }  # fmt: skip
    assert found["SchemaApplied"] == "True"
    assert found["RelayAvailable"] == "False"
