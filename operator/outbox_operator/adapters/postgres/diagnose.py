"""What a session finds out about its server, and about the tables of an outbox. Changes nothing.

Called by the controller for a `diagnose` task; `plan.doctor` judges. A handful of statements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from outbox_operator.adapters.json_memory import decoded_within
from outbox_operator.adapters.postgres.connection import Connection, server_certificate
from outbox_operator.adapters.postgres.cursors import read_cursors
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.plan.doctor.certificates import end_of_der, end_of_pem, last_end_of_pem
from outbox_operator.plan.doctor.logins import Clock, Expiry, LoginFacts
from outbox_operator.plan.doctor.postgres import (
    BOUND,
    LONG_SECONDS,
    SLOT_BYTES,
    OpenTransaction,
    PostgresFacts,
    PreparedTransaction,
    ReplicationSlot,
    Role,
)
from outbox_operator.plan.postgres.schema import DEFAULT_PARTITION, qualify
from outbox_operator.wire.tables import EVENTS, POSITION_SEQUENCE

_NAMED: Final = 5
"""Of each kind of thing that is in the way."""


class PostgresLook:
    """One look over one connection. Every method raises the errors of `adapters.postgres.errors`.

    Args:
        connection: Of the role that owns the tables.
        target: Where it leads.
    """

    def __init__(self, connection: Connection, target: PostgresTarget) -> None:
        self._connection = connection
        self._target = target

    @property
    def where(self) -> str:
        """The server, for people."""
        return f"PostgreSQL at {self._target.address}"

    async def login(self) -> LoginFacts:
        """How the connection stands."""
        with errors(self._target):
            asked, started = datetime.now(UTC), time.monotonic()
            theirs: datetime = await self._connection.fetchval(statement("upkeep_clock"))
            took = time.monotonic() - started
        ahead = (theirs - asked).total_seconds() - took / 2
        peer = server_certificate(self._connection)
        return LoginFacts(
            where=self.where,
            clock=Clock(ahead=ahead, doubt=took / 2),
            encrypted=peer is not None,
            expiries=tuple(self._expiries(peer)),
        )

    def _expiries(self, server: bytes | None) -> list[Expiry]:
        target = self._target
        ends = [
            ("the certificate of the server", None if server is None else end_of_der(server)),
            ("our client certificate", target.cert_pem and end_of_pem(target.cert_pem)),
            ("the last of the authorities", target.ca_pem and last_end_of_pem(target.ca_pem)),
        ]
        return [Expiry(what=what, ends=end) for what, end in ends if isinstance(end, datetime)]

    async def server(self, schema: str, roles: Sequence[str]) -> PostgresFacts:
        """What the server says of itself, and how the tables of an outbox do.

        Args:
            schema: Of the tables; they may not be there.
            roles: That log in for us, the one that owns the tables first.
        """
        with errors(self._target):
            found = decoded_within(
                await self._connection.fetchval(
                    statement("diagnose_server"), list(roles), LONG_SECONDS, _NAMED
                )
            )
            backend = await self._connection.fetchrow(statement("session_server"))
            tables = await self._tables(schema)
        return PostgresFacts(
            where=self.where,
            schema=schema,
            database=found["database"],
            # A pooler makes up the process id that it announces.
            pooler=backend is not None and backend["pid"] != self._connection.get_server_pid(),
            roles=tuple(
                sorted(map(_role, found["roles"] or ()), key=lambda r: roles.index(r.name))
            ),
            connections=found["connections"],
            most_connections=found["most"],
            unsafe=tuple((k, v) for k, v in found["settings"].items() if v == "off"),
            transactions=tuple(
                OpenTransaction(**_said(one)) for one in found["transactions"] or ()
            ),
            prepared=tuple(PreparedTransaction(**one) for one in found["prepared"] or ()),
            slots=tuple(
                slot
                for one in found["slots"] or ()
                if (slot := ReplicationSlot(**one)).holds or (slot.kept_bytes or 0) >= SLOT_BYTES
            ),
            hidden=found["hidden"],
            **tables,
        )

    async def _tables(self, schema: str) -> dict[str, Any]:
        """Partitions and cursors; nothing where there are none, or where they may not be read."""
        try:
            partitions = await self._connection.fetch(
                statement("admin_partitions"), schema, EVENTS, ""
            )
            if not partitions:
                return {}
            position = await self._connection.fetchval(
                statement("upkeep_position", sequence=qualify(schema, POSITION_SEQUENCE))
            )
            rows = await self._connection.fetchval(
                statement("diagnose_default", schema=schema, table=DEFAULT_PARTITION), BOUND
            )
            cursors = await read_cursors(self._connection, schema)
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            return {}
        lows = [one["low"] for one in partitions if one["low"] is not None]
        problems = (cursor.origin.problem() for cursor in cursors)
        return {
            "default_rows": rows,
            "ahead": sum(low > position for low in lows),
            "foreign": next((one for one in problems if one is not None), ""),
        }


def _role(found: dict[str, Any]) -> Role:
    ends = found["ends"]
    return Role(
        name=found["name"],
        uses=found["uses"],
        limit=found["limit"],
        ends=None if ends is None else datetime.fromtimestamp(ends, UTC),
    )


def _said(found: dict[str, Any]) -> dict[str, Any]:
    """What the server leaves out is empty."""
    texts = {name: found[name] or "" for name in ("user", "application", "state")}
    return {**found, **texts}
