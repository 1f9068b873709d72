"""Values that the plans for PostgreSQL are made of: what is wanted, and what was found.

`adapters.postgres.admin` fills the observed ones; `plan.postgres` decides over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec

GrantKind = Literal["schema", "table", "column", "sequence", "function"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDatabase:
    """What a pipeline wants of a database.

    Attributes:
        schema: Schema of the tables.
        payload_type: Type of the payload column.
        writers: Roles that may insert events.
        relay_role: Role that the relay logs in as; it may own the tables as well.
        shards: How many parts the outbox has; each has a row in the cursor table.
        wakeup: Whether a trigger wakes a sleeping relay.
    """

    schema: str
    payload_type: Literal["jsonb", "bytea"] = "jsonb"
    writers: tuple[str, ...] = ()
    relay_role: str | None = None
    shards: int = 1
    wakeup: bool = False

    @classmethod
    def of(
        cls, spec: OutboxPipelineSpec, *, writers: tuple[str, ...], relay_role: str | None
    ) -> DesiredDatabase:
        """What a specification asks for, with these roles."""
        return cls(
            schema=spec.database.schema_,
            payload_type=spec.outbox.payloadType,
            writers=writers,
            relay_role=relay_role,
            shards=spec.outbox.shards,
            wakeup=spec.outbox.wakeup == "WhenIdle",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredInbox:
    """What a consumer with an inbox wants of the handler's database.

    Attributes:
        schema: Schema of the inbox table; consumers share it.
        consumer_role: Role that the consumer logs in as; it may own the table as well.
    """

    schema: str
    consumer_role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Grant:
    """One right of one role."""

    role: str
    kind: GrantKind
    object: str
    """Name of a table, sequence or function (with argument types) in the schema; or the schema."""
    privilege: str
    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedColumn:
    """A column as the catalog has it."""

    type: str
    not_null: bool = False
    default: str | None = None
    generated: bool = False
    """An identity column, or a generated one: `default` is then its expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTable:
    """A relation of the schema that has a name of ours.

    Attributes:
        kind: `pg_class.relkind`: r table, p partitioned table, v view, …
        owned: Whether our role has the rights of the owner.
        partition_key: As `pg_get_partkeydef` says it.
        has_default_partition: Whether rows outside all ranges have a home.
        partitions: Names of its partitions, sorted.
        checks: Its CHECK constraints by name, as `pg_get_constraintdef` says them.
    """

    kind: str
    owner: str
    owned: bool
    columns: Mapping[str, ObservedColumn]
    primary_key: tuple[str, ...] = ()
    partition_key: str | None = None
    has_default_partition: bool = False
    partitions: tuple[str, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedIndex:
    """An index of one of the tables."""

    table: str
    columns: tuple[str, ...]
    valid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSchema:
    """The schema of the tables."""

    owner: str
    owned: bool
    may_create: bool
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSequence:
    """Options of a sequence; the defaults are those of ours."""

    cache: int = 1
    increment: int = 1
    minimum: int = 1
    maximum: int = 2**63 - 1
    cycle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedDatabase:
    """What was found.

    Attributes:
        server_version: As `server_version_num`, for example 150018.
        role: The role we are logged in as.
        may_create_schema: Whether it has CREATE on the database.
        schema: None: does not exist.
        tables: By name; only names of ours.
        indexes: By name; only those of `tables`.
        sequence: Of the positions; None: does not exist.
        functions: Bodies of our functions with our arguments, by name.
        wakeup_source: Body of the function that wakes a relay; None: does not exist.
        wakeup_trigger: Whether its trigger is enabled; None: does not exist.
        roles: Those of the wanted and formerly granted roles that exist.
        granted: Those of the wanted rights that the roles have, directly or not.
        version: Newest row of `schema_version`; None: never migrated.
        cursor_shards: Shards with a cursor.
        identity: Which database this is, whatever it is called: system identifier of the server,
            and OID; None: nobody asked.
        cursor_systems: System identifiers of the servers that the cursors are of.
        fingerprint: Stands for all that the catalog says.
    """

    server_version: int
    database: str
    role: str
    may_create_schema: bool = True
    schema: ObservedSchema | None = None
    tables: Mapping[str, ObservedTable] = field(default_factory=dict)
    indexes: Mapping[str, ObservedIndex] = field(default_factory=dict)
    sequence: ObservedSequence | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    wakeup_source: str | None = None
    wakeup_trigger: bool | None = None
    roles: frozenset[str] = frozenset()
    granted: frozenset[Grant] = frozenset()
    version: int | None = None
    cursor_shards: frozenset[int] = frozenset()
    identity: str | None = None
    cursor_systems: frozenset[str] = frozenset()
    fingerprint: str = field(default="", compare=False)

    @property
    def is_copy(self) -> bool:
        """Whether the outbox came here from another server, with its rows."""
        here = (self.identity or "").partition("/")[0]
        return bool(self.cursor_systems - {here})


BACKLOG_CAP: Final = 10_000
"""Rows that are counted at most, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxNumbers:
    """A sample of the outbox tables.

    Attributes:
        backlog_rows: Committed rows not published, counted up to a cap.
        backlog_is_estimate: Whether the cap was reached.
        oldest_age_seconds: Age of the oldest of them.
        dead_letters: Rows set aside.
        published_total: Events published since creation.
        last_published_at: When one was published last.
        last_position: Position of that row.
        remark: Why a relay publishes without the fence, after its reason and a colon; or None.
        notice: What the stream lost within the last hour, likewise.
        position_notice: How the sequence of positions was put right within the last hour, likewise.
        stream_created: When the newest stream was made, as JetStream says it, that a relay has
            published to.
        taken_at: When the sample was taken.
    """

    backlog_rows: int
    backlog_is_estimate: bool
    oldest_age_seconds: float
    dead_letters: int
    published_total: int
    last_published_at: datetime | None
    last_position: int
    remark: str | None
    notice: str | None
    position_notice: str | None
    stream_created: str | None
    taken_at: datetime = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One step of a plan.

    Attributes:
        sql: A complete statement, without the closing semicolon.
        reason: What it does or repairs, for people.
        drift: Whether it undoes a change made by hand.
        destructive: Whether data would be lost.
        concurrent: Whether it runs before the transaction, so that writers need not wait for it.
    """

    sql: str
    reason: str
    drift: bool = False
    destructive: bool = False
    concurrent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan:
    """Ordered steps from what was found to what is wanted.

    Attributes:
        version: Schema version once it has run.
        statements: In order; all but the concurrent ones run in one transaction.
        records_version: Whether the version is to be written down.
        hash: Identifies the plan: the same steps have the same hash.
    """

    version: int
    statements: tuple[Statement, ...]
    records_version: bool
    hash: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.statements and not self.records_version

    @property
    def destructive(self) -> bool:
        """Whether data would be lost."""
        return any(statement.destructive for statement in self.statements)

    @property
    def drift(self) -> tuple[str, ...]:
        """What was changed by hand, a sentence each."""
        return tuple(statement.reason for statement in self.statements if statement.drift)

    @property
    def repairs(self) -> tuple[str, ...]:
        """The same, once these steps have been done."""
        return tuple(f"{one} (put right)" for one in self.drift)
