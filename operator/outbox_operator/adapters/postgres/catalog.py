"""Reads the catalog of a database into the values that `plan.postgres` decides over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from outbox_operator.adapters.json_memory import decoded_within
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.plan.postgres import archive_access, functions, wakeup
from outbox_operator.plan.postgres.archive_access import ObservedPolicies, Policy
from outbox_operator.plan.postgres.archive_schema import (
    ARCHIVE_TABLES,
    ClassTable,
    DesiredArchive,
    Leaf,
    ObservedArchive,
    archive_grants,
)
from outbox_operator.plan.postgres.archive_search import ObservedSearch
from outbox_operator.plan.postgres.mark import parse_mark
from outbox_operator.plan.postgres.schema import (
    inbox_grants,
    outbox_grants,
)
from outbox_operator.plan.postgres.state import (
    DesiredDatabase,
    DesiredInbox,
    Grant,
    ObservedColumn,
    ObservedDatabase,
    ObservedIndex,
    ObservedSchema,
    ObservedSequence,
    ObservedTable,
)
from outbox_operator.wire.archive_api import SEARCHED
from outbox_operator.wire.tables import (
    CURSORS,
    INBOX_TABLES,
    OUTBOX_TABLES,
    POSITION_SEQUENCE,
    SCHEMA_VERSION,
)


async def observe(
    connection: Connection, desired: DesiredDatabase | DesiredInbox
) -> ObservedDatabase:
    """What is there of what is wanted. Raises the driver's errors."""
    outbox = isinstance(desired, DesiredDatabase)
    arguments = (
        functions.arguments(desired.payload_type) if isinstance(desired, DesiredDatabase) else ""
    )
    tables = OUTBOX_TABLES if outbox else INBOX_TABLES
    catalog = await _read(connection, desired.schema, tables, arguments)
    grants, roles = _wanted_rights(desired, catalog)
    return await _observed(connection, desired.schema, catalog, grants, roles)


async def observe_archive(connection: Connection, desired: DesiredArchive) -> ObservedArchive:
    """What is there of an archive. Raises the driver's errors."""
    catalog = await _read(connection, desired.schema, ARCHIVE_TABLES, "")
    grants = archive_grants(
        desired.schema,
        writer=desired.writer,
        readers=desired.readers,
        api=None if desired.api is None else desired.api.role,
    )
    roles = {grant.role for grant in grants} | _marked_roles(catalog)
    return ObservedArchive(
        database=await _observed(connection, desired.schema, catalog, grants, roles),
        encoding=await connection.fetchval(statement("archive_encoding")),
        classes=await class_tables(connection, desired.schema),
        policies=await _policies(connection, desired.schema),
        search=await _search(connection, desired),
    )


async def _search(connection: Connection, desired: DesiredArchive) -> ObservedSearch:
    role = None if desired.api is None else desired.api.role
    row = await connection.fetchrow(statement("archive_search"), desired.schema, SEARCHED, role)
    if row is None:
        return ObservedSearch()
    # One without a comment is none of ours as it was made.
    return ObservedSearch(
        comment=row["comment"] or "", hides=row["hides"], readable=row["readable"]
    )


async def _policies(connection: Connection, schema: str) -> ObservedPolicies:
    rows = await connection.fetch(
        statement("archive_policies"), schema, [archive_access.EVERYBODY, archive_access.TENANTS]
    )
    return ObservedPolicies(
        enabled=any(row["enabled"] for row in rows),
        ours=tuple(
            Policy(
                name=row["name"],
                restricts=row["restricts"],
                command=row["command"],
                roles=tuple(decoded_within(row["roles"])),
                sees=row["sees"] or "",
            )
            for row in rows
            if row["name"] is not None
        ),
    )


async def class_tables(connection: Connection, schema: str) -> tuple[ClassTable, ...]:
    """The tables of an archive's classes, with their partitions. Raises the driver's errors."""
    rows = await connection.fetch(statement("archive_classes"), schema)
    return tuple(
        ClassTable(
            name=name,
            comment=comment,
            leaves=tuple(
                Leaf(name=row["leaf"], low=row["low"], high=row["high"])
                for row in found
                if row["leaf"] is not None
            ),
        )
        for (name, comment), found in groupby(rows, lambda row: (row["class"], row["comment"]))
    )


async def _read(
    connection: Connection, schema: str, tables: Sequence[str], arguments: str
) -> dict[str, Any]:
    """What the catalog says of tables with these names, and functions with these arguments."""
    text = statement("admin_catalog", named="$6", arguments="$7")
    document = await connection.fetchval(text, *_names(tables), schema, arguments)
    found: dict[str, Any] = decoded_within(document)
    return {**found, "fingerprint": sha256(document.encode()).hexdigest()}


def _names(tables: Sequence[str]) -> tuple[Any, ...]:
    """Arguments of the statement that are the same for each schema."""
    return (tables, POSITION_SEQUENCE, functions.NAMES, wakeup.FUNCTION, wakeup.TRIGGER)


async def fingerprints(connection: Connection, several: Sequence[DesiredDatabase]) -> list[str]:
    """What stands for all that was read of each outbox by `observe`: another, if that is another.

    Raises the driver's errors.
    """
    rows = await connection.fetch(
        statement(
            "admin_fingerprints",
            catalog=statement("admin_catalog", named="w.schema", arguments="w.arguments"),
        ),
        *_names(OUTBOX_TABLES),
        [one.schema for one in several],
        [functions.arguments(one.payload_type) for one in several],
    )
    found = {row["number"]: str(row["fingerprint"]) for row in rows}
    return [found[number] for number in range(1, len(several) + 1)]


async def _observed(
    connection: Connection,
    schema: str,
    catalog: Mapping[str, Any],
    grants: Sequence[Grant],
    roles: Collection[str],
) -> ObservedDatabase:
    here, existing, held = await _rights(connection, roles, [(schema, one) for one in grants])
    found = _tables(catalog)
    cursors = await _cursors(connection, schema, found)
    return ObservedDatabase(
        server_version=catalog["server_version"],
        database=catalog["database"],
        role=catalog["role"],
        may_create_schema=catalog["may_create_schema"],
        schema=ObservedSchema(**catalog["schema"]) if catalog["schema"] else None,
        tables=found,
        indexes=_indexes(catalog),
        sequence=ObservedSequence(**catalog["sequence"]) if catalog["sequence"] else None,
        functions=catalog["functions"] or {},
        wakeup_source=catalog["wakeup_source"],
        wakeup_trigger=catalog["wakeup_trigger"],
        roles=existing,
        granted=frozenset(grants[number] for number in held),
        version=await _version(connection, schema, found),
        cursor_shards=frozenset(shard for shard, _ in cursors),
        identity=here,
        fingerprint=catalog["fingerprint"],
        cursor_systems=frozenset(system for _, system in cursors if system is not None),
    )


async def have_rights(
    connection: Connection, several: Sequence[DesiredDatabase]
) -> tuple[str, list[bool]]:
    """Which database this is, and of each outbox whether all have the rights that are wanted."""
    wanted = [outbox_grants(one, writers=one.writers, relay_role=one.relay_role) for one in several]
    flat = [
        (one.schema, grant) for one, grants in zip(several, wanted, strict=True) for grant in grants
    ]
    here, _, held = await _rights(connection, {grant.role for _, grant in flat}, flat)
    numbers = iter(range(len(flat)))
    return here, [held.issuperset([next(numbers) for _ in grants]) for grants in wanted]


async def _rights(
    connection: Connection, roles: Collection[str], rights: Sequence[tuple[str, Grant]]
) -> tuple[str, frozenset[str], frozenset[int]]:
    """Which database this is, the roles that exist, and which of the rights are held."""
    (found,) = await connection.fetch(
        statement("admin_rights", identity=statement("admin_identity")),
        sorted(roles),
        [schema for schema, _ in rights],
        [grant.role for _, grant in rights],
        [grant.kind for _, grant in rights],
        [grant.object for _, grant in rights],
        [grant.privilege for _, grant in rights],
        [grant.column for _, grant in rights],
    )
    held = frozenset(number - 1 for number in decoded_within(found["granted"]))
    return str(found["identity"]), frozenset(decoded_within(found["roles"])), held


def _wanted_rights(
    desired: DesiredDatabase | DesiredInbox, catalog: Mapping[str, Any]
) -> tuple[tuple[Grant, ...], set[str]]:
    """Rights to look for, and roles: also those that were given rights before."""
    if isinstance(desired, DesiredInbox):
        grants = inbox_grants(desired)
        return grants, {grant.role for grant in grants}
    grants = outbox_grants(desired, writers=desired.writers, relay_role=desired.relay_role)
    return grants, {grant.role for grant in grants} | _marked_roles(catalog)


def _marked_roles(catalog: Mapping[str, Any]) -> set[str]:
    """Roles that were given rights before."""
    mark = parse_mark(catalog["schema"]["comment"]) if catalog["schema"] else None
    if mark is None:
        return set()
    single = {one for one in (mark.relay_role, mark.api_role) if one}
    return {*mark.writers, *mark.readers, *single}


def _tables(catalog: Mapping[str, Any]) -> dict[str, ObservedTable]:
    return {
        name: ObservedTable(
            kind=table["kind"],
            owner=table["owner"],
            owned=table["owned"],
            columns={
                column: ObservedColumn(**facts)
                for column, facts in (table["columns"] or {}).items()
            },
            primary_key=tuple(table["primary_key"] or ()),
            partition_key=table["partition_key"],
            has_default_partition=table["has_default_partition"],
            partitions=tuple(table["partitions"] or ()),
            checks=table["checks"] or {},
        )
        for name, table in (catalog["tables"] or {}).items()
    }


def _indexes(catalog: Mapping[str, Any]) -> dict[str, ObservedIndex]:
    return {
        name: ObservedIndex(
            table=index["table"],
            # Expressions and keywords are printed quoted; plain names are what we compare with.
            columns=tuple(column.strip('"') for column in index["columns"]),
            valid=index["valid"],
        )
        for name, index in (catalog["indexes"] or {}).items()
    }


async def _version(
    connection: Connection, schema: str, tables: Mapping[str, ObservedTable]
) -> int | None:
    table = tables.get(SCHEMA_VERSION)
    if table is None or "version" not in table.columns:
        return None
    sql = statement("admin_version", schema=schema)
    version: int | None = await connection.fetchval(sql)
    return version


async def _cursors(
    connection: Connection, schema: str, tables: Mapping[str, ObservedTable]
) -> list[tuple[int, str | None]]:
    """Shard of each cursor, and the system identifier of the server that it is of."""
    table = tables.get(CURSORS)
    if table is None or "shard" not in table.columns:
        return []
    rows = await connection.fetch(statement("admin_shards", schema=schema))
    return [(row["shard"], row["system_identifier"]) for row in rows]


async def identity(connection: Connection) -> str:
    """Which database this is; as `ObservedDatabase.identity`."""
    return str(await connection.fetchval(statement("admin_identity")))
