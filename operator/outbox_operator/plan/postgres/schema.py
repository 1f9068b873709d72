"""Our tables as values, and the SQL that creates them. The only place that knows their types.

Defaults are written as PostgreSQL prints them, so that they can be compared with the catalog.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from outbox_operator.plan.postgres.checks import Check, event_checks
from outbox_operator.plan.postgres.functions import outbox_functions
from outbox_operator.plan.postgres.state import DesiredDatabase, DesiredInbox, Grant
from outbox_operator.wire import tables
from outbox_operator.wire.tables import POSITION_SEQUENCE, quoted

DEFAULT_PARTITION: Final = "events_default"
EVENTS_PARTITION_KEY: Final = 'RANGE ("position")'
PARTITION_WIDTH: Final = 1_000_000_000
"""Positions per partition: more rows than a partition gets before it is rotated by time, and few
enough that positions stay exact in JSON for centuries (2**53 / 10**9 partitions)."""
PARTITIONS_AHEAD: Final = 3
KEY_HASH: Final = "hashtextextended(partition_key, '0'::bigint)"
"""What dead letters of a key are found by, in `sql/relay_blocked_of.sql`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as wanted.

    Attributes:
        generated: Expression that the server computes the value from, and stores.
        since: Schema version that brought it; a table of an earlier one gets it added.
    """

    name: str
    type: str
    default: str | None = None
    nullable: bool = False
    generated: str | None = None
    since: int = 1

    def sql(self) -> str:
        """The column in CREATE TABLE and ADD COLUMN."""
        parts = [quoted(self.name), self.type]
        if not self.nullable:
            parts.append("NOT NULL")
        if self.default is not None:
            parts.append(f"DEFAULT {self.default}")
        if self.generated is not None:
            parts.append(f"GENERATED ALWAYS AS ({self.generated}) STORED")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index as wanted; another name with the same columns will do.

    Attributes:
        columns: Names, or expressions as PostgreSQL prints them.
        since: Schema version that brought it, as it is.
        method: Access method, and what it is told.
    """

    name: str
    columns: tuple[str, ...]
    since: int = 1
    method: str = ""

    def on(self, table: str) -> str:
        """What follows CREATE INDEX and the name, for a table."""
        return f"ON {table} {self.method}({columns_sql(self.columns)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as wanted."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()
    partition_key: str | None = None
    storage: str = ""

    @property
    def qualified(self) -> str:
        """`"schema"."table"`."""
        return qualify(self.schema, self.name)

    def create_sql(self) -> str:
        """CREATE TABLE with its primary key."""
        lines = [column.sql() for column in self.columns]
        lines.append(f"CONSTRAINT {quoted(self.primary_key_name)} {self.primary_key_sql()}")
        lines += [f"CONSTRAINT {quoted(c.name)} CHECK {c.condition}" for c in self.checks]
        text = f"CREATE TABLE {self.qualified} (\n  " + ",\n  ".join(lines) + "\n)"
        if self.partition_key:
            text += f" PARTITION BY {self.partition_key}"
        return text + (f" WITH ({self.storage})" if self.storage else "")

    @property
    def primary_key_name(self) -> str:
        """Name of the constraint."""
        return f"{self.name}_pkey"

    def primary_key_sql(self) -> str:
        """The constraint without its name."""
        return f"PRIMARY KEY ({columns_sql(self.primary_key)})"

    def index_sql(self, index: Index) -> str:
        """CREATE INDEX."""
        return f"CREATE INDEX {quoted(index.name)} {index.on(self.qualified)}"


def qualify(schema: str, name: str) -> str:
    """A name with its schema, quoted."""
    return f"{quoted(schema)}.{quoted(name)}"


def columns_sql(columns: tuple[str, ...]) -> str:
    """Column names, quoted, or expressions, separated by commas."""
    return ", ".join(column if "(" in column else quoted(column) for column in columns)


def position_default(schema: str) -> str:
    """Default of `events.position`."""
    return f"nextval({literal(qualify(schema, POSITION_SEQUENCE))}::regclass)"


def shard_expression(shards: int) -> str:
    """The shard of a row: its key decides; rows without a key take turns.

    Written as PostgreSQL prints it, but for line breaks.
    """
    return (
        f"CASE WHEN (partition_key = ''::text) THEN (\"position\" % '{shards}'::bigint) "
        f"ELSE (((hashtext(partition_key) & 2147483647) % {shards}))::bigint END"
    )


def same_default(schema: str, wanted: str | None, found: str | None) -> bool:
    """Whether two defaults are the same; names may be printed with or without schema and quotes."""
    if wanted is None or found is None or wanted == found:
        return wanted == found
    if wanted != position_default(schema):
        return False
    sequence = re.fullmatch(r"nextval\('(.*)'::regclass\)", found)
    spelled = sequence.group(1).replace('"', "") if sequence else ""
    return spelled in (POSITION_SEQUENCE, f"{schema}.{POSITION_SEQUENCE}")


def literal(text: str) -> str:
    """A text as an SQL literal."""
    escaped = text.replace("'", "''")
    return f" E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"


def outbox_tables(desired: DesiredDatabase) -> tuple[Table, ...]:
    """The tables of a pipeline, in the order in which they are created."""
    payload = desired.payload_type
    events = Table(
        schema=desired.schema,
        name=tables.EVENTS,
        columns=(
            Column(name="position", type="bigint", default=position_default(desired.schema)),
            Column(name="xid", type="xid8", default="pg_current_xact_id()"),
            _shard_column(desired.shards),
            Column(name="event_id", type="uuid", default="gen_random_uuid()"),
            Column(name="event_type", type="text"),
            Column(name="partition_key", type="text", default="''::text"),
            Column(name="routing_key", type="text", nullable=True),
            Column(name="payload", type=payload),
            Column(name="headers", type="jsonb", default="'{}'::jsonb"),
            Column(name="created_at", type="timestamp with time zone", default="clock_timestamp()"),
            # Of a copy: by which replay, for whom, and of what; nobody may set it but the owner.
            Column(name="replay", type="jsonb", nullable=True, since=5),
        ),
        primary_key=("position",),
        indexes=(Index(name="events_shard_xid_idx", columns=("shard", "xid")),),
        checks=event_checks(),
        partition_key=EVENTS_PARTITION_KEY,
    )
    cursors = Table(
        schema=desired.schema,
        name=tables.CURSORS,
        columns=(
            Column(name="shard", type="smallint"),
            Column(name="snapshot_from", type="text", default="'1:1:'::text"),
            Column(name="snapshot_to", type="text", nullable=True),
            Column(name="last_position", type="bigint", default="0"),
            Column(name="emission", type="bigint", default="0"),
            Column(name="emission_gaps", type="bigint", default="0", since=2),
            Column(name="stream_sequence", type="bigint", nullable=True, since=2),
            Column(name="remark", type="text", nullable=True, since=2),
            Column(name="stream_created", type="text", nullable=True, since=3),
            Column(name="notice", type="text", nullable=True, since=3),
            Column(name="noticed_at", type="timestamp with time zone", nullable=True, since=3),
            Column(name="checkpoints", type="text", default="'[]'::text", since=3),
            Column(name="position_notice", type="text", nullable=True, since=4),
            Column(
                name="position_noticed_at", type="timestamp with time zone", nullable=True, since=4
            ),
            Column(name="resent_to", type="bigint", default="0", since=4),
            Column(name="resent_epoch", type="bigint", default="0", since=4),
            Column(name="owner_epoch", type="bigint", default="0"),
            Column(name="owner", type="text", nullable=True),
            Column(name="system_identifier", type="text", nullable=True),
            Column(name="published_at", type="timestamp with time zone", nullable=True),
            Column(name="updated_at", type="timestamp with time zone", default="clock_timestamp()"),
        ),
        primary_key=("shard",),
        # One row that changes many times a second: keep its old versions on its own page.
        storage="fillfactor = 10, autovacuum_vacuum_scale_factor = 0, "
        "autovacuum_vacuum_threshold = 500, vacuum_truncate = off",
    )
    dead_letters = Table(
        schema=desired.schema,
        name=tables.DEAD_LETTERS,
        columns=(
            Column(name="position", type="bigint"),
            Column(name="shard", type="smallint", default="0"),
            Column(name="event_id", type="uuid"),
            Column(name="event_type", type="text"),
            Column(name="partition_key", type="text"),
            Column(name="routing_key", type="text", nullable=True),
            Column(name="payload", type=payload),
            Column(name="headers", type="jsonb"),
            Column(name="created_at", type="timestamp with time zone"),
            Column(name="reason", type="text"),
            Column(name="error", type="text", default="''::text"),
            Column(name="blocked", type="boolean", default="false"),
            Column(name="dead_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="replay", type="jsonb", nullable=True, since=5),
        ),
        primary_key=("position",),
        # Of the key a hash, since a key may be longer than what an index takes.
        indexes=(Index(name="dead_letters_key_idx", columns=("shard", KEY_HASH), since=4),),
    )
    schema_version = Table(
        schema=desired.schema,
        name=tables.SCHEMA_VERSION,
        columns=(
            Column(name="version", type="integer"),
            Column(name="plan_hash", type="text"),
            Column(name="applied_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="operator_version", type="text"),
        ),
        primary_key=("version",),
    )
    replays = Table(
        schema=desired.schema,
        name=tables.REPLAYS,
        columns=(
            Column(name="name", type="text"),
            Column(name="target", type="text", nullable=True),
            Column(name="up_to", type="bigint"),
            Column(name="copied", type="bigint", default="0"),
            Column(name="copied_to", type="bigint"),
            Column(name="last_xid", type="xid8", nullable=True),
            Column(name="started_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="moved_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="ended_at", type="timestamp with time zone", nullable=True),
        ),
        primary_key=("name",),
    )
    # Their rows in `events` were not published, and never are: what was released is another row.
    former_dead_letters = Table(
        schema=desired.schema,
        name=tables.FORMER_DEAD_LETTERS,
        columns=(
            Column(name="position", type="bigint"),
            Column(name="released", type="boolean"),
            Column(name="since", type="timestamp with time zone", default="clock_timestamp()"),
        ),
        primary_key=("position",),
    )
    return (events, cursors, dead_letters, schema_version, replays, former_dead_letters)


def _shard_column(shards: int) -> Column:
    if shards == 1:
        return Column(name="shard", type="smallint", default="0")
    return Column(name="shard", type="smallint", generated=shard_expression(shards))


def inbox_tables(desired: DesiredInbox) -> tuple[Table, ...]:
    """What remembers handled events, shared by the consumers of a database."""
    inbox = Table(
        schema=desired.schema,
        name=tables.INBOX,
        columns=(
            Column(name="event_id", type="uuid"),
            Column(name="consumer_name", type="text"),
            Column(name="source_topic", type="text"),
            Column(name="event_type", type="text"),
            Column(name="payload", type="bytea", nullable=True),
            Column(
                name="consumed_at", type="timestamp with time zone", default="clock_timestamp()"
            ),
            Column(name="processing_duration_ms", type="integer", nullable=True),
        ),
        primary_key=("consumer_name", "event_id"),
        indexes=(
            Index(name="consumer_inbox_pruning_idx", columns=("consumer_name", "consumed_at")),
        ),
    )
    positions = Table(
        schema=desired.schema,
        name=tables.POSITIONS,
        columns=(
            Column(name="consumer_name", type="text"),
            Column(name="source", type="text"),
            Column(name="shard", type="text"),
            Column(name="emission", type="bigint", default="0"),
            Column(name="stored_at", type="timestamp with time zone", nullable=True),
            Column(name="stream", type="text", nullable=True, since=4),
            Column(name="durable_created", type="text", nullable=True, since=4),
            Column(name="durable_filter", type="text", nullable=True, since=4),
            Column(name="first_sequence", type="bigint", nullable=True, since=4),
            Column(name="last_sequence", type="bigint", nullable=True, since=4),
        ),
        primary_key=("consumer_name", "source", "shard"),
    )
    return (inbox, positions)


def partition_name(index: int) -> str:
    """Name of the partition that starts at `index * PARTITION_WIDTH`."""
    return f"events_p{index}"


def partition_bounds(index: int) -> tuple[int, int]:
    """First position of a partition, and the first one after it."""
    return index * PARTITION_WIDTH, (index + 1) * PARTITION_WIDTH


def outbox_grants(
    desired: DesiredDatabase, *, writers: tuple[str, ...], relay_role: str | None
) -> tuple[Grant, ...]:
    """The rights that these roles need, sorted."""
    schema = desired.schema
    grants = set()
    for role in writers:
        grants.add(Grant(role=role, kind="schema", object=schema, privilege="USAGE"))
        grants.add(Grant(role=role, kind="sequence", object=POSITION_SEQUENCE, privilege="USAGE"))
        for function in outbox_functions(desired):
            grants.add(
                Grant(role=role, kind="function", object=function.signature, privilege="EXECUTE")
            )
        for column in tables.WRITABLE_COLUMNS:
            grants.add(
                Grant(
                    role=role, kind="column", object=tables.EVENTS,
                    privilege="INSERT", column=column,
                )
            )  # fmt: skip
    if relay_role is not None:
        grants.add(Grant(role=relay_role, kind="schema", object=schema, privilege="USAGE"))
        for table, privileges in (
            (tables.EVENTS, ("SELECT",)),
            (tables.CURSORS, ("SELECT", "INSERT", "UPDATE")),
            (tables.DEAD_LETTERS, ("SELECT", "INSERT", "DELETE")),
            (tables.SCHEMA_VERSION, ("SELECT",)),
            (tables.FORMER_DEAD_LETTERS, ("SELECT",)),
        ):
            for privilege in privileges:
                grants.add(Grant(role=relay_role, kind="table", object=table, privilege=privilege))
        # To move it on where it stands before positions in use.
        for privilege in ("SELECT", "UPDATE"):
            grants.add(
                Grant(
                    role=relay_role, kind="sequence", object=POSITION_SEQUENCE, privilege=privilege
                )
            )
        # For `outbox rebase`, which runs in the relay's pod with the relay's login.
        grants.add(
            Grant(
                role=relay_role, kind="column", object=tables.EVENTS,
                privilege="UPDATE", column="xid",
            )
        )  # fmt: skip
    return tuple(sorted(grants))


def inbox_grants(desired: DesiredInbox) -> tuple[Grant, ...]:
    """The rights that the consumer's role needs, sorted."""
    if desired.consumer_role is None:
        return ()
    role = desired.consumer_role
    return (
        Grant(role=role, kind="schema", object=desired.schema, privilege="USAGE"),
        *(
            Grant(role=role, kind="table", object=table, privilege=privilege)
            for table in tables.INBOX_TABLES
            for privilege in ("DELETE", "INSERT", "SELECT", "UPDATE")
        ),
    )
