"""What PostgreSQL says of itself, and what of it is not well for an outbox or an inbox. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.api.resource import Meta
from outbox_operator.plan.advice import next_step
from outbox_operator.plan.amounts import size, span
from outbox_operator.plan.doctor.findings import (
    Check,
    Finding,
    error,
    info,
    warning,
)
from outbox_operator.plan.postgres.state import Statement
from outbox_operator.reasons import Reason

MOST_STEPS: Final = 5
"""Of a migration, that are told one by one."""
LONG_SECONDS: Final = 900.0
"""A transaction that is open for longer is worth a look."""
SLOT_BYTES: Final = 1024**3
"""So much written-ahead log, kept for a reader that is not there, is worth a look."""
AHEAD: Final = 1
"""Partitions behind the current one; with fewer, rows will go to the default partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction that is open for long, of whichever database of the server.

    Attributes:
        seconds: For how long.
        holds: Whether it keeps VACUUM from removing what is dead since it began.
    """

    pid: int
    user: str
    application: str
    state: str
    seconds: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTransaction:
    """A transaction that was prepared and neither committed nor rolled back."""

    gid: str
    owner: str
    database: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationSlot:
    """A slot that nobody reads.

    Attributes:
        kept_bytes: Of the written-ahead log; None: not known.
        holds: Whether it keeps VACUUM from removing dead rows.
    """

    name: str
    kept_bytes: int | None
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role that logs in for us.

    Attributes:
        uses: Sessions that it has.
        limit: Sessions that it may have; -1: as many as the server has.
        ends: When its password ends; None: never.
    """

    name: str
    uses: int = 0
    limit: int = -1
    ends: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresFacts:
    """What a session has found.

    Attributes:
        where: For people: `PostgreSQL at db.shop:5432`.
        schema: Of our tables.
        pooler: Whether something between keeps sessions for us, in session mode.
        connections: That the server has.
        most_connections: That roles without special rights may have together.
        unsafe: Settings under which a commit is not on disk, with their values.
        default_rows: In the default partition, counted up to a bound.
        ahead: Partitions behind the current one; None: the table has no partitions.
        dead_letters: Counted up to a bound.
        hidden: Sessions of which our role may not see how old they are.
        foreign: Why cursors or events are another server's; empty: they are not.
    """

    where: str
    schema: str
    database: str = ""
    pooler: bool = False
    roles: tuple[Role, ...] = ()
    connections: int = 0
    most_connections: int = 0
    unsafe: tuple[tuple[str, str], ...] = ()
    default_rows: int = 0
    ahead: int | None = None
    transactions: tuple[OpenTransaction, ...] = ()
    prepared: tuple[PreparedTransaction, ...] = ()
    slots: tuple[ReplicationSlot, ...] = ()
    hidden: int = 0
    foreign: str = ""


def check_postgres(
    facts: PostgresFacts, owner: Meta, *, needs: int, now: datetime
) -> Iterator[Finding]:
    """What is not well.

    Args:
        facts: What was found.
        owner: The resource whose database it is.
        needs: Connections that pods and operator may want with the logins of the resource.
        now: The time.
    """
    yield from _sessions(facts, needs, now)
    yield from _tables(facts, owner)
    yield from _others(facts)


def _sessions(facts: PostgresFacts, needs: int, now: datetime) -> Iterator[Finding]:
    where = facts.where
    if facts.pooler:
        yield info(
            Check.POOLER, where,
            "a pooler stands between, in session mode; it needs a connection for every relay pod "
            "and shard, and one to spare",
            "the address of the server itself",
        )  # fmt: skip
    for role in facts.roles:
        who = f"role {role.name} of {where}"
        if role.ends is not None:
            left = (role.ends - now).total_seconds()
            heal = f"ALTER ROLE {role.name} VALID UNTIL 'infinity'"
            if left <= 0:
                yield error(
                    Check.LOGIN_EXPIRES, who, f"its password ended {span(-left)} ago",
                    "a password that is valid for the next log-in", heal,
                )  # fmt: skip
            elif left < 14 * 86_400:
                yield warning(
                    Check.LOGIN_EXPIRES, who, f"its password ends in {span(left)}", remedy=heal
                )
        if 0 <= role.limit < max(needs, role.uses + 1):
            yield warning(
                Check.CONNECTIONS, who,
                f"may have {role.limit} sessions and has {role.uses}; pods and operator may want "
                f"{needs}",
                remedy=f"ALTER ROLE {role.name} CONNECTION LIMIT {max(needs, role.uses + 1) + 5}",
            )  # fmt: skip
    most = facts.most_connections
    if most and facts.connections >= 0.9 * most:
        yield warning(
            Check.CONNECTIONS, where,
            f"{facts.connections} of {most} connections are taken; when there are none, relays, "
            "operator and applications are refused",
            wanted="a higher max_connections, or a pooler for the applications",
            remedy="SELECT usename, count(*) FROM pg_stat_activity GROUP BY usename",
        )  # fmt: skip
    for name, value in facts.unsafe:
        yield warning(
            Check.COMMITS_NOT_DURABLE, where,
            f"{name} is {value}: a crash of the server may lose transactions that were committed, "
            "and with them events",
            f"{name} = on",
            f"ALTER DATABASE {facts.database} SET {name} = on"
            if name == "synchronous_commit"
            else f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()",
        )  # fmt: skip


def _tables(facts: PostgresFacts, owner: Meta) -> Iterator[Finding]:
    schema = f"schema {facts.schema} of {facts.where}"
    if facts.foreign:
        yield error(
            Check.CURSOR_FOREIGN, schema,
            f"the cursor belongs to another PostgreSQL server: {facts.foreign}; nothing is "
            "published", remedy=f"kubectl outbox rebase {owner.name} -n {owner.namespace}",
        )  # fmt: skip
    if facts.default_rows:
        yield warning(
            Check.DEFAULT_PARTITION, schema,
            f"the default partition of events holds rows ({_at_least(facts.default_rows)}): no "
            "partition was there for their positions",
            "none: they are pruned together, later, and new partitions take longer to add",
            "the operator goes on by itself once partitions are ahead; see its log for "
            "`add partition`",
        )  # fmt: skip
    if facts.ahead is not None and facts.ahead < AHEAD:
        yield warning(
            Check.PARTITIONS_AHEAD, schema,
            "no partition is ready behind the current one: the operator cannot add any",
            "three of them",
            "an open lock on events keeps it from that: TABLE pg_locks  # docs: troubleshoot",
        )  # fmt: skip


def _at_least(number: int) -> str:
    return f"{number}" if number < BOUND else f"{BOUND} or more"


BOUND: Final = 1000
"""Rows are counted up to here."""


def _others(facts: PostgresFacts) -> Iterator[Finding]:
    for one in facts.transactions:
        who = f"{one.user or 'somebody'}{f' ({one.application})' if one.application else ''}"
        consequence = "; until it ends dead rows of the whole database stay" if one.holds else ""
        yield warning(
            Check.LONG_TRANSACTION, facts.where,
            f"session {one.pid} of {who} has been in one transaction for {span(one.seconds)}, "
            f"{one.state or 'state not known'}; its own events come when it commits{consequence}",
            remedy=f"SELECT pg_terminate_backend({one.pid})  -- when nobody needs it",
        )  # fmt: skip
    for prepared in facts.prepared:
        yield warning(
            Check.PREPARED_TRANSACTION, facts.where,
            f"transaction {prepared.gid!r} of {prepared.owner} in {prepared.database} was prepared "
            f"{span(prepared.seconds)} ago and not ended; its events wait, and dead rows stay",
            remedy=f"COMMIT PREPARED '{prepared.gid}'  -- or ROLLBACK PREPARED",
        )  # fmt: skip
    for slot in facts.slots:
        kept = "" if slot.kept_bytes is None else f"; {size(slot.kept_bytes)} of log are kept"
        held = "; dead rows stay" if slot.holds else ""
        yield warning(
            Check.REPLICATION_SLOT, facts.where,
            f"nobody reads replication slot {slot.name}{kept}{held}: in the end the disk is full",
            remedy=f"SELECT pg_drop_replication_slot('{slot.name}')  -- when nobody needs it",
        )  # fmt: skip
    if facts.hidden:
        yield info(
            Check.LONG_TRANSACTION, facts.where,
            f"how long {facts.hidden} sessions of other roles have been in a transaction is not "
            "shown to our role",
            remedy="GRANT pg_read_all_stats TO "
            + (facts.roles[0].name if facts.roles else "outbox_owner"),
        )  # fmt: skip


def check_schema(
    facts: PostgresFacts, steps: Sequence[Statement], owner: Meta
) -> Iterator[Finding]:
    """What of the schema is not as wanted.

    Args:
        facts: Of the server.
        steps: What the operator would do about it.
        owner: The resource whose tables they are.
    """
    schema = f"schema {facts.schema} of {facts.where}"
    for step in steps[:MOST_STEPS]:
        yield warning(
            Check.DATABASE_RIGHT, schema,
            f"is not as wanted: {step.reason}",
            "what the operator does by itself, unless it is paused",
            # Not the statement: run by hand it is one more difference, or fails.
            next_step(Reason.APPROVAL_PENDING, owner.kind, owner.namespace, owner.name),
        )  # fmt: skip
    if len(steps) > MOST_STEPS:
        yield info(
            Check.DATABASE_RIGHT, schema, f"{len(steps) - MOST_STEPS} more steps are to be done"
        )


def waits(body: Mapping[str, Any] | None) -> bool:
    """Whether a resource says itself that a person decides about its plan.

    Args:
        body: As the API server has it.
    """
    conditions = ((body or {}).get("status") or {}).get("conditions") or ()
    return any(
        one.get("reason") in (Reason.APPROVAL_PENDING, Reason.PLAN_REJECTED) for one in conditions
    )
