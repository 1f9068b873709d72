"""Checks an archive against its seals: the chain, the lists of rows, and each row.

Hashes are computed here and not by the server, which may be what was tampered with. Memory does not
grow with the archive, but for its seals.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

import asyncpg

from outbox_operator.adapters.postgres.archive_seals import seal_of
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.counted import counted
from outbox_operator.plan.postgres.archive_seals import (
    BEGINNING,
    ENTRY_BYTES,
    IN_TIME,
    ROW_SETTINGS,
    SLOT_SECONDS,
    Chain,
    Head,
    Seal,
    Verify,
    drop_faults,
    root_of,
    row_sql,
    takes,
)

MOST_FINDINGS: Final = 20
"""That are named; the others are counted."""
_PREFETCH: Final = 200
_STATEMENT_SECONDS: Final = 600.0
_PLACE: Final = ENTRY_BYTES - 32
_POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
Window = tuple[datetime, datetime]


@dataclass(kw_only=True)
class Verdict:
    """What was found.

    Attributes:
        seals: How many were followed.
        signed: How many of them are signed.
        rows: Rows that are as they were sealed.
        dropped: Rows that retention has taken, of which the hash is left.
        kept: For how many seconds they were kept at least, by class, the shortest.
        unsealed: Rows that no seal covers yet.
        sealed_to: What was archived before is sealed; None: nothing is.
        head: The last seal.
        findings: What is wrong, the first first, at most `MOST_FINDINGS`.
        more: How many others.
    """

    seals: int = 0
    signed: int = 0
    rows: int = 0
    dropped: int = 0
    kept: dict[str, float] = field(default_factory=dict)
    unsealed: int = 0
    sealed_to: datetime | None = None
    head: Head | None = None
    findings: list[str] = field(default_factory=list)
    more: int = 0

    def found(self, what: str) -> None:
        """One more thing that is wrong."""
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(what)
        else:
            self.more += 1


class SealVerifier:
    """Verifies one archive over one connection, of a role that may read it.

    Args:
        connection: In no transaction.
        target: Where it leads, for messages.
        schema: Of the archive.
        keys: By fingerprint, what checks signatures; empty: they are not checked.
        known: Seals that somebody noted.
        overdue: How old what is sealed may be at most.
        keep: Seconds for which rows of each class had to be kept, as somebody says who is not the
            database.
    """

    def __init__(
        self,
        connection: Connection,
        target: PostgresTarget,
        schema: str,
        *,
        keys: Mapping[str, Verify],
        known: Sequence[Head],
        overdue: timedelta,
        keep: Mapping[str, float],
    ) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema
        self._chain = Chain(keys, known)
        self._overdue = overdue
        self._keep = keep
        self._taken: dict[int, int] = {}
        self._verdict = Verdict()
        self._rows = ""

    async def verify(self) -> Verdict:
        """All of it, as of one moment.

        Raises:
            OutboxError: The database is away, or this role may not read.
        """
        verdict = self._verdict
        with errors(self._target):
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                await self._connection.execute(self._sql("archive_hold"))
                settings = {**ROW_SETTINGS, "statement_timeout": f"{_STATEMENT_SECONDS:.0f}s"}
                for name, value in settings.items():
                    await self._connection.execute(statement("session_set_local"), name, value)
                columns = await self._connection.fetch(self._sql("archive_columns"), self._schema)
                names = [row["name"] for row in columns]
                self._rows = self._sql("archive_verify_rows", row=row_sql(names, "e"))
                seals = await self._follow()
                dropped = [seal for seal in seals if seal.kind == "dropped"]
                for window, group in groupby(
                    (seal for seal in seals if seal.kind != "dropped"),
                    lambda seal: (seal.archived_from, seal.archived_to),
                ):
                    await self._check_window(window, list(group), dropped)
                await self._check_rest()
                for seal in dropped:
                    for fault in drop_faults(seal, self._taken.get(seal.number, 0), self._keep):
                        verdict.found(fault)
                    _note_kept(verdict.kept, seal)
        return verdict

    async def _follow(self) -> list[Seal]:
        """The seals, each of which was checked against the one before."""
        verdict = self._verdict
        seals: list[Seal] = []
        async for row in self._connection.cursor(
            self._sql("archive_verify_seals"), prefetch=_PREFETCH
        ):
            seal = seal_of(row)
            for fault in self._chain.follow(seal):
                verdict.found(fault)
            seals.append(seal)
        for fault in self._chain.end():
            verdict.found(fault)
        verdict.seals = len(seals)
        verdict.signed = len(seals) - self._chain.unsigned
        if seals:
            verdict.head = Head(number=seals[-1].number, hash=seals[-1].hash)
            verdict.sealed_to = self._chain.sealed_to
        return seals

    async def _check_window(
        self, window: Window, seals: Sequence[Seal], dropped: Sequence[Seal]
    ) -> None:
        """What was archived between two moments."""
        covered = set()
        for seal in seals:
            if seal.kind != "rows":
                continue
            taken = next((other for other in dropped if takes(other, seal)), None)
            if taken is not None:
                self._verdict.dropped += seal.rows
                self._taken[taken.number] = self._taken.get(taken.number, 0) + seal.rows
                continue
            covered.add((seal.class_, seal.low))
            await self._check_rows(seal)
        groups = await self._connection.fetch(
            self._sql("archive_verify_groups", slot=SLOT_SECONDS, in_time=IN_TIME), *window,
            timeout=_STATEMENT_SECONDS,
        )  # fmt: skip
        for row in groups:
            if (row["class"], row["low"]) not in covered:
                self._verdict.found(
                    f"event {row['id']} was inserted: class {row['class']} has "
                    f"{counted(row['rows'], 'row')} of {row['low']:%Y-%m-%d %H:%M} that say they "
                    f"were archived before {window[1]:%Y-%m-%d %H:%M:%S}, and no seal has any that "
                    "are still there"
                )

    async def _check_rows(self, seal: Seal) -> None:
        """The rows of a seal against its list, and that against its hash."""
        verdict = self._verdict
        pieces = await self._connection.fetch(self._sql("archive_verify_pieces"), seal.number)
        lists: list[bytes] = [row["entries"] for row in pieces]
        if root_of(hashlib.sha256(one).digest() for one in lists) != seal.root:
            what = "was changed" if lists else "is gone, and retention has not taken its rows"
            verdict.found(f"{seal.name}: its list of rows {what}")
            return
        wanted = _entries(lists)
        listed = next(wanted, None)
        async for row in self._rows_of(seal):
            place: bytes = row["place"]
            while listed is not None and listed[:_PLACE] < place:
                verdict.found(f"{_event(listed)} was deleted: {seal.name} has it")
                listed = next(wanted, None)
            if listed is None or listed[:_PLACE] != place:
                verdict.found(f"{_event(place)} was inserted: {seal.name} does not have it")
                continue
            if hashlib.sha256(row["text"]).digest() != listed[_PLACE:]:
                verdict.found(
                    f"{_event(place)} was changed since it was sealed: type {row['type'][:80]!r}, "
                    f"sequence {row['sequence']}, {seal.name}"
                )
            else:
                verdict.rows += 1
            listed = next(wanted, None)
        while listed is not None:
            verdict.found(f"{_event(listed)} was deleted: {seal.name} has it")
            listed = next(wanted, None)

    async def _rows_of(self, seal: Seal) -> AsyncIterator[asyncpg.Record]:
        cursor = self._connection.cursor(
            self._rows, seal.class_, seal.low, seal.high, seal.archived_from, seal.archived_to,
            prefetch=_PREFETCH, timeout=_STATEMENT_SECONDS,
        )  # fmt: skip
        async for row in cursor:
            yield row

    async def _check_rest(self) -> None:
        """What is before the first seal, and behind the last."""
        verdict = self._verdict
        [row] = await self._connection.fetch(
            self._sql("archive_verify_rest"), BEGINNING, verdict.sealed_to or BEGINNING,
            timeout=_STATEMENT_SECONDS,
        )  # fmt: skip
        verdict.unsealed = row["late"]
        if row["early"]:
            verdict.found(
                counted(
                    row["early"],
                    "row was inserted that says it is",
                    "rows were inserted that say they are",
                )
                + " older than any"
            )
        if row["ahead"]:
            verdict.found(
                counted(row["ahead"], "row says that it was", "rows say that they were")
                + f" archived later than now, event {row['id']} for example: they were inserted by "
                "hand, or the server's clock has gone back; until then no seal covers them"
            )
        for row in await self._connection.fetch(
            self._sql("archive_verify_timeless", in_time=IN_TIME), MOST_FINDINGS,
            timeout=_STATEMENT_SECONDS,
        ):  # fmt: skip
            verdict.found(
                f"event {row['id']} was inserted: type {row['type'][:80]!r}, stored at "
                f"{row['stored_at']}, which no stream says, and no seal covers"
            )
        now = await self._connection.fetchval(statement("upkeep_clock"))
        if verdict.sealed_to is not None and now - verdict.sealed_to > self._overdue:
            verdict.found(
                f"the chain ends with {verdict.sealed_to:%Y-%m-%d %H:%M:%S}: either upkeep has not "
                "sealed since, or its end was cut off"
            )

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)


def _note_kept(kept: dict[str, float], seal: Seal) -> None:
    if seal.due_at is not None:
        seconds = (seal.due_at - seal.high).total_seconds()
        kept[seal.class_] = min(seconds, kept.get(seal.class_, seconds))


def _entries(lists: Sequence[bytes]) -> Iterator[bytes]:
    for one in lists:
        for start in range(0, len(one), ENTRY_BYTES):
            yield one[start : start + ENTRY_BYTES]


def _event(entry: bytes) -> str:
    """An entry of a list for a person."""
    [microseconds] = struct.unpack_from(">q", entry)
    event = f"event {uuid.UUID(bytes=entry[8:24])}"
    try:
        stored = _POSTGRES_EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return f"{event} of a time that no clock shows"
    return f"{event} of {stored:%Y-%m-%d %H:%M:%S.%f}"
