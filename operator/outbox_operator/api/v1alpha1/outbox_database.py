"""The database of a pipeline's outbox: its login, schema, migrations, and who may write."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from outbox_operator.api.fields import IMMUTABLE, ApiModel, Duration, RoleName, SqlIdentifier
from outbox_operator.api.v1alpha1.approval import PlanHash
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.api.v1alpha1.database import LoginSecretRef, MigratedConnection


class Migrations(ApiModel):
    """How schema changes are carried out."""

    policy: Literal["Automatic", "RequireApproval"] = Field(
        default="Automatic",
        description="RequireApproval shows the plan in status.schema.pendingPlan and waits until "
        "somebody approves it, by approvedPlan or by an OutboxTask.",
    )
    approvedPlan: PlanHash | None = Field(
        default=None,
        description="Hash of the plan that may run: status.schema.pendingPlan.hash, or "
        "status.pendingMove.hash of a stream that moves. Approves once, and may stay: the hash of "
        "another plan does nothing.",
    )
    lockTimeout: Duration = Field(
        default="5s",
        description="A statement that waits longer for a lock gives up and is retried.",
    )


class Grants(ApiModel):
    """Who may use the outbox."""

    writers: list[RoleName] = Field(
        default_factory=list, max_length=64, description="Roles that may insert events."
    )


class Database(MigratedConnection):
    """The application's database."""

    connectionSecretRef: LoginSecretRef = Field(description="The login that the relay uses.")
    schema_: SqlIdentifier = Field(
        default="outbox",
        alias="schema",
        description="Schema of our tables. Fixed at creation.",
        json_schema_extra=IMMUTABLE,
    )
    migrations: Migrations = Field(
        default_factory=Migrations, description="How schema changes are carried out."
    )
    grants: Grants = Field(default_factory=Grants, description="Who may use the outbox.")
    adoptionPolicy: AdoptionPolicy = Field(
        default="Fail",
        description="Fail refuses a schema that carries the mark of a pipeline of another name, "
        "namespace or cluster; Adopt takes it over, once for each change of this specification. "
        "Whoever had it stops.",
    )
