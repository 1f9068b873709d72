"""The databases of pipelines and inboxes from pass to pass, on a real server."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.consumer_inbox import ensure_inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.pipeline_database import PipelineDatabase
from outbox_operator.controller.reconcile.postgres import Logins
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.settings import Settings
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.status.pipeline import outbox_status
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION
from support.postgres import PostgresServer, execute, with_login
from support.resources import consumer, pipeline
from support.waiting import SECONDS


class OneSecret:
    """An API server whose Secrets all hold one login, apart from some by name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.others: dict[str, str] = {}

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return {"url": self.others.get(name, self.url).encode()}


@pytest.fixture
def secret(database: str) -> OneSecret:
    return OneSecret(database)


@pytest.fixture
def children() -> Children:
    return Children(lambda _owner, _trigger: None, ())


@pytest.fixture
async def context(secret: OneSecret, children: Children) -> AsyncIterator[Context]:
    absent = cast(Any, None)  # nothing here asks Kubernetes
    connections = PostgresConnections(lambda _user, _trigger: None, time.monotonic)
    yield Context(
        kube=absent,
        objects=Objects(),
        children=children,
        settings=Settings(image="i", lease_namespace="system", identity="a"),
        exported=Exported(lambda _key: None, 60),
        wake=lambda _key, _trigger: None,
        secrets=Secrets(secret, time.monotonic, 0.0),
        nats=NatsConnections(lambda _user, _trigger: None, time.monotonic),
        redis=RedisConnections(lambda _user, _trigger: None, time.monotonic),
        postgres=connections,
        background=Background(lambda _key, _trigger: None, patience_seconds=SECONDS),
        comparisons=Room(lambda _key, _trigger: None),
        cluster=ClusterIdentity(absent),
    )
    await connections.close()


@pytest.fixture
def databases(context: Context) -> PipelineDatabase:
    return PipelineDatabase(context)


def careful(**annotations: str) -> Pipeline:
    """A pipeline whose migrations a person approves."""
    resource = pipeline(
        database={
            "connectionSecretRef": {"name": "orders-db", "key": "url"},
            "migrations": {"policy": "RequireApproval"},
        }
    )
    changed = dataclasses.replace(resource.meta, annotations=annotations)
    return dataclasses.replace(resource, meta=changed)


async def insert(url: str, rows: int) -> None:
    connection = await connect(parse_url(url), application_name="test")
    await connection.execute(
        "INSERT INTO outbox.events (event_type, payload) "
        f"SELECT 'a', '[]' FROM generate_series(1, {rows})"
    )
    await connection.close()


def after(result: DatabaseResult, resource: Pipeline | None = None, **annotations: str) -> Pipeline:
    """The pipeline with what a pass has written into its status."""
    before = resource or pipeline()
    outbox = before.status.outbox if result.sample is None else outbox_status(result.sample)
    return dataclasses.replace(
        before,
        meta=dataclasses.replace(before.meta, annotations=annotations),
        status=OutboxPipelineStatus(schema=result.schema, outbox=outbox),
    )


async def test_an_outbox_leaves_no_rows_behind_unless_somebody_says_so(
    databases: PipelineDatabase, secret: OneSecret, postgres_server: PostgresServer
) -> None:
    """The Secret is edited, or the address in it leads elsewhere, while rows wait."""
    home, other = secret.url, postgres_server.create_database()
    resource = after(await databases.ensure(pipeline()))
    await insert(home, 3)  # since the status was written
    secret.url = other
    held = await databases.ensure(resource)
    assert (held.schema_applied.status, held.schema_applied.reason) == ("False", "ApprovalPending")
    assert "3 rows wait in the database where" in held.schema_applied.message
    assert (held.migrated, held.keeps_relay is not None, held.moved) == (False, True, None)
    assert held.sample is not None
    assert held.sample.backlog_rows == 3
    # Nothing was made there, and the next look says the same.
    resource = after(held, resource)
    again = await databases.ensure(resource)
    assert again.schema_applied == held.schema_applied
    # Pointed back, all is as it was.
    secret.url = home
    back = await databases.ensure(resource)
    assert (back.error, back.migrated, back.keeps_relay) == (None, True, None)
    assert back.schema is not None
    assert back.schema.pendingPlan is None
    # A person says that they may stay.
    secret.url = other
    held = await databases.ensure(after(back))
    assert held.schema is not None
    assert held.schema.pendingPlan is not None
    wrong = after(held, resource, **{meta.APPROVE_PLAN_ANNOTATION: "other"})
    assert (await databases.ensure(wrong)).migrated is False
    approved = after(held, resource, **{meta.APPROVE_PLAN_ANNOTATION: held.schema.pendingPlan.hash})
    moved = await databases.ensure(approved)
    assert (moved.migrated, moved.question is not None) == (True, True)
    assert moved.moved is not None
    assert "3 rows wait" in moved.moved
    # The rows that wait there keep it from going back just as well, tables or not.
    resource = after(moved)
    await insert(other, 1)
    secret.url = home
    assert "1 row waits" in (await databases.ensure(resource)).schema_applied.message
    # Once they are published it goes by itself.
    connection = await connect(parse_url(other), application_name="test")
    await connection.execute(
        "UPDATE outbox.cursors SET snapshot_from = pg_current_snapshot()::text"
    )
    await connection.close()
    gone = await databases.ensure(resource)
    assert (gone.migrated, gone.keeps_relay) == (True, None)
    assert gone.moved is not None
    assert "nothing waited" in gone.moved
    postgres_server.drop_database(other)


async def test_pods_work_where_the_migrations_were_made(
    context: Context, databases: PipelineDatabase, secret: OneSecret
) -> None:
    """The Secret of the pods names another database than that of the migrations."""
    both = {"connectionSecretRef": {"name": "pods"}, "migrationSecretRef": {"name": "owner"}}
    tried: dict[str, Logins] = {}

    async def looks() -> tuple[DatabaseResult, InboxResult]:
        inbox = await ensure_inbox(context, consumer(inbox=both), tried)
        return await databases.ensure(pipeline(database=both)), inbox

    assert [one.located for one in await looks()] == [True, True]
    secret.others["pods"] = urlsplit(secret.url)._replace(path="/postgres").geturl()
    for _ in range(2):
        for found in await looks():
            assert found.located is False
            assert found.reachable is not None
            assert found.reachable.reason == Reason.INVALID_SECRET
            assert "leads to another database" in found.reachable.message
    del secret.others["pods"]
    assert [one.located for one in await looks()] == [True, True]


async def test_an_inbox_of_others_knows_nothing_of_a_consumer(
    context: Context, secret: OneSecret
) -> None:
    """A database that several consumers share: not what a dump brings along."""
    declared = {"connectionSecretRef": {"name": "inbox"}}
    assert (await ensure_inbox(context, consumer(name="other", inbox=declared), {})).located
    insert = (
        "INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type, "
        "payload) VALUES ('shop/{}', gen_random_uuid(), 's', 't', '[]')"
    )
    await execute(secret.url, insert.format("other"))
    billing = consumer(inbox=declared)
    billing = dataclasses.replace(billing, status=EventConsumerStatus(inboxDatabase="1/5"))
    for held in (True, False):
        found = await ensure_inbox(context, billing, {}, unacknowledged=3)
        assert (found.held, found.located, found.moved is None) == (held, not held, held)
        await execute(secret.url, insert.format("billing"))


async def test_what_was_found_is_said_by_the_pass_that_says_something(
    databases: PipelineDatabase,
) -> None:
    """Passes over what is new say nothing for a second, and do not compare the catalogue again."""
    for _ in range(3):
        schema = (await databases.ensure(pipeline())).schema
        assert schema is not None
        assert (schema.currentVersion, schema.database is None) == (CURRENT_SCHEMA_VERSION, False)


@pytest.mark.parametrize("alone", [True, False], ids=["with a login of its own", "with ours"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ALTER ROLE {role} PASSWORD 'new'", "CredentialsRejected"),
        ("ALTER ROLE {role} NOLOGIN", "CredentialsRejected"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "TooManyConnections"),
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "PermissionDenied"),
    ],
)
async def test_the_relays_login_is_tried_when_its_pods_are_not_ready(
    databases: PipelineDatabase,
    children: Children,
    secret: OneSecret,
    change: str,
    reason: str,
    alone: bool,
) -> None:
    """Although the catalogue was compared lately, and sessions of the operator live on."""
    home, name = secret.url, urlsplit(secret.url).path[1:]
    role = f"r_{name}"
    await execute(
        home,
        f"CREATE ROLE {role} LOGIN PASSWORD 'old'",
        f"GRANT CREATE ON DATABASE {name} TO {role}",
    )
    try:
        declared: dict[str, Any] = {"connectionSecretRef": {"name": "orders-db"}}
        secret.url = with_login(home, role, "old")
        if alone:
            declared["migrationSecretRef"] = {"name": "owner"}
            secret.others["owner"] = home
        resource = pipeline(database=declared)
        assert (await databases.ensure(resource)).error is None
        await execute(home, change.format(role=role, database=name))
        assert (await databases.ensure(resource)).error is None  # all pods are ready
        metadata = {"name": "orders-relay", "namespace": "shop", "uid": "d"}
        relay = {"metadata": metadata, "spec": {"replicas": 1}, "status": {"readyReplicas": 0}}
        children.changed("Deployment", relay, deleted=False)
        refused = (await databases.ensure(resource)).reachable
        assert (refused.status, refused.reason) == ("False", reason)
        assert "spec.database.connectionSecretRef, the relay's login" in refused.message
        assert refused.stalled is (reason != "TooManyConnections")
    finally:
        await execute(home, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "damage",
    [
        "REVOKE INSERT (event_type) ON outbox.events FROM {role}",
        "REVOKE USAGE ON SCHEMA outbox FROM {role}",
        "REVOKE USAGE ON SEQUENCE outbox.events_position_seq FROM {role}",
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox FROM {role}, PUBLIC",
    ],
)
async def test_a_writer_that_may_not_write_is_let_in_again_at_the_next_look(
    databases: PipelineDatabase, database: str, damage: str
) -> None:
    """Although the catalogue was compared lately: nothing is more urgent for who uses it."""
    role = f"w_{urlsplit(database).path[1:]}"
    await execute(database, f"CREATE ROLE {role}")
    try:
        declared = {"connectionSecretRef": {"name": "orders-db"}, "grants": {"writers": [role]}}
        await databases.ensure(pipeline(database=declared))
        assert (await databases.ensure(pipeline(database=declared))).drifts == ()
        await execute(database, damage.format(role=role))
        mended = await databases.ensure(pipeline(database=declared))
        assert mended.error is None
        assert role in " ".join(mended.drifts)
        insert_one = "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '1')"
        await execute(database, f"SET ROLE {role}", insert_one)
        assert (await databases.ensure(pipeline(database=declared))).drifts == ()
    finally:
        await execute(database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


async def test_a_migration_that_waits_is_said_to_wait_until_it_is_approved(
    databases: PipelineDatabase, database: str
) -> None:
    asked = await databases.ensure(careful())
    assert asked.schema_applied.reason == Reason.APPROVAL_PENDING
    assert asked.schema is not None
    assert asked.schema.pendingPlan is not None
    approving = careful(**{meta.APPROVE_PLAN_ANNOTATION: asked.schema.pendingPlan.hash})
    done = await databases.ensure(approving)
    assert done.schema_applied.reason == Reason.UP_TO_DATE
    assert done.sample is not None

    # Somebody breaks it, and somebody else asks for a look at once.
    connection = await connect(parse_url(database), application_name="test")
    await connection.execute("ALTER TABLE outbox.events ALTER COLUMN event_type DROP NOT NULL")
    await connection.close()
    looked = await databases.ensure(careful(**{meta.RECONCILE_AT_ANNOTATION: "now"}))
    assert looked.schema_applied.reason == Reason.APPROVAL_PENDING
    # The next pass has nothing that asks for a look, and what waits still waits.
    assert (await databases.ensure(careful())).schema_applied.reason == Reason.APPROVAL_PENDING


@pytest.mark.parametrize(
    "damage",
    [
        "SELECT setval('outbox.events_position_seq', 1)",
        "ALTER SEQUENCE outbox.events_position_seq MAXVALUE 50 RESTART 50 CYCLE",
        "ALTER SEQUENCE outbox.events_position_seq INCREMENT -1",
        "ALTER SEQUENCE outbox.events_position_seq MAXVALUE 30",
    ],
)
async def test_a_sequence_that_gives_out_positions_in_use_is_put_right(
    databases: PipelineDatabase, database: str, damage: str
) -> None:
    """Without any relay, and whatever was compared lately."""
    await databases.ensure(pipeline())
    connection = await connect(parse_url(database), application_name="test")
    add = (
        "INSERT INTO outbox.events (event_type, payload) "
        "SELECT 'a', '[]' FROM generate_series(1, {})"
    )
    await connection.execute(add.format(30))
    await databases.ensure(pipeline())
    await connection.execute(damage)
    if "CYCLE" in damage:
        await connection.execute(add.format(1))
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute(add.format(3))
    for _ in range(2):
        sample = (await databases.ensure(pipeline())).sample
    assert sample is not None
    assert (sample.position_notice or "").startswith("Sequence")
    await connection.execute(add.format(30))
    assert (await databases.ensure(pipeline())).error is None
    await connection.close()
