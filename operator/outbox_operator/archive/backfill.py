"""Archives the rows that an outbox's table has kept, for a start before the stream's.

Runs beside the writer, over connections of its own. How far it is, the archive remembers in the
transaction that stores a page, so whoever dies meanwhile, another one goes on from there. What the
stream brings as well is known by id and source, whoever comes first.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from outbox_operator.adapters.postgres.archive_backfill import KeptRow, KeptRows
from outbox_operator.adapters.postgres.archive_store import ArchiveStore, MovedOnError
from outbox_operator.adapters.postgres.archive_store import Move as Moved
from outbox_operator.adapters.postgres.errors import UnreadableRowsError
from outbox_operator.aio import Backoff, wait
from outbox_operator.archive.batches import kept_batch
from outbox_operator.archive.metrics import ArchiveMetrics
from outbox_operator.archive.records import Message, Record, Recorder
from outbox_operator.errors import OutboxError
from outbox_operator.wire.archive import ArchiveConfig
from outbox_operator.wire.headers import POSITION, RESERVED_PREFIXES, encode_value
from outbox_operator.wire.message import event_headers, event_time

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (1.0, 60.0)
_OTHERS_SECONDS: Final = 5.0
"""Between two looks whether another process that archives these rows is done, or gone."""
_MOST_CHARACTERS: Final = 500
"""Of what is in the way, as it is remembered."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PAGE_ROWS: Final = 500
_PAGE_BYTES: Final = 4 * 1024 * 1024


class Backfill:
    """Between an outbox's table and one archive.

    Args:
        config: Of the archive; it names an outbox.
        rows: Of the outbox.
        store: Where they go; nobody else uses it.
        metrics: What to count.
        stopping: Ends the work.
    """

    def __init__(
        self,
        config: ArchiveConfig,
        rows: KeptRows,
        store: ArchiveStore,
        metrics: ArchiveMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._rows = rows
        self._store = store
        self._metrics = metrics
        self._stopping = stopping
        self._recorder = Recorder(config.rules, config.durable)

    async def run(self) -> None:
        """Archive all of them, however often a server goes away meanwhile, or until `stopping`.

        Whoever ends it early cancels it, at any point: no session is left open.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._rows.close)
            await self._run()

    async def _run(self) -> None:
        retry = Backoff(*_RETRY_SECONDS)
        while not self._stopping.is_set():
            try:
                await self._pass(retry)
                break
            except MovedOnError:
                await wait(self._stopping, _OTHERS_SECONDS)
            except OutboxError as error:
                await self._failed(error)
                await wait(self._stopping, retry.next())
            except Exception:  # nobody awaits it: without a word it would have ended
                log.exception("a defect: the rows of the outbox are tried again")
                await self._failed(OutboxError("a defect, see the log of what writes the archive"))
                await wait(self._stopping, retry.next())

    async def _pass(self, retry: Backoff) -> None:
        """Go on from where it is.

        Raises:
            MovedOnError: Another process does.
            OutboxError: A server is away, or refuses.
        """
        await self._store.open()
        await self._rows.open()
        source = self._rows.source
        state = await self._store.backfill(source)
        if state is None or not state[0]:
            up_to, now = await self._rows.end()
            await self._store.begin_backfill(source, now, up_to)
            state = await self._store.backfill(source)
            assert state is not None  # noqa: S101 - just begun
            log.info("archives the rows of %s up to position %d", source, state[0])
        up_to, position, ended = state
        while not ended and not self._stopping.is_set():
            page = await self._rows.page(position, up_to, _PAGE_ROWS, _PAGE_BYTES)
            after = page[-1].position if page else up_to
            ended = not page or after >= up_to
            await self._store_page(page, Moved(source, position, after, len(page), ended))
            position = after
            retry.reset()
        if ended:
            log.info("all kept rows of %s are archived", source)

    async def _store_page(self, page: Sequence[KeptRow], moved: Moved) -> None:
        """Store a page in one transaction; if a row is refused, in as many as it takes, and it as
        bytes.

        Raises:
            OutboxError: The database is away, or another process has gone on.
        """
        kind = self._rows.content_type
        messages = [message_of(row, moved.source, kind) for row in page if row.payload is not None]
        records = [self._record(message) for message in messages]
        try:
            new = await self._store.store(kept_batch(records, moved))
        except UnreadableRowsError:
            if len(page) > 1:
                half = len(page) // 2
                first = replace(moved, after=page[half - 1].position, rows=half, last=False)
                await self._store_page(page[:half], first)
                rest = replace(moved, before=first.after, rows=len(page) - half)
                await self._store_page(page[half:], rest)
                return
            bare = [self._recorder.bare(one, "the database refused it") for one in messages]
            new = await self._store.store(kept_batch(bare, moved))
        for name, count in new.items():
            self._metrics.events(name).inc(count)

    def _record(self, message: Message) -> Record:
        try:
            return self._recorder.record(message)
        except Exception:  # a bug of ours must not be one row's end of all of them
            log.exception("a row of the outbox is stored as bytes")
            return self._recorder.bare(message, "it was not understood")

    async def _failed(self, error: OutboxError) -> None:
        """Say it where the operator looks, if that can be done."""
        self._metrics.errors(error.reason).inc()
        log.warning("cannot archive the rows of the outbox: %s", error.message)
        said = f"{error.reason}: {error.message}"[:_MOST_CHARACTERS]
        try:
            await self._store.note_backfill(self._rows.source, said)
        except OutboxError as unsaid:
            log.debug("nor say so: %s", unsaid.message)


def message_of(row: KeptRow, source: str, content_type: str) -> Message:
    """A row as the message that its relay made, or would make, of it; no stream has it."""
    created = _EPOCH + dt.timedelta(microseconds=row.created_at)
    headers = event_headers(
        event_id=row.event_id,
        event_type=row.event_type,
        partition_key=row.partition_key,
        source=encode_value(source),
        time=event_time(created),
        content_type=content_type,
        own=_own(row.headers),
    )
    return Message(
        subject=row.routing_key or row.event_type,
        headers={**headers, POSITION: str(row.position)},
        data=row.payload or b"",
        stream="",
        sequence=0,
        stored_ns=row.written_at * 1000,
    )


def _own(headers: str | None) -> dict[str, str]:
    """Headers of the application; what is no text is left as it is written.

    Not those that belong to relays, which refuse the row: they would say that it is another event,
    of another source.
    """
    found = json.loads(headers or "{}")
    if not isinstance(found, dict):
        return {}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
        if not name.lower().startswith(RESERVED_PREFIXES)
    }
