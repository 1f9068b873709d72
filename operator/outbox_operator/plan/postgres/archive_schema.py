"""The tables of an archive as values: events by class and time, and the ledger of what came. Pure.

events                       LIST (class)
  events_<class>             RANGE (stored_at)
    rows_<class>_<time>      a stretch of time; made ahead, dropped when all in it is too old
    rows_<class>_default     what has no stretch, until upkeep gives it one
ledger                       which numbers of each shard of an outbox have come, as ranges
gaps                         a view: what is between these ranges
backfills                    how far the rows of an outbox's table are archived
seals, sealed_rows           a chain of hashes over what was archived; with the hash of each row
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from outbox_operator.plan.postgres import archive_search
from outbox_operator.plan.postgres.archive_access import (
    ACCESS_LOG,
    EXPORTS,
    ApiAccess,
    ObservedPolicies,
    access_grants,
)
from outbox_operator.plan.postgres.archive_search import ObservedSearch
from outbox_operator.plan.postgres.schema import Column, Index, Table, literal, qualify
from outbox_operator.plan.postgres.state import Grant, ObservedDatabase
from outbox_operator.wire.archive import (
    COLUMNS,
    EXTRACTED_TYPE,
    LOG_KEEP_SECONDS,
    ArchiveConfig,
)
from outbox_operator.wire.tables import SCHEMA_VERSION

EVENTS: Final = "events"
LEDGER: Final = "ledger"
GAPS: Final = "gaps"
SEALS: Final = "seals"
SEALED_ROWS: Final = "sealed_rows"
BACKFILLS: Final = "backfills"
ARCHIVE_TABLES: Final = (
    EVENTS, LEDGER, SCHEMA_VERSION, GAPS, SEALS, SEALED_ROWS, ACCESS_LOG, EXPORTS, BACKFILLS,
)  # fmt: skip
ARCHIVE_VERSION: Final = 2
EVENTS_KEY: Final = ("id", "source", "stored_at", "class")
"""Holds both partition keys, which never change for a message, and begins with all that is asked
for to know whether an event is there already: who may publish may use one id for any number."""
_NULLABLE: Final = frozenset(
    {"key", "shard", "emission", "position", "payload", "raw", "payload_sha256", "note"}
)
PROBED: Final = ("id", "source", "stored_at", "class")
"""Columns of `events` that the writer may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredArchive:
    """What an archive wants of a database.

    Attributes:
        schema: Schema of the tables.
        keep: Seconds for which the events of each class are kept, by its name.
        extracted: Names of columns, sorted.
        writer: Role that the writer logs in as; it may own the tables as well.
        readers: Roles that may read, sorted.
        api: What its API wants of it; None: there is none.
        text_search: Whether the API finds events by words of their payloads.
        log_keep: Seconds for which is kept what its API notes of questions and exports.
    """

    schema: str
    keep: tuple[tuple[str, float], ...]
    extracted: tuple[str, ...] = ()
    writer: str | None = None
    readers: tuple[str, ...] = ()
    api: ApiAccess | None = None
    text_search: bool = False
    log_keep: float = LOG_KEEP_SECONDS

    @classmethod
    def of(cls, config: ArchiveConfig, *, writer: str | None) -> DesiredArchive:
        """What a configuration asks for; `writer` is the role that it logs in as."""
        return cls(
            schema=config.database.schema,
            keep=tuple((one.name, one.keep_seconds) for one in config.rules.retention),
            extracted=tuple(sorted(config.rules.extract)),
            writer=writer,
            readers=tuple(sorted(set(config.readers))),
            api=None
            if config.api_role is None
            else ApiAccess(role=config.api_role, tenant=config.tenant_column),
            text_search=config.text_search,
            log_keep=config.log_keep_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A table with rows: those of a class from `low` up to, not including, `high`.

    Without both it is the default one of its class.
    """

    name: str
    low: datetime | None = None
    high: datetime | None = None

    @property
    def is_default(self) -> bool:
        """Whether it takes the rows that no other takes."""
        return self.low is None or self.high is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTable:
    """The table of a class as found.

    Attributes:
        name: Of the class.
        comment: On its table, which says how long its rows are kept.
        leaves: Its partitions.
    """

    name: str
    comment: str | None = None
    leaves: tuple[Leaf, ...] = ()

    @property
    def keep_seconds(self) -> float | None:
        """How long its rows are kept; None: nobody says."""
        try:
            found = json.loads(self.comment or "")["keep_seconds"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return float(found) if isinstance(found, int | float) and found > 0 else None

    @property
    def default(self) -> Leaf | None:
        """The leaf for what no other takes."""
        return next((leaf for leaf in self.leaves if leaf.is_default), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedArchive:
    """What was found.

    Attributes:
        database: Schema, tables, roles and rights.
        encoding: Of the database.
        classes: Tables of classes.
        policies: Of the table of events.
        search: Through which it is searched by words.
    """

    database: ObservedDatabase
    encoding: str = "UTF8"
    classes: tuple[ClassTable, ...] = ()
    policies: ObservedPolicies = field(default_factory=ObservedPolicies)
    search: ObservedSearch = field(default_factory=ObservedSearch)


def events_table(schema: str, extracted: Iterable[str], *, text_search: bool = False) -> Table:
    """The table of events with these columns besides its own."""
    return Table(
        schema=schema,
        name=EVENTS,
        columns=(
            *(
                Column(
                    name=name,
                    type=kind,
                    nullable=name in _NULLABLE,
                    default="clock_timestamp()" if name == "archived_at" else None,
                )
                for name, kind in COLUMNS.items()
            ),
            *(extracted_column(name) for name in extracted),
        ),
        primary_key=EVENTS_KEY,
        indexes=events_indexes(extracted, text_search=text_search),
        partition_key="LIST (class)",
    )


def extracted_column(name: str) -> Column:
    """A column that a payload or a header fills."""
    return Column(name=name, type=EXTRACTED_TYPE, nullable=True)


def events_indexes(extracted: Iterable[str], *, text_search: bool) -> tuple[Index, ...]:
    """What events are found by, newest first or oldest first."""
    return (
        Index(name="events_stored_at_idx", columns=("stored_at",)),
        # What seals find new rows by; costs what writes next to nothing.
        Index(name="events_archived_at_idx", columns=("archived_at",), method="USING brin "),
        *(
            Index(name=f"events_{name}_idx", columns=(name, "stored_at"))
            for name in ("type", "key", *extracted)
        ),
        *((archive_search.INDEX,) if text_search else ()),
    )


def other_tables(schema: str) -> tuple[Table, ...]:
    """The tables beside that of events."""
    ledger = Table(
        schema=schema,
        name=LEDGER,
        columns=(
            Column(name="source", type="text"),
            Column(name="shard", type="integer"),
            Column(name="low", type="bigint"),
            Column(name="high", type="bigint"),
            Column(name="low_at", type="timestamp with time zone"),
            Column(name="high_at", type="timestamp with time zone"),
            Column(name="low_sequence", type="bigint"),
            Column(name="high_sequence", type="bigint"),
            Column(name="since", type="timestamp with time zone", default="clock_timestamp()"),
        ),
        primary_key=("source", "shard", "low"),
        # A few rows that change with every batch.
        storage="autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
    )
    versions = Table(
        schema=schema,
        name=SCHEMA_VERSION,
        columns=(
            Column(name="version", type="integer"),
            Column(name="plan_hash", type="text"),
            Column(name="applied_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="operator_version", type="text"),
        ),
        primary_key=("version",),
    )
    moment = "timestamp with time zone"
    seals = Table(
        schema=schema,
        name=SEALS,
        columns=(
            Column(name="number", type="bigint"),
            Column(name="kind", type="text"),
            Column(name="class", type="text"),
            *(
                Column(name=name, type=moment)
                for name in ("low", "high", "archived_from", "archived_to")
            ),
            Column(name="rows", type="bigint"),
            Column(name="root", type="bytea"),
            Column(name="previous", type="bytea"),
            Column(name="sealed_at", type=moment),
            Column(name="hash", type="bytea"),
            Column(name="key", type="text", nullable=True),
            Column(name="signature", type="bytea", nullable=True),
            Column(name="due_at", type=moment, nullable=True),
        ),
        primary_key=("number",),
    )
    sealed_rows = Table(
        schema=schema,
        name=SEALED_ROWS,
        columns=(
            Column(name="seal", type="bigint"),
            Column(name="piece", type="bigint"),
            Column(name="entries", type="bytea"),
        ),
        primary_key=("seal", "piece"),
    )
    backfills = Table(
        schema=schema,
        name=BACKFILLS,
        columns=(
            Column(name="source", type="text"),
            Column(name="began_at", type=moment),
            Column(name="up_to", type="bigint"),
            Column(name="position", type="bigint", default="0"),
            Column(name="rows", type="bigint", default="0"),
            Column(name="stored", type="bigint", default="0"),
            Column(name="moved_at", type=moment, default="clock_timestamp()"),
            Column(name="ended_at", type=moment, nullable=True),
            Column(name="problem", type="text", nullable=True),
        ),
        primary_key=("source",),
    )
    return (ledger, versions, seals, sealed_rows, backfills)


def gaps_sql(schema: str) -> str:
    """The view of gaps: numbers of a shard that have not come, and when they were sent."""
    return (
        f"CREATE OR REPLACE VIEW {qualify(schema, GAPS)} AS "  # noqa: S608
        "SELECT source, shard, before + 1 AS first, low - 1 AS last, before_at AS sent_after, "
        "low_at AS sent_before, before_sequence AS after_sequence, "
        "low_sequence AS before_sequence, since "
        "FROM (SELECT l.*, lag(high) OVER shards AS before, lag(high_at) OVER shards AS before_at, "
        f"lag(high_sequence) OVER shards AS before_sequence FROM {qualify(schema, LEDGER)} l "
        "WINDOW shards AS (PARTITION BY source, shard ORDER BY low)) r WHERE before IS NOT NULL"
    )


def class_table(name: str) -> str:
    """Name of the table of a class."""
    return f"events_{name}"


def default_leaf(name: str) -> str:
    """Name of the table for rows of a class that no other table takes."""
    return f"rows_{name}_default"


def leaf_name(name: str, low: datetime) -> str:
    """Name of the table for rows of a class from a moment on."""
    return f"rows_{name}_{low.astimezone(UTC):%Y%m%dt%H%M}"


def leaf_index(leaf: str, index: Index) -> str:
    """Name of an index of one leaf: short enough, whatever its columns are called."""
    digest = hashlib.blake2b(" ".join(index.columns).encode(), digest_size=4).hexdigest()
    return f"{leaf}_{digest}"


def keep_comment(keep_seconds: float) -> str:
    """The comment on the table of a class, as an SQL literal."""
    return literal(json.dumps({"keep_seconds": keep_seconds}))


def archive_grants(
    schema: str, *, writer: str | None, readers: Iterable[str], api: str | None = None
) -> tuple[Grant, ...]:
    """The rights that these roles need, sorted. None may change or delete an event."""
    grants = set() if api is None else set(access_grants(schema, api))
    if writer is not None:
        grants |= {
            Grant(role=writer, kind="schema", object=schema, privilege="USAGE"),
            Grant(role=writer, kind="table", object=EVENTS, privilege="INSERT"),
            Grant(role=writer, kind="table", object=SCHEMA_VERSION, privilege="SELECT"),
            *(
                Grant(
                    role=writer, kind="column", object=EVENTS, privilege="SELECT", column=column
                )
                for column in PROBED
            ),
            *(
                Grant(role=writer, kind="table", object=LEDGER, privilege=privilege)
                for privilege in ("SELECT", "INSERT", "DELETE")
            ),
            *(
                Grant(role=writer, kind="table", object=BACKFILLS, privilege=privilege)
                for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
            ),
        }  # fmt: skip
    for role in readers:
        grants.add(Grant(role=role, kind="schema", object=schema, privilege="USAGE"))
        grants |= {
            Grant(role=role, kind="table", object=name, privilege="SELECT")
            for name in (EVENTS, LEDGER, GAPS, SEALS, SEALED_ROWS, BACKFILLS)
        }
    return tuple(sorted(grants))
