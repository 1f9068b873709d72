"""The database of a pipeline from pass to pass, on a real server."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline
from outbox_operator.controller.reconcile.connections import NatsConnections, PostgresConnections
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.pipeline_database import PipelineDatabase
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.settings import Settings
from outbox_operator.reasons import Reason
from support.resources import pipeline


class OneSecret:
    """An API server that knows one Secret, the login of the database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return {"url": self._url.encode()}


@pytest.fixture
async def databases(database: str) -> AsyncIterator[PipelineDatabase]:
    absent = cast(Any, None)  # nothing here asks Kubernetes
    connections = PostgresConnections(lambda _user, _trigger: None, time.monotonic)
    yield PipelineDatabase(
        Context(
            kube=absent,
            objects=Objects(),
            children=absent,
            settings=Settings(image="i", lease_namespace="system", identity="a"),
            wake=lambda _key, _trigger: None,
            secrets=Secrets(OneSecret(database), time.monotonic, 60.0),
            nats=NatsConnections(lambda _user, _trigger: None, time.monotonic),
            postgres=connections,
        )
    )
    await connections.close()


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


async def test_a_migration_that_waits_is_said_to_wait_until_it_is_approved(
    databases: PipelineDatabase, database: str
) -> None:
    asked = await databases.ensure(careful())
    assert asked.schema_applied.reason == Reason.APPROVAL_PENDING
    assert asked.schema is not None
    assert asked.schema.pendingPlan is not None
    approving = careful(**{meta.APPROVE_PLAN_ANNOTATION: asked.schema.pendingPlan.hash})
    done = await databases.ensure(approving)
    assert (done.schema_applied.reason, done.approved) == (Reason.UP_TO_DATE, True)
    assert done.sample is not None

    # Somebody breaks it, and somebody else asks for a look at once.
    connection = await connect(parse_url(database), application_name="test")
    await connection.execute("ALTER TABLE outbox.events ALTER COLUMN event_type DROP NOT NULL")
    await connection.close()
    looked = await databases.ensure(careful(**{meta.RECONCILE_AT_ANNOTATION: "now"}))
    assert looked.schema_applied.reason == Reason.APPROVAL_PENDING
    # The next pass has nothing that asks for a look, and what waits still waits.
    assert (await databases.ensure(careful())).schema_applied.reason == Reason.APPROVAL_PENDING
