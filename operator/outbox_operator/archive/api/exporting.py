"""Exports: all events that are asked for, streamed, with a manifest at the end.

Called by `archive.api.service`. A process passes on what PostgreSQL writes, a few pieces ahead of
who reads them; who reads too slowly is cut off, because an export keeps partitions from being
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter, Manifest
from outbox_operator.adapters.postgres.archive_reader import Viewer
from outbox_operator.adapters.postgres.archive_select import Format, Selection
from outbox_operator.archive.api import asking
from outbox_operator.archive.api.parquet import ParquetSink
from outbox_operator.archive.api.problems import Fault, bad_question, shown
from outbox_operator.errors import PostgresError
from outbox_operator.wire.times import format_time, parse_time

MOST_BODY_BYTES: Final = 64 * 1024
MEDIA_TYPES: Final[dict[Format, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_STALLED_SECONDS: Final = 60.0
"""So long a client may take nothing of what is sent."""
_AHEAD: Final = 4
"""Pieces, of some 64 kB each, that wait for the client."""
_ENDING: Final[set[asyncio.Task[None]]] = set()
"""What ends now; the event loop alone would not keep it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an export is asked for beside the events.

    Attributes:
        form: Of the lines.
        moment: What was archived by then; None: by now.
        skip: Events that the client has already.
        given: The other parameters.
    """

    form: Format
    moment: dt.datetime | None
    skip: int
    given: Mapping[str, list[str]]


def parse(body: bytes) -> Wish:
    """What the body of a request asks for.

    Raises:
        ProblemError: It cannot be understood; names field, wanted and found.
    """
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise bad_question(Fault("body", "a JSON object", "something else"))
    faults: list[Fault] = []
    given: dict[str, list[str]] = {}
    for name, value in document.items():
        values = value if isinstance(value, list) else [value]
        if name == "skip":
            continue
        if not all(isinstance(one, str) for one in values):
            faults.append(Fault(shown(name)[1:-1], "a text, or a list of them", shown(value)))
        else:
            given[name] = [",".join(values)] if name == "fields" else values
    form = given.pop("format", ["ndjson"])
    if len(form) != 1 or form[0] not in get_args(Format):
        faults.append(Fault("format", " or ".join(get_args(Format)), shown(form)))
    said = given.pop("moment", None)
    moment = parse_time(said[0]) if said and len(said) == 1 else None
    if said is not None and moment is None:
        faults.append(Fault("moment", "what Outbox-Export-Moment said", shown(said)))
    skip = document.get("skip", 0)
    if not isinstance(skip, int) or isinstance(skip, bool) or not 0 <= skip < 2**62:
        faults.append(Fault("skip", "a number of events", shown(skip)))
    if skip and moment is None:
        faults.append(Fault("moment", "that of the export to go on with", "none"))
    if faults:
        raise bad_question(*faults)
    return Wish(cast(Format, form[0]), moment, skip, given)


class Export:
    """One export.

    Args:
        exporter: Of the archive.
        wish: What is asked for.
        selection: Which events.
        viewer: Whose may be seen.
        subject: Who asks.
        ended: Told at the end what it came to: outcome, events, bytes.

    Attributes:
        id: Of it.
    """

    def __init__(
        self,
        exporter: ArchiveExporter,
        wish: Wish,
        selection: Selection,
        viewer: Viewer,
        subject: str,
        ended: Callable[[str, int, int], Awaitable[None]],
    ) -> None:
        self.id = uuid.uuid4()
        self._exporter = exporter
        self._wish = wish
        self._selection = selection
        self._viewer = viewer
        self._subject = subject
        self._ended = ended
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._hash = hashlib.sha256()
        self._bytes = 0

    async def begin(self) -> tuple[dt.datetime, AsyncIterator[bytes]]:
        """The moment of which it is, and its bytes; the first of them is there already.

        Raises:
            ProblemError: Its moment is not over: what is archived by then is not there yet.
            OutboxError: The database is away, or refuses.
        """
        began = dt.datetime.now(dt.UTC)
        now = await self._exporter.moment()
        moment = self._wish.moment or now
        if moment > now:
            wanted = f"that of an export, so {format_time(now)} at most"
            raise bad_question(Fault("moment", wanted, format_time(moment)))
        selection = replace(self._selection, archived_by=moment, skip=self._wish.skip)
        stream = self._pieces(selection, moment, began)
        first = await anext(stream, b"")

        async def all_of_it() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(stream):
                yield first
                async for piece in stream:
                    yield piece

        return moment, all_of_it()

    async def _pieces(
        self, selection: Selection, moment: dt.datetime, began: dt.datetime
    ) -> AsyncGenerator[bytes, None]:
        writing = asyncio.create_task(self._write(selection))
        outcome, events = "cut off", 0
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
            events = await writing
            await self._exporter.note(self._manifest(events, moment, began))
            outcome = "ok"
        finally:
            # A task of its own: when the client is gone, whatever is awaited here is cancelled.
            ending = asyncio.create_task(self._end(writing, outcome, events))
            _ENDING.add(ending)
            ending.add_done_callback(_ENDING.discard)
            await asyncio.shield(ending)

    async def _end(self, writing: asyncio.Task[int], outcome: str, events: int) -> None:
        writing.cancel()
        await asyncio.wait((writing,))
        await self._ended(outcome, events, self._bytes)

    async def _write(self, selection: Selection) -> int:
        try:
            if self._wish.form == "parquet":
                return await self._write_parquet(selection)
            return await self._exporter.write(
                selection, self._viewer, self._wish.form, self._hand_over
            )
        finally:
            await self._put(None)

    async def _write_parquet(self, selection: Selection) -> int:
        sink = ParquetSink(selection.fields, self._hand_over)
        events = await self._exporter.write(selection, self._viewer, "parquet", sink.feed)
        await sink.end()
        return events

    async def _hand_over(self, data: bytes) -> None:
        self._hash.update(data)
        self._bytes += len(data)
        await self._put(bytes(data))  # the driver's own buffer is of another type

    async def _put(self, data: bytes | None) -> None:
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                await self._queue.put(data)
        except TimeoutError as error:
            raise PostgresError(
                f"the client took nothing of its export for {_STALLED_SECONDS:g} s"
            ) from error

    def _manifest(self, events: int, moment: dt.datetime, began: dt.datetime) -> Manifest:
        return Manifest(
            id=self.id, subject=self._subject, tenant=self._viewer.tenant, began_at=began,
            moment=moment, format=self._wish.form,
            question=json.dumps(asking.question(self._wish.given)),
            skipped=self._wish.skip, events=events, bytes=self._bytes,
            sha256=self._hash.hexdigest(),
        )  # fmt: skip

    def headers(self, moment: dt.datetime) -> dict[str, str]:
        """Of the answer."""
        return {
            "Location": f"/v1/exports/{self.id}",
            "Outbox-Export-Moment": format_time(moment),
            "Content-Disposition": f'attachment; filename="events.{self._wish.form}"',
        }

    @property
    def media_type(self) -> str:
        """Of the bytes."""
        return MEDIA_TYPES[self._wish.form]
