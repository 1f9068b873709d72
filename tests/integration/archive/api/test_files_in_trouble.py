"""What `outbox archive export` leaves and says where the disk is full, or it is ended, or another
one writes the same file."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter
from outbox_operator.adapters.postgres.archive_reader import ArchiveReader, Viewer
from outbox_operator.adapters.postgres.archive_select import Format, Selection
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.wire.archive import ArchiveDatabase
from outbox_operator.wire.config import encode
from support.archive_api import EVENTS, FilledArchive, fill
from support.postgres import PostgresServer
from support.waiting import wait_until

pytestmark = pytest.mark.integration
FORMS: Final[tuple[Format, ...]] = ("ndjson", "csv", "parquet")
_MANY: Final = 20_000
"""Events whose lines are more than all buffers on their way."""
_TINY: Final = "ulimit -f 1 && exec "
"""Before a command none of whose files may grow beyond a block."""


@pytest.fixture(scope="module")
def large(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledArchive]:
    """An archive whose export does not fit into what is on its way."""
    url = postgres_server.create_database()
    yield fill(postgres_server, url, tmp_path_factory.mktemp("large"), events=_MANY)
    postgres_server.drop_database(url)


def begun(
    archive: FilledArchive, folder: Path, name: str, *more: str, before: str = "exec "
) -> subprocess.Popen[str]:
    """The program, with the archive's configuration."""
    config = folder.parent / f"{folder.name}.json"
    config.write_text(encode(archive.place.config))
    return subprocess.Popen(
        [
            "/bin/sh", "-c", f'{before}"$@"', "sh",
            # As from a terminal: what a shell has put behind others is to ignore Ctrl-C.
            "env", "--default-signal=INT",
            sys.executable, "-m", "outbox_operator.cli.main", "archive", "export",
            "--config", str(config), "--log-level=error", "--into", name, *more,
        ],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def held(archive: FilledArchive) -> AsyncIterator[None]:
    """Nobody can read its events meanwhile."""
    connection = await archive.place.open(None)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE archive.events IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


def writes(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until its file is begun."""
    wait_until(
        lambda: any(folder.iterdir()) or process.poll() is not None, "a file that is begun",
        seconds=60.0,
    )  # fmt: skip
    assert process.poll() is None, process.communicate(timeout=30)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", ["archive", "large"])
def test_a_full_disk_is_the_files(
    request: pytest.FixtureRequest, tmp_path: Path, form: Format, size: str
) -> None:
    archive: FilledArchive = request.getfixturevalue(size)
    process = begun(archive, tmp_path, f"events.{form}", before=_TINY)
    _, said = process.communicate(timeout=60)
    assert said == f"outbox archive: --into: events.{form}: File too large\n"
    assert process.returncode == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("late"), OSError(28, "full")])
async def test_what_takes_an_export_fails_in_its_own_words(
    large: FilledArchive, form: Format, error: Exception
) -> None:
    database = ArchiveDatabase(
        url_file=large.place.login_file(large.place.reader), schema="archive"
    )

    async def refuse(_: bytes) -> None:
        raise error

    reader = ArchiveReader(
        lambda: resolve(Login.from_files(database)), schema="archive", columns=(),
        tenants=False, own_login=True, size=1, application_name="test",
    )  # fmt: skip
    try:
        with pytest.raises(type(error)) as caught:
            await ArchiveExporter(reader, reader, "archive").write(
                Selection(fields=("id", "payload")), Viewer(None), form, refuse
            )
    finally:
        await reader.close()
    assert caught.value is error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_no_file(
    archive: FilledArchive, tmp_path: Path, number: signal.Signals
) -> None:
    async with held(archive):
        process = begun(archive, tmp_path, "events.csv")
        writes(tmp_path, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    if number is signal.SIGINT:
        assert (process.returncode, said) == (130, "")
    else:
        assert (process.returncode, said) == (1, f"outbox archive: ended by {number.name}\n")
    assert os.listdir(tmp_path) == []


async def test_two_exports_into_one_file_are_two(archive: FilledArchive, tmp_path: Path) -> None:
    async with held(archive):
        first = begun(archive, tmp_path, "events.csv", "--where", "fields=id")
        writes(tmp_path, first)
        first.send_signal(signal.SIGSTOP)
    second = begun(archive, tmp_path, "events.csv", "--where", "fields=id,key")
    said, errors = second.communicate(timeout=60)
    assert said.startswith(f"wrote events.csv: {EVENTS} events, "), errors
    assert rows(tmp_path / "events.csv") == (["id", "key"], EVENTS)
    first.send_signal(signal.SIGCONT)
    said, errors = first.communicate(timeout=60)
    assert said.startswith(f"wrote events.csv: {EVENTS} events, "), errors
    assert rows(tmp_path / "events.csv") == (["id"], EVENTS)
    assert os.listdir(tmp_path) == ["events.csv"]


def rows(path: Path) -> tuple[list[str], int]:
    """The head of a CSV file, and how many rows there are."""
    head, *others = csv.reader(path.read_text().splitlines())
    assert {len(one) for one in others} == {len(head)}
    return head, len(others)
