"""The archive of a consumer: where events are kept, for how long, by what they are found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import (
    IMMUTABLE,
    ApiModel,
    Duration,
    RoleName,
    SecretKeyRef,
    SqlIdentifier,
    cel,
    model_rules,
)
from outbox_operator.api.v1alpha1.approval import PlanHash
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.api.v1alpha1.database import (
    LoginSecretRef,
    MigratedConnection,
    PostgresConnection,
)
from outbox_operator.wire.archive import (
    MOST_CLASSES,
    MOST_EXTRACTED,
    MOST_REDACTED,
    MOST_TYPES,
)

ClassName = Annotated[str, Field(pattern=patterns.CLASS_NAME, min_length=1, max_length=30)]
EventTypes = Annotated[str, Field(pattern=patterns.NO_SPACES, min_length=1, max_length=255)]
Place = Annotated[str, Field(pattern=patterns.PLACE, min_length=2, max_length=512)]


class RetentionClass(ApiModel):
    """Events that are kept for the same time."""

    name: ClassName = Field(description="Of the class; part of the names of its tables.")
    eventTypes: list[EventTypes] = Field(
        default_factory=list,
        max_length=MOST_TYPES,
        description="Event types with the wildcards of NATS, as in filterEventTypes; empty: every "
        "event that no class before it takes.",
    )
    keep: Duration = Field(
        description="Its events are kept for at least so long after the stream took them; an hour "
        "or more."
    )


class ArchiveMigrations(ApiModel):
    """How changes of the archive's tables are carried out."""

    policy: Literal["Automatic", "RequireApproval"] = Field(
        default="Automatic",
        description="RequireApproval shows the plan in status.archive.pendingPlan and waits until "
        "somebody approves it, by approvedPlan or by an OutboxTask.",
    )
    approvedPlan: PlanHash | None = Field(
        default=None,
        description="Hash of the plan that may run: status.archive.pendingPlan.hash, or "
        "status.pendingMove.hash. Approves once, and may stay.",
    )
    lockTimeout: Duration = Field(
        default="5s",
        description="A statement that waits longer for a lock gives up and is retried.",
    )


class ArchiveBackfill(PostgresConnection):
    """An outbox whose kept rows are archived, too, for a start before the stream's."""

    connectionSecretRef: LoginSecretRef = Field(
        description="A login to the outbox's database that may read its tables. Read by the pods "
        "that write the archive, and by nobody else."
    )
    schema_: SqlIdentifier = Field(
        default="outbox", alias="schema", description="Schema of the outbox's tables."
    )


class ArchiveJwt(ApiModel):
    """Which tokens are believed."""

    model_config = model_rules(
        cel(
            "has(self.jwksUrl) != has(self.jwksSecretRef)",
            "set exactly one of jwksUrl and jwksSecretRef",
        ),
    )

    issuer: str = Field(min_length=1, max_length=1024, description="What `iss` has to be.")
    audience: str = Field(
        min_length=1, max_length=1024, description="What `aud` has to be, or to hold."
    )
    jwksUrl: str | None = Field(
        default=None,
        pattern=patterns.HTTPS_URL,
        max_length=2048,
        description="Where the issuer publishes its keys.",
    )
    jwksSecretRef: SecretKeyRef | None = Field(
        default=None, description="The issuer's public keys, as a JWKS document."
    )
    tenantClaim: str = Field(
        default="tenant",
        min_length=1,
        max_length=256,
        description="Claim that holds the tenant, with `tenantColumn`.",
    )


class ArchiveApi(ApiModel):
    """Questions about an archive, answered over HTTP."""

    enabled: bool = Field(default=True, description="Whether they are.")
    connectionSecretRef: LoginSecretRef = Field(
        description="The login that reads, of a role of its own, to the archive's database. Host, "
        "port, name and TLS are those of the archive."
    )
    jwt: ArchiveJwt = Field(description="Which tokens are believed.")
    tenantColumn: str | None = Field(
        default=None,
        pattern=patterns.COLUMN_NAME,
        description="Extracted column that says whose an event is: a caller sees those of one "
        "tenant. Default: every caller sees all events.",
    )
    page: bool = Field(
        default=True,
        description="Whether there is a page at `/`, for people; it asks for a token, as the API "
        "does.",
    )
    replicas: int = Field(default=2, ge=0, le=100, description="Pods that answer.")
    keepLog: Duration = Field(
        default="365d",
        description="Who asked for what, and the manifests of exports, are kept for so long; a day "
        "or more.",
    )


class ArchiveSeals(ApiModel):
    """Hashes that make later tampering visible."""

    signingSecretRef: SecretKeyRef | None = Field(
        default=None,
        description="Private Ed25519 key in PEM (openssl genpkey -algorithm ed25519) that signs "
        "the seals; without it they are not signed. Read by the operator alone.",
    )
    every: Duration = Field(
        default="15m", description="Seals are made so often at most, a second to a day."
    )


class ArchiveHandler(MigratedConnection):
    """Keep every event in PostgreSQL: by class and time, without code."""

    model_config = model_rules(
        cel(
            "!has(self.retention[self.retention.size() - 1].eventTypes) || "
            "self.retention[self.retention.size() - 1].eventTypes.size() == 0 || "
            "self.retention[self.retention.size() - 1].eventTypes.exists(x, x == '>')",
            "the last class of retention takes every event that no other takes: leave out its "
            "eventTypes",
        ),
        cel(
            "!has(self.api) || !has(self.api.tenantColumn) || "
            "(has(self.extract) && self.api.tenantColumn in self.extract)",
            "api.tenantColumn is one of the columns of extract",
        ),
    )

    connectionSecretRef: LoginSecretRef = Field(
        description="The login that writes events; it may be of another server than the outbox's."
    )
    schema_: SqlIdentifier = Field(
        default="archive",
        alias="schema",
        description="Schema of the archive's tables. Fixed at creation.",
        json_schema_extra=IMMUTABLE,
    )
    retention: list[RetentionClass] = Field(
        min_length=1,
        max_length=MOST_CLASSES,
        description="Classes of events and how long each is kept; the first that takes an event "
        "has it. A change holds for what is archived from then on.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    extract: dict[str, Place] = Field(
        default_factory=dict,
        description="Columns with an index, by name: a JSON path into the payload ($.actor.id) or "
        "an attribute of CloudEvents (ce:correlationid), which events of an outbox do not have.",
        json_schema_extra={"maxProperties": MOST_EXTRACTED},
    )
    redact: list[Place] = Field(
        default_factory=list,
        max_length=MOST_REDACTED,
        description="JSON paths into the payload of what is never stored. A payload that cannot be "
        "parsed is then not stored either, only its size and hash.",
    )
    sealing: ArchiveSeals | None = Field(
        default=None,
        description="Seal what is archived: a chain of hashes over every event, which `outbox "
        "archive verify` checks. Default: nothing is sealed.",
    )
    textSearch: bool = Field(
        default=False,
        description="Whether the API finds events by words of their payloads (`q`): an index that "
        "takes room, and time of what stores an event.",
    )
    readers: list[RoleName] = Field(
        default_factory=list, max_length=64, description="Roles that may read the archive."
    )
    migrations: ArchiveMigrations = Field(
        default_factory=ArchiveMigrations, description="How its tables are changed."
    )
    adoptionPolicy: AdoptionPolicy = Field(
        default="Fail",
        description="Fail refuses a schema that carries the mark of another owner; Adopt takes it "
        "over, once for each change of this specification.",
    )
    backfill: ArchiveBackfill | None = Field(
        default=None,
        description="Archive the rows that an outbox's table has kept, too, each once, whoever "
        "brings it first. status.archive.backfill and the condition ArchiveBackfilled say how far "
        "that is.",
    )
    api: ArchiveApi | None = Field(
        default=None, description="Answer questions over HTTP. Default: nobody does."
    )


class PendingArchivePlan(ApiModel):
    """A change of an archive's tables that waits."""

    hash: str = Field(description="Names this plan, for whoever approves or rejects it.")
    statements: list[str] = Field(default_factory=list, description="What would run.")


class ArchiveGap(ApiModel):
    """Numbers of a shard that the archive lacks."""

    source: str = Field(description="Ce-Source of the outbox.")
    shard: int = Field(description="Its shard.")
    first: int = Field(description="First number that is missing.")
    last: int = Field(description="Last number of them.")
    sentAfter: str | None = Field(default=None, description="When the event before was stored.")
    sentBefore: str | None = Field(default=None, description="When the event behind was stored.")


class ArchiveApiState(ApiModel):
    """What answers questions about an archive."""

    url: str = Field(description="Where, within the cluster.")
    replicas: int = Field(default=0, description="Pods that exist.")
    readyReplicas: int = Field(default=0, description="Of these, that answer.")


class ArchiveBackfillState(ApiModel):
    """How far the rows of an outbox's table are archived."""

    source: str | None = Field(default=None, description="Ce-Source of the outbox.")
    rows: int = Field(default=0, description="Rows that were looked at.")
    stored: int = Field(default=0, description="Of these, events that the archive had not.")
    position: int = Field(default=0, description="Position of the last of them.")
    upTo: int = Field(default=0, description="Position of the last row that is to be archived.")
    startedAt: str | None = Field(default=None, description="When that began.")
    finishedAt: str | None = Field(default=None, description="When all were; absent: not yet.")


class ArchiveState(ApiModel):
    """An archive as its database says it."""

    database: str | None = Field(
        default=None,
        description="Which database that is: system identifier of the server, and OID.",
    )
    version: int | None = Field(default=None, description="Version of its tables.")
    pendingPlan: PendingArchivePlan | None = Field(
        default=None, description="What waits for approval."
    )
    rows: int = Field(default=0, description="About how many events it holds.")
    bytes: int = Field(default=0, description="What they take, indexes included.")
    partitions: int = Field(default=0, description="Tables that hold them.")
    unpartitioned: int = Field(
        default=0, description="About how many events have no partition of their time yet."
    )
    oldest: str | None = Field(default=None, description="When its oldest event was stored.")
    newest: str | None = Field(default=None, description="When its newest event was stored.")
    lag: int = Field(default=0, description="Messages of the stream that are not in it yet.")
    completeTo: str | None = Field(
        default=None, description="No event that the stream took before is missing; absent: not "
        "provable."
    )  # fmt: skip
    gaps: int | None = Field(
        default=None, description="Gaps in the numbers of events; absent: not provable."
    )
    firstGaps: list[ArchiveGap] = Field(default_factory=list, description="The first of them.")
    lastSeal: str | None = Field(
        default=None,
        description="Number and hash of the last seal. It has to be there still at the next look; "
        "`outbox archive verify --known` takes it.",
    )
    backfill: ArchiveBackfillState | None = Field(
        default=None, description="How far the rows of the outbox's table are."
    )
    api: ArchiveApiState | None = Field(
        default=None, description="What answers questions over HTTP."
    )
    sampledAt: str | None = Field(default=None, description="When the numbers were read.")
