"""From the wanted and the found tables to the statements between them, or a refusal. Pure.

The plan is declarative: every look compares the whole schema, so creating, upgrading, adopting
an existing table and undoing changes made by hand are one path. What is never planned is a step
that loses or rewrites rows: that is refused with table, column, wanted and found.

Called by the controller, and again by `adapters.postgres.admin` under the migration lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple
from typing import Final

from outbox_operator.errors import (
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.plan_hash import plan_hash
from outbox_operator.plan.postgres.functions import outbox_functions
from outbox_operator.plan.postgres.grants import check_rights, grant_statements, revoke_statements
from outbox_operator.plan.postgres.mark import Mark, parse_mark
from outbox_operator.plan.postgres.schema import (
    DEFAULT_PARTITION,
    PARTITIONS_AHEAD,
    inbox_grants,
    inbox_tables,
    literal,
    outbox_grants,
    outbox_tables,
    partition_bounds,
    partition_name,
    qualify,
)
from outbox_operator.plan.postgres.state import (
    DesiredDatabase,
    DesiredInbox,
    Grant,
    MigrationPlan,
    ObservedColumn,
    ObservedDatabase,
    ObservedIndex,
    ObservedSchema,
    ObservedSequence,
    ObservedTable,
    Statement,
)
from outbox_operator.plan.postgres.tables import missing, table_statements
from outbox_operator.plan.postgres.wakeup import wakeup_statements
from outbox_operator.reasons import Reason
from outbox_operator.wire import tables
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION, POSITION_SEQUENCE, quoted

__all__ = [
    "DesiredDatabase",
    "DesiredInbox",
    "Grant",
    "MigrationPlan",
    "ObservedColumn",
    "ObservedDatabase",
    "ObservedIndex",
    "ObservedSchema",
    "ObservedSequence",
    "ObservedTable",
    "Statement",
    "plan_inbox",
    "plan_migrations",
]

MINIMUM_SERVER = 130000
_SEQUENCE = ObservedSequence()
"""As it is wanted."""

_LOGIN: Final = "`migrationSecretRef` (or `connectionSecretRef` where there is none)"


def plan_migrations(
    desired: DesiredDatabase,
    observed: ObservedDatabase,
    claim: Claim,
) -> MigrationPlan:
    """The steps that make the outbox of a pipeline as wanted.

    Args:
        desired: What the pipeline wants.
        observed: What is there.
        claim: Of the pipeline.

    Raises:
        ConflictError: The schema is marked as another pipeline's.
        UnsafeChangeError: A table of that name has other columns, another payload type, or a
            newer operator made it.
        SpecError: A role that shall get rights does not exist.
        AccessDeniedError: Our role may not do what is needed; the message holds the remedy.
        UnsupportedServerError: The server is too old.
    """
    check_server(observed)
    mark = parse_mark(observed.schema.comment) if observed.schema else None
    what, field = f"schema {desired.schema} of {observed.database}", "spec.database.adoptionPolicy"
    conflict = refusal(what, None if mark is None else mark.owner, claim, field=field)
    if conflict is not None:
        raise conflict
    owner = claim.owner
    if observed.version is not None and observed.version > CURRENT_SCHEMA_VERSION:
        raise UnsafeChangeError(
            f"schema {desired.schema} has version {observed.version}, this operator knows "
            f"{CURRENT_SCHEMA_VERSION}; run a newer operator",
            reason=Reason.SCHEMA_NEWER,
        )
    relay = desired.relay_role if desired.relay_role != observed.role else None
    wanted_mark = Mark(
        owner=owner,
        writers=tuple(sorted(set(desired.writers))),
        relay_role=relay,
        comment=mark.comment if mark else (observed.schema and observed.schema.comment) or None,
    )
    _check_roles(observed, wanted_mark)
    managed = observed.version is not None or (mark is not None and mark.owner.uid == owner.uid)
    statements = [
        *_schema(desired.schema, observed),
        *_sequence(desired, observed, managed),
        *table_statements(outbox_tables(desired), observed, managed),
        *_partitions(desired, observed, managed),
        *_sequence_start(desired, observed, managed),
        *_functions(desired, observed, managed),
        *wakeup_statements(desired, observed, managed),
        *_cursor_rows(desired, observed, managed),
        *_grants(desired, observed, mark, wanted_mark, managed),
        *_mark(desired, observed, mark, wanted_mark, managed),
    ]
    check_rights(desired.schema, observed, statements, needs_schema_owner=True, login=_LOGIN)
    return make_plan(
        statements,
        CURRENT_SCHEMA_VERSION,
        records_version=observed.version != CURRENT_SCHEMA_VERSION,
    )


def plan_inbox(desired: DesiredInbox, observed: ObservedDatabase) -> MigrationPlan:
    """The steps that make the inbox tables as wanted. Consumers share it, so nobody owns it.

    Raises:
        UnsafeChangeError: A table of that name has other columns.
        SpecError: The consumer's role does not exist.
        AccessDeniedError: Our role may not do what is needed; the message holds the remedy.
        UnsupportedServerError: The server is too old.
    """
    check_server(observed)
    managed = tables.INBOX in observed.tables
    grants = inbox_grants(desired) if desired.consumer_role != observed.role else ()
    for role in {grant.role for grant in grants} - observed.roles:
        raise SpecError(no_such_role(role, observed))
    missing = [grant for grant in grants if grant not in observed.granted]
    statements = [
        *_schema(desired.schema, observed),
        *table_statements(inbox_tables(desired), observed, managed),
        *grant_statements(desired.schema, missing, drifted=frozenset()),
    ]
    check_rights(desired.schema, observed, statements, needs_schema_owner=False, login=_LOGIN)
    return make_plan(statements, CURRENT_SCHEMA_VERSION, records_version=False)


def make_plan(
    statements: Sequence[Statement], version: int, *, records_version: bool
) -> MigrationPlan:
    """A plan of these steps, with its hash; `version` is that of the schema afterwards."""
    digest = hashlib.sha256(f"{version} {records_version}".encode())
    for statement in statements:
        digest.update(b"\0" + statement.sql.encode())
    return MigrationPlan(
        version=version,
        statements=tuple(statements),
        records_version=records_version,
        hash=plan_hash(digest.hexdigest(), 16),
    )


def check_server(observed: ObservedDatabase) -> None:
    """Raise UnsupportedServerError if the server is too old."""
    if observed.server_version < MINIMUM_SERVER:
        raise UnsupportedServerError(
            f"database {observed.database}: PostgreSQL {MINIMUM_SERVER // 10000} or newer is "
            f"needed, found {observed.server_version // 10000}"
        )


def _check_roles(observed: ObservedDatabase, mark: Mark) -> None:
    for role in mark.writers:
        if role not in observed.roles:
            raise SpecError(f"spec.database.grants.writers: {no_such_role(role, observed)}")
    if mark.relay_role is not None and mark.relay_role not in observed.roles:
        raise SpecError(
            f"spec.database.connectionSecretRef: {no_such_role(mark.relay_role, observed)}"
        )


def no_such_role(role: str, observed: ObservedDatabase) -> str:
    """What to say of a role that shall get rights."""
    return (
        f"role {role} does not exist in the server of database {observed.database}; create it: "
        f"CREATE ROLE {quoted(role)} LOGIN"
    )


def _schema(schema: str, observed: ObservedDatabase) -> Iterator[Statement]:
    if observed.schema is None:
        yield Statement(sql=f"CREATE SCHEMA {quoted(schema)}", reason=f"create schema {schema}")


def _sequence(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    name = qualify(desired.schema, POSITION_SEQUENCE)
    if observed.sequence is None:
        yield Statement(
            sql=f"CREATE SEQUENCE {name} AS bigint CACHE 1",
            reason=missing("sequence", POSITION_SEQUENCE, managed),
            drift=managed,
        )
    elif observed.sequence != _SEQUENCE:
        # Sessions that cache positions would hand them out in the wrong order; one that goes down
        # or round gives them out twice.
        differences = ", ".join(
            f"{option}: wanted {wanted}, found {found}"
            for (option, wanted), found in zip(
                asdict(_SEQUENCE).items(), astuple(observed.sequence), strict=True
            )
            if wanted != found
        )
        yield Statement(
            sql=f"ALTER SEQUENCE {name} AS bigint CACHE 1 INCREMENT 1 MINVALUE 1 "
            f"MAXVALUE {_SEQUENCE.maximum} NO CYCLE",
            reason=f"sequence {POSITION_SEQUENCE}: {differences}",
            drift=managed,
        )


def _sequence_start(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    """A new sequence begins after every position that was ever used, and goes with its table."""
    schema = desired.schema
    if observed.sequence is None and observed.tables:
        events, cursors, dead = (
            qualify(schema, name) for name in (tables.EVENTS, tables.CURSORS, tables.DEAD_LETTERS)
        )
        yield Statement(
            sql=f"SELECT setval({literal(qualify(schema, POSITION_SEQUENCE))}, 1 + greatest("  # noqa: S608
            f"(SELECT max(position) FROM {events}), (SELECT max(last_position) FROM {cursors}), "
            f"(SELECT max(position) FROM {dead}), 0), false)",
            reason=f"start sequence {POSITION_SEQUENCE} after the positions in use",
            drift=managed,
        )
    if observed.sequence is None or tables.EVENTS not in observed.tables:
        yield Statement(
            sql=f"ALTER SEQUENCE {qualify(schema, POSITION_SEQUENCE)} "
            f"OWNED BY {qualify(schema, tables.EVENTS)}.position",
            reason=f"tie sequence {POSITION_SEQUENCE} to {tables.EVENTS}",
            drift=managed,
        )


def _partitions(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    """Partitions of a new table, and the net below all partitions; later ones come by upkeep."""
    found = observed.tables.get(tables.EVENTS)
    events = qualify(desired.schema, tables.EVENTS)
    if found is None or (found.kind == "p" and not found.has_default_partition):
        yield Statement(
            sql=f"CREATE TABLE {qualify(desired.schema, DEFAULT_PARTITION)} "
            f"PARTITION OF {events} DEFAULT",
            reason=missing("table", DEFAULT_PARTITION, managed and found is not None),
            drift=managed,
        )
    if found is None:
        for number in range(PARTITIONS_AHEAD + 1):
            low, high = partition_bounds(number)
            name = partition_name(number)
            yield Statement(
                sql=f"CREATE TABLE {qualify(desired.schema, name)} PARTITION OF {events} "
                f"FOR VALUES FROM ({low}) TO ({high})",
                reason=f"create partition {name}",
            )


def _functions(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    for function in outbox_functions(desired):
        found = observed.functions.get(function.name)
        if found != function.body:
            version = observed.version or 0
            came = function.since if found is None else function.changed
            drift = managed and version >= came
            if found is None:
                reason = missing("function", function.name, drift)
            elif drift:
                reason = f"function {function.name} has another body"
            else:
                reason = f"renew function {function.name}"
            yield Statement(sql=function.create_sql(), reason=reason, drift=drift)


def _cursor_rows(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    for shard in range(desired.shards):
        if shard not in observed.cursor_shards:
            yield Statement(
                sql=f"INSERT INTO {qualify(desired.schema, tables.CURSORS)} (shard) "  # noqa: S608
                f"VALUES ({shard}) ON CONFLICT DO NOTHING",
                reason=missing("cursor of shard", str(shard), managed),
                drift=managed and tables.CURSORS in observed.tables,
            )


def _grants(
    desired: DesiredDatabase,
    observed: ObservedDatabase,
    before: Mark | None,
    after: Mark,
    managed: bool,
) -> Iterator[Statement]:
    wanted = outbox_grants(desired, writers=after.writers, relay_role=after.relay_role)
    given: tuple[Grant, ...] = ()
    if before is not None:
        given = outbox_grants(desired, writers=before.writers, relay_role=before.relay_role)
    upgraded = observed.version is not None and observed.version < CURRENT_SCHEMA_VERSION
    drifted = frozenset(given) if managed and not upgraded else frozenset()
    missing = [grant for grant in wanted if grant not in observed.granted]
    yield from grant_statements(desired.schema, missing, drifted=drifted)
    surplus = [
        grant
        for grant in given
        if grant not in wanted and grant.role in observed.roles and grant.role != observed.role
    ]
    yield from revoke_statements(desired.schema, surplus)


def _mark(
    desired: DesiredDatabase,
    observed: ObservedDatabase,
    before: Mark | None,
    after: Mark,
    managed: bool,
) -> Iterator[Statement]:
    if before == after:
        return
    if before is not None and before.owner != after.owner:
        reason = f"take over schema {desired.schema} from {before.owner.key}"
    else:
        reason = f"mark schema {desired.schema} as belonging to {after.owner.key}"
    yield Statement(
        sql=f"COMMENT ON SCHEMA {quoted(desired.schema)} IS {literal(after.text())}",
        reason=reason,
    )
