"""One table as found against the same table as wanted: create, repair, or refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outbox_operator.errors import UnsafeChangeError
from outbox_operator.plan.postgres.checks import Check
from outbox_operator.plan.postgres.schema import (
    Column,
    Index,
    Table,
    columns_sql,
    qualify,
    same_default,
)
from outbox_operator.plan.postgres.state import (
    ObservedColumn,
    ObservedDatabase,
    ObservedTable,
    Statement,
)
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import FIRST_SCHEMA_VERSION, POSITION_SEQUENCE, quoted


def missing(what: str, name: str, managed: bool) -> str:
    """The reason of a statement that creates something."""
    return f"{what} {name} was missing" if managed else f"create {what} {name}"


def table_statements(
    tables: Sequence[Table], observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    """What makes these tables, with keys and indexes, as wanted.

    Args:
        tables: As wanted, in order.
        observed: What is there.
        managed: Whether we made them before: every difference is then a change by hand.

    Raises:
        UnsafeChangeError: A table of that name is not ours in all but name.
    """
    for table in tables:
        found = observed.tables.get(table.name)
        if found is None:
            yield Statement(
                sql=table.create_sql(),
                reason=missing("table", table.name, managed),
                drift=managed,
            )
            for index in table.indexes:
                yield Statement(sql=table.index_sql(index), reason=f"create index {index.name}")
            continue
        _check_table(table, found)
        yield from _new_columns(table, found, managed, observed.version)
        yield from _columns(table, found, managed)
        yield from _primary_key(table, found, managed)
        for check in table.checks:
            yield from _check(table, check, found, managed, observed.version)
        for index in table.indexes:
            yield from _index(table, index, observed, managed)


def _check_table(table: Table, found: ObservedTable) -> None:
    """Refuse a table that is not ours in all but name."""
    where = f"table {table.schema}.{table.name}"
    kinds = ("r", "p") if table.partition_key else ("r",)
    if found.kind not in kinds:
        raise UnsafeChangeError(
            f"{where}: wanted a table, found something else of that name "
            f"(relkind {found.kind}); use another schema, or rename it",
            reason=Reason.INCOMPATIBLE_TABLE,
        )
    if found.kind == "p" and found.partition_key != table.partition_key:
        raise _incompatible(
            f"{where}, partition key", table.partition_key or "none", found.partition_key or "none"
        )
    for column in table.columns:
        there = found.columns.get(column.name)
        place = f"{where}, column {column.name}"
        if there is None and column.since > FIRST_SCHEMA_VERSION:
            continue  # an older operator made the table
        if there is None:
            raise _incompatible(place, column.type, "no such column")
        if there.type != column.type:
            raise _incompatible(place, column.type, there.type)
        _check_generated(place, column, there)
    known = {column.name for column in table.columns}
    for name, there in found.columns.items():
        if name not in known and there.not_null and there.default is None and not there.generated:
            raise _incompatible(
                f"{where}, column {name}", "no such column, or one that inserts may leave out",
                f"{there.type} not null without a default",
            )  # fmt: skip
    if found.primary_key not in ((), table.primary_key):
        raise _incompatible(
            f"{where}, primary key", ", ".join(table.primary_key), ", ".join(found.primary_key)
        )


def _check_generated(place: str, column: Column, there: ObservedColumn) -> None:
    """What the server computes cannot be changed without writing every row anew."""
    found = " ".join((there.default or "").split()) if there.generated else None
    if found == column.generated:
        return
    if there.generated and not found:
        actual = "an identity column"
    else:
        actual = _describe_value(found, there.default)
    raise _incompatible(place, _describe_value(column.generated, column.default), actual)


def _describe_value(generated: str | None, default: str | None) -> str:
    return f"generated as {generated}" if generated is not None else f"default {default}"


def _incompatible(place: str, wanted: str, found: str) -> UnsafeChangeError:
    remedy = (
        "use another schema, or move the table away (ALTER TABLE … SET SCHEMA …; "
        "renaming it leaves its index names behind)"
    )
    if place.endswith("column payload"):
        remedy = "payloadType is fixed at creation; use another schema"
    if place.endswith("events, column shard"):
        remedy = (
            "shards is fixed at creation; use another schema, or drain the outbox and rebuild it "
            '(the how-to "Scale with shards")'
        )
    return UnsafeChangeError(
        f"{place}: wanted {wanted}, found {found}; {remedy}", reason=Reason.INCOMPATIBLE_TABLE
    )


def _new_columns(
    table: Table, found: ObservedTable, managed: bool, version: int | None
) -> Iterator[Statement]:
    """What later schema versions added; one that is missing at its own version was dropped."""
    for column in table.columns:
        if column.name not in found.columns:
            lost = managed and version is not None and version >= column.since
            yield Statement(
                sql=f"ALTER TABLE {table.qualified} ADD COLUMN {column.sql()}",
                reason=missing("column", f"{table.name}.{column.name}", lost),
                drift=lost,
            )


def _columns(table: Table, found: ObservedTable, managed: bool) -> Iterator[Statement]:
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None:
            continue
        alter = f"ALTER TABLE {table.qualified} ALTER COLUMN {quoted(column.name)}"
        if column.generated is None and not same_default(
            table.schema, column.default, there.default
        ):
            yield _difference(
                table, column, "default", column.default, there.default,
                f"{alter} SET DEFAULT {column.default}"
                if column.default
                else f"{alter} DROP DEFAULT",
                managed,
            )  # fmt: skip
        if not column.nullable and not there.not_null:
            yield _difference(
                table, column, "null", "refused", "allowed", f"{alter} SET NOT NULL", managed
            )
        if column.nullable and there.not_null:
            yield _difference(
                table, column, "null", "allowed", "refused", f"{alter} DROP NOT NULL", managed
            )


def _difference(
    table: Table,
    column: Column,
    what: str,
    wanted: object,
    found: object,
    sql: str,
    managed: bool,
) -> Statement:
    return Statement(
        sql=sql,
        reason=f"{table.name}.{column.name}: {what}: wanted {wanted or 'none'}, "
        f"found {found or 'none'}",
        drift=managed,
    )


def _primary_key(table: Table, found: ObservedTable, managed: bool) -> Iterator[Statement]:
    if not found.primary_key:
        yield Statement(
            sql=f"ALTER TABLE {table.qualified} ADD CONSTRAINT {quoted(table.primary_key_name)} "
            f"{table.primary_key_sql()}",
            reason=missing("primary key of", table.name, managed),
            drift=managed,
        )


def _check(
    table: Table, check: Check, found: ObservedTable, managed: bool, version: int | None
) -> Iterator[Statement]:
    """A check that is missing; the rows that are there are exempt, by their positions if for ever.

    The server need not look at them, so that the lock is held for a moment only.
    """
    there = found.checks.get(check.name)
    if there is not None and check.condition in there:
        return
    lost = managed and version is not None and version >= check.since
    if there is None:
        reason = missing("check", check.name, lost)
    else:
        reason = f"check {check.name}: wanted {check.condition}, found {there}"
    name = quoted(check.name)
    change = (
        f"ALTER TABLE {table.qualified} DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name}"
    )
    if not check.exempts:
        sql = f"{change} CHECK {check.condition} NOT VALID"
    else:
        sequence = qualify(table.schema, POSITION_SEQUENCE)
        sql = (
            f"DO $check$ BEGIN "  # noqa: S608
            f"LOCK TABLE {table.qualified} IN ACCESS EXCLUSIVE MODE; "
            f"EXECUTE format('{change} "
            f'CHECK ({check.condition} OR "position" <= %s) NOT VALID\', '
            f"(SELECT greatest((SELECT max(position) FROM {table.qualified}), "
            f"(SELECT last_value FROM {sequence}), 0))); END $check$"
        )
    yield Statement(sql=sql, reason=reason, drift=lost)


def _index(
    table: Table, index: Index, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    same = (
        found
        for found in observed.indexes.values()
        if found.table == table.name and found.valid and found.columns == index.columns
    )
    if any(same):
        return
    managed = managed and observed.version is not None and observed.version >= index.since
    if index.name in observed.indexes:
        yield Statement(
            sql=f"DROP INDEX {qualify(table.schema, index.name)}",
            reason=f"index {index.name} is invalid or has other columns",
            drift=managed,
            concurrent=True,
        )
    # Building an index keeps writers out, unless it is done CONCURRENTLY, which a partitioned
    # table does not know: so first on each partition; the last step then only ties them together.
    partitions = observed.tables[table.name].partitions
    for name in partitions:
        child = f"{name}_{'_'.join(index.columns)}_idx"
        yield Statement(
            sql=f"DROP INDEX CONCURRENTLY IF EXISTS {qualify(table.schema, child)}",
            reason=f"drop what is left of index {child}",
            concurrent=True,
        )
        yield Statement(
            sql=f"CREATE INDEX CONCURRENTLY {quoted(child)} ON {qualify(table.schema, name)} "
            f"({columns_sql(index.columns)})",
            reason=f"create index {child}",
            concurrent=True,
        )
    yield Statement(
        sql=table.index_sql(index), reason=missing("index", index.name, managed), drift=managed
    )
