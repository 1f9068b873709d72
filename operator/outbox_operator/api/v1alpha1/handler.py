"""Who handles the events of a consumer, and how: handler, inbox, circuit breaker."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import (
    IMMUTABLE,
    ApiModel,
    Duration,
    SecretKeyRef,
    SqlIdentifier,
    cel,
    model_rules,
)
from outbox_operator.api.v1alpha1.approval import PlanHash
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.api.v1alpha1.database import (
    LoginSecretRef,
    MigratedConnection,
)


class HttpHandler(ApiModel):
    """Deliver each event as a CloudEvents request; 2xx acknowledges."""

    url: str = Field(
        pattern=patterns.HTTP_URL,
        max_length=2048,
        description="Where to POST, without credentials: http://billing.shop/events.",
    )
    timeout: Duration = Field(
        default="30s", description="A request that takes longer counts as failed and is retried."
    )
    mode: Literal["Binary", "Structured"] = Field(
        default="Binary",
        description="CloudEvents content mode: attributes as headers, or one JSON document.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Extra request headers. No secrets here."
    )
    bearerTokenSecretRef: SecretKeyRef | None = Field(
        default=None, description="Token for `Authorization: Bearer`; read anew when it changes."
    )
    signingSecretRef: SecretKeyRef | None = Field(
        default=None,
        description="Keys that sign each request as Standard Webhooks says, over id, time and "
        "body; one a line, `whsec_` and base64 or any text. Read anew when they change.",
    )
    caSecretRef: SecretKeyRef | None = Field(
        default=None,
        description="PEM bundle of the authorities to trust for https, instead of the system's.",
    )


class PythonHandler(ApiModel):
    """Call Python functions in an image built on the operator's."""

    image: str = Field(
        min_length=1, max_length=512, description="Image that holds your module, built on ours."
    )
    module: str = Field(
        pattern=patterns.MODULE,
        max_length=255,
        description="Import path of the handler: package.module:function, or of its Handlers: "
        "package.module:app.",
    )
    timeout: Duration = Field(
        default="5m",
        description="A call that takes longer is cancelled and the event delivered again; a "
        "handler may set its own.",
    )
    unhandled: Literal["DeadLetter", "Ack"] = Field(
        default="DeadLetter",
        description="What becomes of an event that no handler of the module takes: a dead letter "
        "with the reason Unhandled, or nothing (Ack).",
    )
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="As on any container."
    )


class ContainerHandler(ApiModel):
    """Run any image; it pulls from the durable consumer by itself.

    The container finds NATS_URL, NATS_CREDS_FILE and the like, OUTBOX_STREAM and OUTBOX_CONSUMER
    in its environment.
    """

    image: str = Field(min_length=1, max_length=512, description="The image to run.")
    command: list[str] = Field(default_factory=list, description="Replaces the entry point.")
    args: list[str] = Field(default_factory=list, description="Arguments.")
    env: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Environment, as on any container (name, value, valueFrom).",
        json_schema_extra={
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        },
    )
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="As on any container."
    )


class Handler(ApiModel):
    """Who handles the events. Exactly one."""

    model_config = model_rules(
        cel(
            "[has(self.http), has(self.python), has(self.container), has(self.archive)]"
            ".filter(x, x).size() == 1",
            "set exactly one of http, python, container, archive",
        )
    )

    http: HttpHandler | None = Field(default=None, description="An HTTP endpoint (CloudEvents).")
    python: PythonHandler | None = Field(default=None, description="A Python function.")
    container: ContainerHandler | None = Field(default=None, description="Any container.")
    archive: ArchiveHandler | None = Field(
        default=None, description="The built-in archive: every event is kept in PostgreSQL."
    )


class Inbox(MigratedConnection):
    """Remember handled events in the handler's database, so that each takes effect once."""

    connectionSecretRef: LoginSecretRef = Field(
        description="Database of the handler; its tables and the inbox share a transaction."
    )
    schema_: SqlIdentifier = Field(
        default="outbox", alias="schema", description="Schema of the inbox table."
    )
    mode: Literal["PerEvent", "PerShard"] = Field(
        default="PerEvent",
        description="What is remembered: PerEvent each event; PerShard how far each shard of the "
        "outbox is handled, which handles the events of a shard one after another, many in one "
        "transaction.",
        json_schema_extra=IMMUTABLE,
    )
    retention: Duration = Field(
        default="7d",
        description="Handled ids are kept this long; must exceed the longest redelivery.",
    )
    approvedPlan: PlanHash | None = Field(
        default=None,
        description="Hash of the move to another database that may happen although messages may "
        "be handled again: status.pendingMove.hash. Approves once, and may stay.",
    )


class CircuitBreaker(ApiModel):
    """When to stop fetching events because handling them fails."""

    failures: int = Field(
        default=10,
        ge=0,
        le=10000,
        description="After this many different events failed in a row no more are fetched; one at "
        "a time is tried until one succeeds, and none of them becomes a dead letter meanwhile. 0: "
        "only a handler or inbox database that cannot be reached does that.",
    )
