"""What the operator finds in a database, for plans over it: nothing of ours, or all as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from outbox_operator.plan.postgres.functions import outbox_functions
from outbox_operator.plan.postgres.mark import Mark
from outbox_operator.plan.postgres.schema import Table, outbox_grants, outbox_tables
from outbox_operator.plan.postgres.state import (
    DesiredDatabase,
    ObservedColumn,
    ObservedDatabase,
    ObservedIndex,
    ObservedSchema,
    ObservedSequence,
    ObservedTable,
)
from outbox_operator.plan.state import Owner
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION

NOTHING = ObservedDatabase(
    server_version=150018, database="shop", role="owner", roles=frozenset({"app", "relay"})
)


def found(table: Table) -> ObservedTable:
    """A table exactly as wanted."""
    return ObservedTable(
        kind="p" if table.partition_key else "r",
        owner="owner",
        owned=True,
        columns={
            c.name: ObservedColumn(
                type=c.type,
                not_null=not c.nullable,
                default=c.generated or c.default,
                generated=c.generated is not None,
            )
            for c in table.columns
        },
        primary_key=table.primary_key,
        partition_key=table.partition_key,
        has_default_partition=table.partition_key is not None,
        checks={check.name: f"CHECK ({check.condition})" for check in table.checks},
    )


def found_indexes(tables: Sequence[Table]) -> dict[str, ObservedIndex]:
    """The indexes of these tables exactly as wanted."""
    return {
        index.name: ObservedIndex(table=table.name, columns=index.columns)
        for table in tables
        for index in table.indexes
    }


def as_wanted(desired: DesiredDatabase, owner: Owner) -> ObservedDatabase:
    """A database in which nothing is to be done."""
    tables = outbox_tables(desired)
    mark = Mark(owner=owner, writers=desired.writers, relay_role=desired.relay_role)
    return replace(
        NOTHING,
        schema=ObservedSchema(owner="owner", owned=True, may_create=True, comment=mark.text()),
        tables={table.name: found(table) for table in tables},
        indexes=found_indexes(tables),
        sequence=ObservedSequence(),
        functions={f.name: f.body for f in outbox_functions(desired)},
        granted=frozenset(
            outbox_grants(desired, writers=desired.writers, relay_role=desired.relay_role)
        ),
        version=CURRENT_SCHEMA_VERSION,
        cursor_shards=frozenset({0}),
    )
