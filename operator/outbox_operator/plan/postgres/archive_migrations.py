"""From the wanted and the found archive to the statements between them, or a refusal. Pure.

Like the outbox's: what loses or rewrites rows is never planned. A class or an extracted column that
is no longer wanted stays with what is in it; its rows go when they are too old.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from outbox_operator.errors import SpecError, UnsafeChangeError, UnsupportedServerError
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.postgres import archive_search
from outbox_operator.plan.postgres.archive_access import access_statements
from outbox_operator.plan.postgres.archive_key import FORMER_KEY, key_statements
from outbox_operator.plan.postgres.archive_schema import (
    ARCHIVE_VERSION,
    EVENTS,
    GAPS,
    DesiredArchive,
    ObservedArchive,
    archive_grants,
    class_table,
    default_leaf,
    events_indexes,
    events_table,
    extracted_column,
    gaps_sql,
    keep_comment,
    leaf_index,
    other_tables,
)
from outbox_operator.plan.postgres.archive_search import search_statements
from outbox_operator.plan.postgres.grants import check_rights, grant_statements, revoke_statements
from outbox_operator.plan.postgres.mark import Mark, parse_mark
from outbox_operator.plan.postgres.migrations import check_server, make_plan, no_such_role
from outbox_operator.plan.postgres.schema import literal, qualify
from outbox_operator.plan.postgres.state import (
    Grant,
    MigrationPlan,
    ObservedDatabase,
    Statement,
)
from outbox_operator.plan.postgres.tables import missing, table_statements
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import quoted

_FIELD: Final = "adoptionPolicy"
_LOGIN: Final = "`migration` (in a resource `migrationSecretRef`)"


def plan_archive(desired: DesiredArchive, observed: ObservedArchive, claim: Claim) -> MigrationPlan:
    """The steps that make an archive as wanted.

    Args:
        desired: What is wanted.
        observed: What is there.
        claim: Of whom the archive is.

    Raises:
        ConflictError: The schema is marked as somebody else's.
        UnsafeChangeError: A table of that name has other columns, or a newer version made it.
        SpecError: A role that shall get rights does not exist.
        AccessDeniedError: Our role may not do what is needed; the message holds the remedy.
        UnsupportedServerError: The server is too old, or the database is not in UTF-8.
    """
    found = observed.database
    check_server(found)
    if observed.encoding != "UTF8":
        raise UnsupportedServerError(
            f"database {found.database}: encoding: wanted UTF8, which holds every text, found "
            f"{observed.encoding}; create another one: CREATE DATABASE … ENCODING 'UTF8' "
            "TEMPLATE template0"
        )
    mark = parse_mark(found.schema.comment) if found.schema else None
    what = f"schema {desired.schema} of {found.database}"
    conflict = refusal(what, None if mark is None else mark.owner, claim, field=_FIELD)
    if conflict is not None:
        raise conflict
    if found.version is not None and found.version > ARCHIVE_VERSION:
        raise UnsafeChangeError(
            f"{what} has version {found.version}, this program knows {ARCHIVE_VERSION}; run a "
            "newer one",
            reason=Reason.SCHEMA_NEWER,
        )
    after = Mark(
        owner=claim.owner,
        relay_role=desired.writer if desired.writer != found.role else None,
        readers=desired.readers,
        api_role=None if desired.api is None else desired.api.role,
        comment=mark.comment if mark else (found.schema and found.schema.comment) or None,
    )
    refused = api_refusal(desired, found)
    if refused is not None:
        raise refused
    for field, roles in (("readers", after.readers), ("database", (after.relay_role,))):
        for role in roles:
            if role is not None and role not in found.roles:
                raise SpecError(f"{field}: {no_such_role(role, found)}")
    statements = list(_statements(desired, observed, mark, after, claim))
    check_rights(desired.schema, found, statements, needs_schema_owner=True, login=_LOGIN)
    return make_plan(statements, ARCHIVE_VERSION, records_version=found.version != ARCHIVE_VERSION)


def _statements(
    desired: DesiredArchive,
    observed: ObservedArchive,
    before: Mark | None,
    after: Mark,
    claim: Claim,
) -> Iterator[Statement]:
    schema, found = desired.schema, observed.database
    managed = found.version is not None
    if found.schema is None:
        yield Statement(sql=f"CREATE SCHEMA {quoted(schema)}", reason=f"create schema {schema}")
    fresh = EVENTS not in found.tables
    events = events_table(
        schema, desired.extracted if fresh else (), text_search=desired.text_search
    )
    yield from table_statements((*other_tables(schema),), found, managed)
    if fresh:
        yield from table_statements((events,), found, managed)
    else:
        yield from _extracted(desired, observed)
    yield from _classes(desired, observed)
    if GAPS not in found.tables:
        yield Statement(sql=gaps_sql(schema), reason=missing("view", GAPS, managed), drift=managed)
    had_api = before is not None and before.api_role is not None
    yield from access_statements(
        schema, desired.api, found, observed.policies, had=managed and had_api
    )
    searches = desired.api if desired.text_search else None
    yield from search_statements(schema, searches, desired.extracted, observed.search)
    if not desired.text_search and archive_search.INDEX.name in found.indexes:
        yield Statement(
            sql=f"DROP INDEX {qualify(schema, archive_search.INDEX.name)}",
            reason="nobody searches by words any more",
        )
    wanted = _granted_by(schema, after)
    given: tuple[Grant, ...] = () if before is None else _granted_by(schema, before)
    lacking = [grant for grant in wanted if grant not in found.granted]
    yield from grant_statements(schema, lacking, drifted=frozenset(given if managed else ()))
    surplus = [
        grant
        for grant in given
        if grant not in wanted and grant.role in found.roles and grant.role != found.role
    ]
    yield from revoke_statements(schema, surplus)
    if before != after:
        yield Statement(
            sql=f"COMMENT ON SCHEMA {quoted(schema)} IS {literal(after.text())}",
            reason=f"mark schema {schema} as belonging to {claim.owner.key}",
        )


def _granted_by(schema: str, mark: Mark) -> tuple[Grant, ...]:
    return archive_grants(schema, writer=mark.relay_role, readers=mark.readers, api=mark.api_role)


def api_refusal(desired: DesiredArchive, found: ObservedDatabase) -> SpecError | None:
    """Why an API cannot have what it wants: it could do more than read, knows no tenant, or its
    role does not exist; None: it can."""
    api = desired.api
    if api is None:
        return None
    if api.role in (found.role, desired.writer):
        return SpecError(
            f"api: wanted a role that reads and nothing else, found {api.role}, which writes the "
            f"archive or owns it; create another one: CREATE ROLE … LOGIN"
        )
    if api.tenant is not None and api.tenant not in desired.extracted:
        return SpecError(
            f"api: tenant column: wanted one of those that are extracted "
            f"({', '.join(desired.extracted) or 'none'}), found {api.tenant!r}"
        )
    if api.role not in found.roles:
        return SpecError(f"api: {no_such_role(api.role, found)}")
    return None


def _extracted(desired: DesiredArchive, observed: ObservedArchive) -> Iterator[Statement]:
    """Columns and indexes that a table of before lacks.

    Column first, for itself: every leaf then gets its index while rows are written, and the last
    step, in the transaction, only ties these together.
    """
    schema, found = desired.schema, observed.database
    leaves = [leaf.name for one in observed.classes for leaf in one.leaves]
    base = replace(events_table(schema, ()), indexes=())
    if found.tables[EVENTS].primary_key == FORMER_KEY:
        yield from key_statements(base, leaves, drift=found.version == ARCHIVE_VERSION)
        base = replace(base, primary_key=FORMER_KEY)
    # Key and indexes of a table of tables need steps of their own.
    yield from table_statements((base,), found, managed=found.version is not None)
    columns = found.tables[EVENTS].columns
    for name in desired.extracted:
        column = extracted_column(name)
        there = columns.get(name)
        if there is None:
            yield Statement(
                sql=f"ALTER TABLE {base.qualified} ADD COLUMN IF NOT EXISTS {column.sql()}",
                reason=f"add column {EVENTS}.{name}; events of before have nothing there",
                concurrent=True,
            )
        elif there.type != column.type or there.not_null:
            raise UnsafeChangeError(
                f"table {schema}.{EVENTS}, column {name}: wanted {column.type}, found "
                f"{there.type}; extract into another name",
                reason=Reason.INCOMPATIBLE_TABLE,
            )
    for index in events_indexes(desired.extracted, text_search=desired.text_search):
        there_already = any(
            one.table == EVENTS
            and one.valid
            # How an expression is printed differs between versions of the server.
            and (one.columns == index.columns or name == index.name == archive_search.INDEX.name)
            for name, one in found.indexes.items()
        )
        if there_already:
            continue
        if index.name in found.indexes:
            yield Statement(
                sql=f"DROP INDEX {qualify(schema, index.name)}",
                reason=f"index {index.name} is invalid or has other columns",
                concurrent=True,
            )
        for leaf in leaves:
            name = leaf_index(leaf, index)
            yield Statement(
                sql=f"DROP INDEX CONCURRENTLY IF EXISTS {qualify(schema, name)}",
                reason=f"drop what is left of index {name}",
                concurrent=True,
            )
            yield Statement(
                sql=f"CREATE INDEX CONCURRENTLY {quoted(name)} {index.on(qualify(schema, leaf))}",
                reason=f"create index {index.name} on {leaf}",
                concurrent=True,
            )
        yield Statement(sql=base.index_sql(index), reason=f"create index {index.name}")


def _classes(desired: DesiredArchive, observed: ObservedArchive) -> Iterator[Statement]:
    schema = desired.schema
    found = {one.name: one for one in observed.classes}
    for name, keep in desired.keep:
        table = qualify(schema, class_table(name))
        there = found.get(name)
        if there is None:
            yield Statement(
                sql=f"CREATE TABLE {table} PARTITION OF {qualify(schema, EVENTS)} "
                f"FOR VALUES IN ({literal(name)}) PARTITION BY RANGE (stored_at)",
                reason=f"create class {name}; events that are archived already stay in theirs",
            )
        if there is None or there.default is None:
            yield Statement(
                sql=f"CREATE TABLE {qualify(schema, default_leaf(name))} PARTITION OF {table} "
                "DEFAULT",
                reason=f"create the table for events of class {name} that no other table takes",
            )
        if there is None or there.keep_seconds != keep:
            yield Statement(
                sql=f"COMMENT ON TABLE {table} IS {keep_comment(keep)}",
                reason=f"keep events of class {name} for {keep / 86400:g} days",
            )
