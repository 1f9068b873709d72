"""Counts what is in an archive, for reports.

Used by the process that answers questions over HTTP. What a report is asked for may be a year: its
time is bounded, and so is the number of its lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

from outbox_operator.adapters.postgres.archive_reader import ArchiveReader, Viewer
from outbox_operator.adapters.postgres.archive_select import Parameters, Selection, conditions
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.wire.tables import quoted

Interval = Literal["hour", "day", "week", "month"]
Row = dict[str, Any]
MOST_LINES: Final = 10_000
_FAILURES: Final = (
    "(e.type ~ '(^|[.])(failed|failure|error|denied|rejected)$' OR e.note IS NOT NULL)"
)


class ArchiveReports:
    """Reports about an archive.

    Args:
        reader: Of the archive.
        schema: Of the archive.
        seconds: That each may take.
    """

    def __init__(self, reader: ArchiveReader, schema: str, *, seconds: float) -> None:
        self._reader = reader
        self._schema = schema
        self._seconds = seconds

    async def counted(
        self,
        selection: Selection,
        viewer: Viewer,
        *,
        by: str,
        interval: Interval,
        failures: bool = False,
    ) -> Sequence[Row]:
        """Events by stretch of time and the column `by`; with `failures`, of those alone that tell
        of one, or that were not stored as they were meant.

        Raises:
            OutboxError: It takes too long, or the database is away.
        """
        parameter = Parameters()
        said = [*conditions(selection, parameter), *([_FAILURES] if failures else ())]
        text = statement(
            "archive_report",
            schema=self._schema,
            interval=parameter(interval),
            by=f"e.{quoted(by)}",
            conditions=" AND ".join(said) or "true",
            limit=MOST_LINES + 1,
        )
        return await self._rows(viewer, text, *parameter.values)

    async def completeness(self) -> Sequence[Row]:
        """How far the numbers of each shard are known, and what is missing. Raises OutboxError."""
        text = statement("archive_report_completeness", schema=self._schema, limit=MOST_LINES + 1)
        return await self._rows(Viewer(None), text)

    async def retention(self) -> Sequence[Row]:
        """How long each class is kept, and from when on it has partitions. Raises OutboxError."""
        found = await self._rows(Viewer(None), statement("archive_classes"), self._schema)
        classes: dict[str, Row] = {}
        for row in found:
            one = classes.setdefault(
                row["class"],
                {
                    "class": row["class"],
                    "keep_seconds": _keep_seconds(row["comment"]),
                    "partitions": 0,
                    "from": None,
                    "to": None,
                },
            )
            one["partitions"] += row["leaf"] is not None
            if row["low"] is not None:
                one["from"] = min(one["from"] or row["low"], row["low"])
                one["to"] = max(one["to"] or row["high"], row["high"])
        return list(classes.values())

    async def _rows(self, viewer: Viewer, text: str, *values: Any) -> Sequence[Row]:
        async with self._reader.reading(viewer, self._seconds) as connection:
            return [dict(row) for row in await connection.fetch(text, *values)]


def _keep_seconds(comment: str | None) -> float | None:
    try:
        found = json.loads(comment or "")["keep_seconds"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(found) if isinstance(found, int | float) else None
