"""GRANT and REVOKE, and whether our own role may do what a plan needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from outbox_operator.errors import AccessDeniedError
from outbox_operator.plan.postgres.schema import columns_sql, qualify
from outbox_operator.plan.postgres.state import Grant, ObservedDatabase, Statement
from outbox_operator.wire.tables import quoted


def grant_statements(
    schema: str, missing: Iterable[Grant], *, drifted: frozenset[Grant]
) -> Iterator[Statement]:
    """One GRANT per role and object; those in `drifted` had been given before."""
    for target, grants in _grouped(missing):
        role = grants[0].role
        rights = _rights(grants)
        yield Statement(
            sql=f"GRANT {rights} ON {_object(schema, grants[0])} TO {quoted(role)}",
            reason=f"role {role} lacks {rights.replace(chr(34), '')} on {target}",
            drift=any(grant in drifted for grant in grants),
        )


def revoke_statements(schema: str, surplus: Iterable[Grant]) -> Iterator[Statement]:
    """One REVOKE per role and object."""
    for target, grants in _grouped(surplus):
        role = grants[0].role
        rights = _rights(grants)
        yield Statement(
            sql=f"REVOKE {rights} ON {_object(schema, grants[0])} FROM {quoted(role)}",
            reason=f"role {role} no longer needs {rights.replace(chr(34), '')} on {target}",
        )


def _grouped(grants: Iterable[Grant]) -> Iterator[tuple[str, list[Grant]]]:
    ordered = sorted(grants, key=lambda g: (g.role, g.kind != "schema", g.kind, g.object, g))
    for _, group in groupby(ordered, key=lambda g: (g.role, g.kind, g.object)):
        members = list(group)
        kind = "table" if members[0].kind == "column" else members[0].kind
        yield f"{kind} {members[0].object}", members


def _rights(grants: Sequence[Grant]) -> str:
    parts = []
    for privilege, group in groupby(grants, key=lambda g: g.privilege):
        columns = tuple(grant.column for grant in group if grant.column)
        parts.append(f"{privilege} ({columns_sql(columns)})" if columns else privilege)
    return ", ".join(parts)


def _object(schema: str, grant: Grant) -> str:
    match grant.kind:
        case "schema":
            return f"SCHEMA {quoted(schema)}"
        case "table" | "column":
            return f"TABLE {qualify(schema, grant.object)}"
        case "sequence":
            return f"SEQUENCE {qualify(schema, grant.object)}"
        case "function":
            # The name already carries its argument types.
            return f"FUNCTION {quoted(schema)}.{grant.object}"


def check_rights(
    schema: str,
    observed: ObservedDatabase,
    statements: Sequence[Statement],
    *,
    needs_schema_owner: bool,
    login: str,
) -> None:
    """Refuse early, with the remedy, what the server would refuse half-way.

    Args:
        login: What says as whom we log in; perhaps that is what is wrong.

    Raises:
        AccessDeniedError: Our role lacks a right; the message holds the GRANT.
    """
    if not statements:
        return
    role, database = observed.role, observed.database
    if observed.schema is None:
        if not observed.may_create_schema:
            raise AccessDeniedError(
                f"role {role} may not create schema {schema} in database {database}; "
                f"run: GRANT CREATE ON DATABASE {quoted(database)} TO {quoted(role)}, or: "
                f"CREATE SCHEMA {quoted(schema)} AUTHORIZATION {quoted(role)}"
            )
        return
    if needs_schema_owner and not observed.schema.owned:
        raise AccessDeniedError(
            f"role {role} does not own schema {schema} of database {database} (its owner is "
            f"{observed.schema.owner}): is {login} the login of another role by mistake? If it is "
            f"the right one, run: ALTER SCHEMA {quoted(schema)} OWNER TO "
            f"{quoted(role)}, or: GRANT {quoted(observed.schema.owner)} TO {quoted(role)}"
        )
    if not observed.schema.may_create and any(s.sql.startswith("CREATE") for s in statements):
        raise AccessDeniedError(
            f"role {role} may not create tables in schema {schema} of database {database}; "
            f"run: GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {quoted(role)}"
        )
    for name, table in observed.tables.items():
        if not table.owned:
            raise AccessDeniedError(
                f"role {role} does not own table {schema}.{name} of database {database} (its "
                f"owner is {table.owner}): is {login} the login of another role by mistake? If it "
                f"is the right one, run: ALTER TABLE {qualify(schema, name)} OWNER TO "
                f"{quoted(role)}, or: GRANT {quoted(table.owner)} TO {quoted(role)}"
            )
