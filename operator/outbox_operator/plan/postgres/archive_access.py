"""Who sees what of an archive through its API: the role it logs in as, the log of what was asked,
and the policies that hide a tenant's events from the others. Pure.

Policies hold for whoever reads the table: the API's role is given its own, which asks settings of
the transaction whose events it may see. Without these settings it sees none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from outbox_operator.plan.postgres.schema import Column, Table, qualify
from outbox_operator.plan.postgres.state import Grant, ObservedDatabase, Statement
from outbox_operator.plan.postgres.tables import table_statements
from outbox_operator.wire.archive_api import ALL_TENANTS_SETTING, TENANT_SETTING
from outbox_operator.wire.tables import quoted

ACCESS_LOG: Final = "access_log"
EXPORTS: Final = "exports"
EVERYBODY: Final = "outbox_everybody"
TENANTS: Final = "outbox_tenants"
_EVENTS: Final = "events"
_PUBLIC: Final = ("public",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """What an API wants of its archive.

    Attributes:
        role: That it logs in as.
        tenant: Extracted column that says whose an event is; None: it shows all events.
    """

    role: str
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy of the table of events, as `pg_policies` shows it.

    Attributes:
        name: Of it.
        restricts: Whether it takes away; else it gives.
        command: `ALL` or `SELECT`.
        roles: Whom it is for, sorted.
        sees: Condition of the rows that are seen.
    """

    name: str
    restricts: bool
    command: str
    roles: tuple[str, ...]
    sees: str

    @property
    def means(self) -> tuple[object, ...]:
        """What two have in common that do the same: how quotes and lines are printed differs."""
        sees = " ".join(self.sees.replace('"', "").split())
        return self.name, self.restricts, self.command, self.roles, sees


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPolicies:
    """What was found on the table of events.

    Attributes:
        enabled: Whether policies hold.
        ours: Those of our names.
    """

    enabled: bool = False
    ours: tuple[Policy, ...] = ()


def access_log(schema: str) -> Table:
    """The log of who asked for what."""
    return Table(
        schema=schema,
        name=ACCESS_LOG,
        columns=(
            Column(name="at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="entry", type="uuid", default="gen_random_uuid()"),
            Column(name="subject", type="text"),
            Column(name="tenant", type="text", nullable=True),
            Column(name="token_id", type="text", nullable=True),
            Column(name="client", type="text", nullable=True),
            Column(name="action", type="text"),
            Column(name="question", type="text"),
            Column(name="outcome", type="text"),
            Column(name="events", type="bigint"),
            Column(name="bytes", type="bigint"),
            Column(name="seconds", type="double precision"),
        ),
        primary_key=("at", "entry"),
    )


def exports(schema: str) -> Table:
    """What each export came to: its manifest, written once it has ended."""
    return Table(
        schema=schema,
        name=EXPORTS,
        columns=(
            Column(name="id", type="uuid"),
            Column(name="subject", type="text"),
            Column(name="tenant", type="text", nullable=True),
            Column(name="began_at", type="timestamp with time zone"),
            Column(name="ended_at", type="timestamp with time zone", default="clock_timestamp()"),
            Column(name="moment", type="timestamp with time zone"),
            Column(name="format", type="text"),
            Column(name="question", type="text"),
            Column(name="skipped", type="bigint"),
            Column(name="events", type="bigint"),
            Column(name="bytes", type="bigint"),
            Column(name="sha256", type="text"),
        ),
        primary_key=("id",),
    )


def access_grants(schema: str, role: str) -> Iterator[Grant]:
    """The rights of the API's role: it reads, and adds to the log, which it cannot read, and to the
    manifests of exports."""
    yield Grant(role=role, kind="schema", object=schema, privilege="USAGE")
    for name in (_EVENTS, "ledger", "gaps"):
        yield Grant(role=role, kind="table", object=name, privilege="SELECT")
    yield Grant(role=role, kind="table", object=ACCESS_LOG, privilege="INSERT")
    for privilege in ("SELECT", "INSERT"):
        yield Grant(role=role, kind="table", object=EXPORTS, privilege=privilege)


def visible(tenant: str) -> str:
    """The condition of a row that whoever asks may see, by the column of its tenant."""
    # Of a setting that is not there NULL comes, and nothing is seen. CASE, because the planner
    # takes it to be true of half the rows; an OR of very few, so that it reads and sorts a day.
    return (
        f"CASE WHEN (current_setting('{ALL_TENANTS_SETTING}'::text, true) = 'on'::text) THEN true "
        f"ELSE ({quoted(tenant)} = current_setting('{TENANT_SETTING}'::text, true)) END"
    )


def policies(api: ApiAccess | None) -> tuple[Policy, ...]:
    """The policies that are wanted, written as PostgreSQL prints them but for quotes."""
    if api is None or api.tenant is None:
        return ()
    sees = visible(api.tenant)
    return (
        Policy(name=EVERYBODY, restricts=False, command="ALL", roles=_PUBLIC, sees="true"),
        Policy(name=TENANTS, restricts=True, command="SELECT", roles=(api.role,), sees=sees),
    )


def access_statements(
    schema: str,
    api: ApiAccess | None,
    database: ObservedDatabase,
    found: ObservedPolicies,
    *,
    had: bool,
) -> Iterator[Statement]:
    """The log, and the policies, if the API is to have them; without one, policies go.

    Args:
        schema: Of the archive.
        api: As wanted.
        database: What is there.
        found: Policies that are there.
        had: Whether there was an API before: what is missing was then changed by hand.
    """
    if api is not None:
        yield from table_statements((access_log(schema), exports(schema)), database, had)
    table = qualify(schema, _EVENTS)
    wanted = policies(api)
    there = {policy.means for policy in found.ours}
    for policy in found.ours:
        if policy.means not in {one.means for one in wanted}:
            yield Statement(
                sql=f"DROP POLICY {quoted(policy.name)} ON {table}",
                reason=f"policy {policy.name} is no longer as wanted",
            )
    for policy in wanted:
        if policy.means not in there:
            yield Statement(sql=_create(policy, table), reason=f"create policy {policy.name}")
    if bool(wanted) != found.enabled and (wanted or found.ours):
        # Last of all, so that there is no moment at which nobody sees anything.
        does = "ENABLE" if wanted else "DISABLE"
        yield Statement(
            sql=f"ALTER TABLE {table} {does} ROW LEVEL SECURITY",
            reason=f"{does.lower()} the policies of table {_EVENTS}",
        )


def _create(policy: Policy, table: str) -> str:
    kind = "RESTRICTIVE" if policy.restricts else "PERMISSIVE"
    roles = ", ".join(
        "PUBLIC" if policy.roles == _PUBLIC else quoted(role) for role in policy.roles
    )
    checks = " WITH CHECK (true)" if policy.command == "ALL" else ""
    return (
        f"CREATE POLICY {quoted(policy.name)} ON {table} AS {kind} FOR {policy.command} "
        f"TO {roles} USING ({policy.sees}){checks}"
    )
