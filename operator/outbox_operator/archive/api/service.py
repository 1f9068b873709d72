"""Answers one question after another: what they get whom `archive.api.admission` lets in.

Called by `archive.api.routes`, which knows HTTP.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter
from outbox_operator.adapters.postgres.archive_reader import Access, ArchiveReader, Found
from outbox_operator.adapters.postgres.archive_reports import ArchiveReports, Row
from outbox_operator.adapters.postgres.archive_select import Selection
from outbox_operator.archive.api import asking, exporting, reporting
from outbox_operator.archive.api.admission import Admission, Given, Question, Request
from outbox_operator.archive.api.asking import Vocabulary
from outbox_operator.archive.api.exporting import Export
from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.api.problems import Fault, ProblemError, bad_question, forbidden, shown
from outbox_operator.archive.api.tokens import (
    EVENTS_EXPORT,
    EVENTS_READ,
    PAYLOAD_READ,
    REPORTS_READ,
    TENANTS_ALL,
    Caller,
    Keys,
)
from outbox_operator.wire.archive_api import ArchiveApiConfig

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of the events of one answer; more come with the next page."""
Pieces = AsyncIterator[bytes]


class ArchiveApi:
    """What can be asked.

    Args:
        config: Of the process.
        reader: Of the archive.
        exporter: Of the archive, with connections of its own.
        keys: Of the issuer of tokens.
        metrics: What to count.
    """

    def __init__(
        self,
        config: ArchiveApiConfig,
        reader: ArchiveReader,
        exporter: ArchiveExporter,
        keys: Keys,
        metrics: ApiMetrics,
    ) -> None:
        self.config = config
        self._reader = reader
        self._exporter = exporter
        self._reports = ArchiveReports(
            reader, config.database.schema, seconds=config.limits.report_seconds
        )
        self._admission = Admission(config, reader, keys, metrics)
        self.metrics = metrics
        self.vocabulary = Vocabulary(
            extracted=config.extracted,
            page=config.limits.page,
            unindexed_days=config.limits.unindexed_days,
            searched=config.text_search,
        )

    async def events(self, request: Request) -> Found:
        """A page of events."""
        async with self._admission.asked(request, "events", EVENTS_READ) as question:
            return await self._page(question, self._selection(request, question))

    async def history(self, request: Request, key: str) -> Found:
        """A page of the events of a key, the oldest first."""
        async with self._admission.asked(request, "history", EVENTS_READ, key=key) as question:
            if not key or len(key) > asking.MOST_CHARACTERS or not asking.is_storable(key):
                raise bad_question(
                    Fault("key", f"1 to {asking.MOST_CHARACTERS} characters, no NUL", shown(key))
                )
            selection = self._selection(request, question, by_key=key, newest_first=False)
            return await self._page(question, selection)

    async def event(self, request: Request, event_id: str) -> str:
        """An event, as a JSON object: the newest of this id."""
        async with self._admission.asked(request, "event", EVENTS_READ, id=event_id) as question:
            found_id = asking.as_id(event_id)
            if found_id is None:
                raise bad_question(Fault("id", "a UUID", shown(event_id)))
            unknown = [name for name in request.given if name != "fields"]
            if unknown:
                raise bad_question(
                    Fault(shown(unknown[0])[1:-1], "fields", "a name not known here")
                )
            selection = replace(
                self._selection(request, question), equals=(("id", found_id),), limit=1
            )
            found = await self._page(question, selection)
            if not found.lines:
                raise ProblemError(404, "No such event", f"there is no event {found_id} here")
            return found.lines[0]

    async def export(self, request: Request, body: bytes) -> tuple[Export, dt.datetime, Pieces]:
        """An export that has begun: it, the moment it is of, its bytes."""
        async with self._admission.asked(
            request, "export", EVENTS_EXPORT, body=body.decode(errors="replace")
        ) as question:
            wish = exporting.parse(body)
            self._refuse_words(wish.given, question.caller)
            selection = asking.selection(
                wish.given,
                self.vocabulary,
                sees_payload=question.caller.sees_payload,
                now=dt.datetime.now(dt.UTC),
                paged=False,
                newest_first=False,
            )
            caller, started = question.caller, time.monotonic()
            turn = AsyncExitStack()  # until its last byte is taken

            async def ended(outcome: str, events: int, size: int) -> None:
                await turn.aclose()
                self.metrics.events("export").inc(events)
                await self._admission.note_failure(
                    Access(
                        subject=caller.subject,
                        tenant=caller.tenant,
                        token_id=caller.token_id,
                        client=request.client,
                        action="export ended",
                        question=json.dumps({"id": str(export.id)}),
                        outcome=outcome,
                        events=events,
                        bytes=size,
                        seconds=time.monotonic() - started,
                    )
                )

            export = Export(
                self._exporter, wish, self._narrowed(selection, question), question.viewer,
                caller.subject, ended,
            )  # fmt: skip
            await turn.enter_async_context(self._admission.exporting(caller))
            try:
                moment, pieces = await export.begin()
            except BaseException:
                await turn.aclose()
                raise
        return export, moment, pieces

    async def manifest(self, request: Request, export_id: str) -> str:
        """What an export of the caller's came to."""
        async with self._admission.asked(
            request, "manifest", EVENTS_EXPORT, id=export_id
        ) as question:
            found_id = asking.as_id(export_id)
            if found_id is None:
                raise bad_question(Fault("id", "a UUID", shown(export_id)))
            caller = question.caller
            found = await self._exporter.manifest(found_id, caller.subject, caller.tenant)
            if found is None:
                raise ProblemError(
                    404, "No such export",
                    f"no export {found_id} of yours has ended; it may still run, or was cut off",
                )  # fmt: skip
            return found

    async def report(self, request: Request, name: str) -> tuple[str, bool]:
        """A report, and whether it is CSV; else it is JSON."""
        async with self._admission.asked(request, "report", REPORTS_READ, report=name) as question:
            now = dt.datetime.now(dt.UTC)
            wish = reporting.parse(name, request.given, now)
            if name in reporting.OF_NOBODY and question.caller.tenant is not None:
                raise forbidden(TENANTS_ALL, "one tenant's events alone")
            rows = await self._lines(name, wish, question, now)
            text = reporting.rendered(name, wish, rows)
            question.events, question.size = len(rows), len(text)
        return text, wish.as_csv

    async def _lines(
        self, name: str, wish: reporting.Wish, question: Question, now: dt.datetime
    ) -> Sequence[Row]:
        if name == "completeness":
            return await self._reports.completeness()
        if name == "retention":
            return await self._reports.retention()
        by = "actor" if name == "actors" else "type"
        if by not in self.vocabulary.columns:
            raise ProblemError(
                404, "No such report", "this archive extracts no column actor, see its rules"
            )
        selection = asking.selection(
            wish.given,
            replace(self.vocabulary, searched=False),
            sees_payload=False,
            now=now,
            paged=False,
        )
        return await self._reports.counted(
            self._narrowed(selection, question), question.viewer, by=by, interval=wish.interval,
            failures=name == "failures",
        )  # fmt: skip

    def _narrowed(self, selection: Selection, question: Question) -> Selection:
        tenant, column = question.caller.tenant, self.config.tenant_column
        if tenant is None or column is None:
            return selection
        # The policy of the table hides the others; this is for the index.
        return replace(selection, equals=(*selection.equals, (column, tenant)))

    def _selection(
        self,
        request: Request,
        question: Question,
        *,
        by_key: str | None = None,
        newest_first: bool = True,
    ) -> Selection:
        self._refuse_words(request.given, question.caller)
        return asking.selection(
            request.given,
            self.vocabulary,
            sees_payload=question.caller.sees_payload,
            now=dt.datetime.now(dt.UTC),
            by_key=by_key,
            newest_first=newest_first,
            narrowed=question.caller.tenant is not None,
        )

    def _refuse_words(self, given: Given, caller: Caller) -> None:
        """Who may not see payloads must not find events by what is in them."""
        if self.vocabulary.searched and asking.WORDS.name in given:
            caller.needs(PAYLOAD_READ)

    async def _page(self, question: Question, selection: Selection) -> Found:
        found = await self._reader.events(
            self._narrowed(selection, question),
            question.viewer,
            seconds=self.config.limits.statement_seconds,
            most_bytes=MOST_BYTES,
        )
        question.events, question.size = len(found.lines), found.size
        return found
