"""Logins of the relay, the migrations and the inbox, and Secrets that are wrong or change."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from support.postgres import PostgresServer, execute, with_login
from support.world import HANDLER, World

PIPELINE = ("OutboxPipeline", "orders")


async def test_the_relays_login_is_wrong_and_the_migrations_is_right(
    world: World, postgres_server: PostgresServer
) -> None:
    role, right = postgres_server.create_role("relay")
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
    world.apply(world.secret("relay", url=with_login(world.database, role, right)))
    world.wait_ready(*PIPELINE)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("?sslmode=verify-full&sslrootcert=/proc/self/fd/1", "caSecretRef"),
        ("?sslcert=/dev/zero&sslkey=/dev/zero", "certSecretRef"),
        ("?passfile=/var/run/secrets/token", "remove it"),
        ("?options=-c%20role%3Dadmin", "ALTER ROLE"),
    ],
)
def test_a_secret_names_nothing_of_the_operators_machine(
    world: World, said: str, cure: str
) -> None:
    url = f"postgresql://u:s3cret@127.0.0.1:1/d{said}"
    world.apply(world.secret("database", url=url), world.pipeline())
    seen = world.wait_condition(*PIPELINE, "DatabaseReachable", "False", "InvalidSecret")
    assert f"{world.namespace}/database" in seen["message"]
    assert cure in seen["message"]
    assert "s3cret" not in seen["message"]
    world.wait_condition(*PIPELINE, "Stalled", "True")
    # The operator lives, and a corrected Secret is all it takes.
    world.apply(world.secret("database", url=world.database))
    world.wait_ready(*PIPELINE)


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


async def test_a_rotated_password_reconnects_and_rolls(
    world: World, postgres_server: PostgresServer
) -> None:
    role, old = postgres_server.create_role("owner")
    name = urlsplit(world.database).path[1:]
    await execute(world.database, f'GRANT CREATE ON DATABASE "{name}" TO {role}')
    _, document = world.whole()
    world.apply(world.secret("database", url=with_login(world.database, role, old)), document)
    world.wait_ready(*PIPELINE)
    world.settle()
    before = world.deployment("orders-relay")["metadata"]["generation"]
    await execute(
        world.database,
        f"ALTER ROLE {role} PASSWORD 'new'",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
    )
    world.apply(world.secret("database", url=with_login(world.database, role, "new")))

    def rolled() -> bool:
        return bool(world.deployment("orders-relay")["metadata"]["generation"] > before)

    world.wait(rolled, "the pods are rolled")
    world.wait_ready(*PIPELINE)


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
    assert world.get("Deployment", "billing-consumer") is None
    world.apply(world.secret("inbox", url=world.database))
    world.wait_ready(*billing)
