"""The outbox tables as the relay uses them: cursor, rows, dead letters.

Called by the relay. The only place with SQL over `events` and `cursors` in the data plane; the
statements are in `adapters/sql/relay_*.sql`, each with its reasons. Makes no decision about
what to read next or what to publish, and must not import `plan` or `api`.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from outbox_operator.adapters import postgres
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.wire.tables import quote_identifier

PayloadType = Literal["jsonb", "bytea"]

_COLUMNS: Final = (
    "position, event_id, event_type, partition_key, routing_key, payload, headers, created_at"
)
_OUTPUT: Final = (
    "m.position, m.event_id::text, m.event_type, m.partition_key, m.routing_key, "
    "CASE WHEN m.size <= {largest} THEN {payload} END AS payload, "
    "CASE WHEN m.size <= {largest} THEN m.headers::text END AS headers, m.created_at"
)
_PAYLOAD: Final = {"jsonb": "convert_to(m.payload::text, 'UTF8')", "bytea": "m.payload"}
_CLOSE_SECONDS: Final = 2.0
_ROW_OVERHEAD_BYTES: Final = 300
"""Columns and headers of an ordinary row."""


class Row(NamedTuple):
    """One event as it is in the table.

    Attributes:
        payload: None when the row is larger than asked for.
        headers: JSON text; None likewise.
    """

    position: int
    event_id: str
    event_type: str
    partition_key: str
    routing_key: str | None
    payload: bytes | None
    headers: str | None
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """What is stored about a shard, and what the server says of itself.

    Attributes:
        snapshot_from: S1: everything visible in it is published.
        snapshot_to: S2 while a window is open.
        last_position: Rows of the open window up to here are done.
        emission: Number of the last event published.
        cursor_system: System identifier of the server that the snapshots belong to, if known.
        server_system: System identifier of this server.
        server_snapshot: A snapshot of now.
        newest_xid: The latest transaction that wrote an event, if any did.
    """

    snapshot_from: str
    snapshot_to: str | None
    last_position: int
    emission: int
    cursor_system: str | None
    server_system: str
    server_snapshot: str
    newest_xid: str | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """The transactions that snapshot S1 does not see.

    Attributes:
        from_xid: Every transaction from this one on (xmax of S1).
        open_xids: And these, which were under way (xip of S1).
    """

    from_xid: str
    open_xids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Polled:
    """Answer to a poll.

    Attributes:
        snapshot: S2, the snapshot the rows were read with.
        rows: In order of position; cut by bytes.
        complete: Whether these are all rows between S1 and S2.
    """

    snapshot: str
    rows: tuple[Row, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Extent of what is left of a window; `rows` 0 means nothing is."""

    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True)
class Burial:
    """Why a row goes to the dead letters; `blocked`: only because its key is blocked."""

    position: int
    reason: str
    error: str
    blocked: bool


class OutboxStore:
    """The tables of one schema over one connection, for one shard.

    Every method may raise the errors of `adapters.postgres.errors`.

    Args:
        connection: From `adapters.postgres.connect`; used by nobody else.
        target: For messages.
    """

    def __init__(
        self,
        connection: postgres.Connection,
        target: postgres.PostgresTarget,
        *,
        schema: str,
        payload_type: PayloadType,
        shard: int,
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._payload_type: PayloadType = payload_type
        self._shard = shard
        self._epoch = 0
        self._closing = False
        self._asked_at: float | None = None

    @property
    def address(self) -> str:
        """Where the tables are, safe to show."""
        return f"{self._target.address} schema {self._schema}"

    def waiting_seconds(self) -> float:
        """How long the statement under way has gone without an answer; 0 when there is none."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the connection ends for whatever reason but `close`."""

        def ended(_: object) -> None:
            if not self._closing:
                callback()

        self._connection.add_termination_listener(ended)

    async def close(self) -> None:
        """End the connection."""
        self._closing = True
        try:
            await self._connection.close(timeout=_CLOSE_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._connection.terminate()

    async def prepare(self, idle_seconds: float) -> None:
        """Let the server end this session when a frozen process leaves it idle."""
        with self._statement():
            await postgres.end_when_idle(self._connection, idle_seconds)

    async def read_cursor(self) -> Cursor:
        """The stored cursor.

        Raises:
            PostgresError: The shard has no cursor (reason MigrationsMissing).
        """
        try:
            with self._statement():
                row = await self._connection.fetchrow(self._sql("relay_read_cursor"), self._shard)
        except PostgresError as error:
            if isinstance(error.__cause__, asyncpg.UndefinedTableError):
                raise self._unmigrated() from error
            raise
        if row is None:
            raise self._unmigrated()
        return Cursor(
            snapshot_from=row["snapshot_from"],
            snapshot_to=row["snapshot_to"],
            last_position=row["last_position"],
            emission=row["emission"],
            cursor_system=row["cursor_system"],
            server_system=row["server_system"],
            server_snapshot=row["server_snapshot"],
            newest_xid=row["newest_xid"],
        )

    async def claim(self, owner: str, server_system: str) -> int:
        """Take ownership and return our epoch; call with the shard's lock held."""
        with self._statement():
            self._epoch = await self._connection.fetchval(
                self._sql("relay_claim"), self._shard, owner, server_system
            )
        return self._epoch

    async def confirm_ownership(self) -> None:
        """Check that the shard is still ours, during a long wait.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
        """
        with self._statement():
            done = await self._connection.fetchval(
                self._sql("relay_confirm"), self._shard, self._epoch
            )
        self._check_owner(done)

    async def poll(self, unseen: Unseen, *, rows: int, size: int, largest: int) -> Polled:
        """What became visible since S1, at most `rows` rows and about `size` bytes of it.

        Args:
            largest: Rows of more bytes come without payload and headers.
        """
        with self._statement():
            records = await self._connection.fetch(
                self._sql("relay_poll"),
                self._shard, unseen.from_xid, unseen.open_xids, rows + 1, size, largest,
            )  # fmt: skip
        snapshot, found = records[0][0], records[0][1]
        if found is None:
            return Polled(snapshot, (), complete=True)
        complete = found <= rows and found == len(records)
        # With more rows than asked for, these are not the first ones; only their number counts.
        taken = tuple(Row(*record[2:]) for record in records) if complete else ()
        return Polled(snapshot, taken, complete)

    async def span(self, unseen: Unseen, upper: str, after: int) -> Span:
        """Extent of the window between S1 and `upper` behind position `after`."""
        with self._statement():
            row = await self._connection.fetchrow(
                self._sql("relay_span"),
                self._shard, unseen.from_xid, unseen.open_xids, upper, after,
            )  # fmt: skip
        if row is None or not row["rows"]:
            return Span(0, 0, 0)
        return Span(row["first"], row["last"], row["rows"])

    async def page(
        self,
        unseen: Unseen,
        upper: str,
        *,
        after: int,
        last: int,
        rows: int,
        size: int,
        largest: int,
    ) -> tuple[Row, ...]:
        """The next rows of the window after position `after`: at most `rows`, about `size` bytes.

        At least one row comes back as long as the window has one; above `largest` bytes it
        comes without payload and headers.
        """
        with self._statement():
            records = await self._connection.fetch(
                self._sql("relay_page"),
                self._shard, unseen.from_xid, unseen.open_xids,
                upper, after, last, rows, size, largest,
            )  # fmt: skip
        return tuple(Row(*record[1:]) for record in records)

    async def open_window(self, lower: str, upper: str) -> None:
        """Store S1 and S2 before the first row between them is published.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
        """
        with self._statement():
            done = await self._connection.fetchval(
                self._sql("relay_open"), self._shard, self._epoch, lower, upper
            )
        self._check_owner(done)

    async def advance(
        self, position: int, emission: int, *, closes: str | None, burials: Sequence[Burial] = ()
    ) -> None:
        """Everything of the window up to `position` is done; `closes` is S2 at its end.

        Dead letters are written in the same transaction.

        Raises:
            ConflictError: Somebody else owns the shard (reason OwnershipLost).
        """
        arguments = (self._shard, self._epoch, position, emission, closes)
        with self._statement():
            if not burials:
                done = await self._connection.fetchval(self._sql("relay_advance"), *arguments)
                self._check_owner(done)
                return
            async with self._connection.transaction():
                done = await self._connection.fetchval(self._sql("relay_advance"), *arguments)
                self._check_owner(done)
                await self._connection.execute(
                    self._sql("relay_bury"),
                    [b.position for b in burials],
                    [b.reason for b in burials],
                    [b.error for b in burials],
                    [b.blocked for b in burials],
                )

    async def blocked_keys(self) -> frozenset[str]:
        """Keys with an unresolved dead letter."""
        with self._statement():
            records = await self._connection.fetch(self._sql("relay_blocked_keys"), self._shard)
        return frozenset(record[0] for record in records)

    @contextmanager
    def _statement(self) -> Iterator[None]:
        self._asked_at = time.monotonic()
        try:
            with postgres.errors(self._target):
                yield
        finally:
            self._asked_at = None

    def _check_owner(self, done: Any) -> None:
        if done is None:
            raise ConflictError(
                f"cursor of shard {self._shard} in {self.address}: another relay took it over "
                f"(our epoch was {self._epoch})",
                reason="OwnershipLost",
            )

    def _unmigrated(self) -> PostgresError:
        return PostgresError(
            f"table cursors in {self.address}: no row for shard {self._shard}; "
            "the migrations of the pipeline have not run yet",
            reason="MigrationsMissing",
        )

    def _sql(self, name: str) -> str:
        modern = self._connection.get_server_version().major >= 14
        return _statement(name, self._schema, self._payload_type, modern)


@cache
def _statement(name: str, schema: str, payload_type: PayloadType, modern: bool) -> str:
    text = resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")
    for placeholder, value in {
        "{schema}": quote_identifier(schema),
        "{columns}": _COLUMNS,
        "{size}": _size(payload_type, modern),
        "{output}": _OUTPUT.replace("{payload}", _PAYLOAD[payload_type]),
        "{largest}": {"relay_poll": "$6", "relay_page": "$9"}.get(name, ""),
    }.items():
        text = text.replace(placeholder, value)
    return text


def _size(payload_type: PayloadType, modern: bool) -> str:
    """SQL for the bytes a row will take once fetched, computed without fetching it.

    A compressed value must be unpacked to know its length as text; a plain one need not, and
    whether it is compressed is known from version 14 on.
    """
    if payload_type == "bytea":
        payload = "octet_length(payload)"
    elif modern:
        payload = (
            "CASE WHEN pg_column_compression(payload) IS NULL THEN pg_column_size(payload) "
            "ELSE octet_length(payload::text) END"
        )
    else:
        payload = "octet_length(payload::text)"
    return f"({payload} + octet_length(headers::text) + {_ROW_OVERHEAD_BYTES})::bigint"
