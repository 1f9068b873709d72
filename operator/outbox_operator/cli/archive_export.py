"""What `outbox archive export` does: events of an archive into a file, with a login that reads.

Called by `cli.commands.archive`. The API of an archive exports the same to who has a token; here
the login decides, so that it may be the owner's too. What is asked for is said in its words.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter
from outbox_operator.adapters.postgres.archive_reader import ArchiveReader, Viewer
from outbox_operator.adapters.postgres.archive_select import Format, Selection
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.archive.api import asking
from outbox_operator.archive.api.parquet import ParquetSink
from outbox_operator.archive.api.problems import ProblemError
from outbox_operator.cli import endings
from outbox_operator.cli.whole_file import WholeFile, whole_file
from outbox_operator.counted import counted
from outbox_operator.errors import SpecError
from outbox_operator.plan.amounts import size
from outbox_operator.wire.archive import COLUMNS, ArchiveConfig, ArchiveDatabase

_FORMS: Final[Mapping[str, Format]] = {f".{form}": form for form in get_args(Format)}
_INTO: Final = "--into"


def form_of(path: str) -> Format:
    """The form of a file, by its name. Raises SpecError."""
    found = _FORMS.get(Path(path).suffix)
    if found is None:
        raise SpecError(f"{_INTO}: wanted a name that ends in {', '.join(_FORMS)}, found {path!r}")
    return found


def export(
    config: ArchiveConfig, output: str, pairs: Sequence[tuple[str, str]], login_file: str | None
) -> str:
    """Write events into a file, which is there once it is whole.

    Args:
        config: Of the archive.
        output: The file; its name says the form.
        pairs: Which events, and what of each: parameters of the API, and their values.
        login_file: File with the URL of who reads; None: who owns the tables does.

    Returns:
        A line for a person.

    Raises:
        OutboxError: It cannot be done.
    """
    form, selection = form_of(output), _selection(config, pairs)

    async def written() -> tuple[int, int]:
        with endings.ended_by_signals(), whole_file(_INTO, output) as file:
            return await _write(config, login_file, selection, form, file), file.size

    events, length = asyncio.run(written())
    return f"wrote {output}: {counted(events, 'event')}, {size(length)}"


def _selection(config: ArchiveConfig, pairs: Sequence[tuple[str, str]]) -> Selection:
    vocabulary = asking.Vocabulary(
        extracted=tuple(config.rules.extract), page=1, unindexed_days=0.0,
        searched=config.text_search,
    )  # fmt: skip
    try:
        return asking.selection(
            asking.as_lists(pairs), vocabulary, sees_payload=True, now=dt.datetime.now(dt.UTC),
            paged=False, newest_first=False,
        )  # fmt: skip
    except ProblemError as error:
        raise SpecError(f"--where: {error.detail}") from error


async def _write(
    config: ArchiveConfig,
    login_file: str | None,
    selection: Selection,
    form: Format,
    file: WholeFile,
) -> int:
    """Write what is selected; how many events there were."""
    database = config.migration or config.database
    if login_file is not None:
        database = ArchiveDatabase(url_file=login_file, schema=database.schema)
    reader = ArchiveReader(
        lambda: resolve(Login.from_files(database)),
        schema=database.schema,
        columns=(*COLUMNS, *config.rules.extract),
        tenants=False,
        searches=selection.words is not None,
        own_login=True,
        size=1,
        application_name=f"outbox-archive-export {config.namespace}/{config.consumer}",
    )
    exporter = ArchiveExporter(reader, reader, database.schema)

    async def take(data: bytes) -> None:
        file.write(data)

    try:
        if form != "parquet":
            return await exporter.write(selection, Viewer(None), form, take)
        sink = ParquetSink(selection.fields, take)
        events = await exporter.write(selection, Viewer(None), form, sink.feed)
        await sink.end()
        return events
    finally:
        await reader.close()
