"""Writes all events that are asked for, of whatever number, to somebody who takes them bit by bit.

PostgreSQL makes the lines and this process passes them on: its memory does not grow with them. What
is exported is what was there at a moment; asked for again with the same moment, it is the same,
whatever was archived since, as long as retention leaves it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.postgres.archive_reader import ArchiveReader, Viewer
from outbox_operator.adapters.postgres.archive_select import Format, Selection, export
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.advisory_locks import schema_lock

MOST_SECONDS: Final = 6 * 3600.0
_UNUSED: Final = ("\x01", "\x02")
"""Quote and delimiter that JSON never holds, so that its lines come as they are."""
_MOMENT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an export came to.

    Attributes:
        id: Of it.
        subject: Who asked for it.
        tenant: Of their token.
        began_at: When it began.
        moment: What is exported was archived by then.
        format: Of the lines.
        question: The parameters, as JSON.
        skipped: Events that were left out at the beginning.
        events: How many it holds.
        bytes: Their size.
        sha256: Hash of what was sent.
    """

    id: uuid.UUID
    subject: str
    tenant: str | None
    began_at: dt.datetime
    moment: dt.datetime
    format: Format
    question: str
    skipped: int
    events: int
    bytes: int
    sha256: str


class ArchiveExporter:
    """Exports of an archive.

    Args:
        exports: With connections for as many as may run at a time.
        others: For short statements beside them.
        schema: Of the archive.
    """

    def __init__(self, exports: ArchiveReader, others: ArchiveReader, schema: str) -> None:
        self._exports = exports
        self._others = others
        self._schema = schema

    async def moment(self) -> dt.datetime:
        """A moment of now: what was archived before it can be seen, and nothing else ever will be.

        Raises:
            OutboxError: The database is away, or a batch takes too long.
        """
        async with self._others.reading(Viewer(None), _MOMENT_SECONDS) as connection:
            await connection.execute(
                statement("archive_moment"), schema_lock("archive", self._schema)
            )
            found: dt.datetime = await connection.fetchval(statement("upkeep_clock"))
        return found

    async def write(
        self,
        selection: Selection,
        viewer: Viewer,
        form: Format,
        sink: Callable[[bytes], Coroutine[Any, Any, None]],
    ) -> int:
        """Hand all events to `sink`, in pieces; how many there were.

        For Parquet these are lines of tab-separated fields, as COPY writes them: who takes them
        makes the file.

        Raises:
            OutboxError: The database is away, or refuses; what was handed over is not all.
            Exception: Of `sink`, as it came.
        """
        text, values = export(self._schema, selection, form)
        quote, delimiter = _UNUSED if form == "ndjson" else ('"', ",")
        how: dict[str, Any] = {
            "format": "csv", "quote": quote, "delimiter": delimiter,
            "header": form == "csv" and not selection.skip,
        }  # fmt: skip
        if form == "parquet":
            how = {"format": "text"}
        refused: list[Exception] = []

        async def handed(data: bytes) -> None:
            try:
                await sink(data)
            except Exception as error:
                refused.append(error)
                raise

        try:
            async with self._exports.reading(viewer, MOST_SECONDS, held=True) as connection:
                said = await connection.copy_from_query(
                    text, *values, output=handed, timeout=MOST_SECONDS, **how
                )
        except Exception:
            if refused:  # what the driver makes of it is of the COPY that it cuts off then
                raise refused[0] from None
            raise
        return int(said.rpartition(" ")[2])

    async def note(self, manifest: Manifest) -> None:
        """Keep the manifest of an export that has ended. Raises OutboxError."""
        one = manifest
        async with self._others.writing() as connection:
            await connection.execute(
                statement("archive_export_end", schema=self._schema),
                one.id, one.subject, one.tenant, one.began_at, one.moment, one.format,
                one.question, one.skipped, one.events, one.bytes, one.sha256,
            )  # fmt: skip

    async def manifest(self, export_id: uuid.UUID, subject: str, tenant: str | None) -> str | None:
        """The manifest of somebody's export, as JSON; None: there is none, or it has not ended.

        Raises:
            OutboxError: The database is away.
        """
        async with self._others.writing() as connection:
            found: str | None = await connection.fetchval(
                statement("archive_export_manifest", schema=self._schema),
                export_id, subject, tenant,
            )  # fmt: skip
        return found
