"""`outbox archive export`: the same as an export of the API, into a file, with a login of one's
own."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from arro3.io import read_parquet

from outbox_operator.wire.config import encode
from support.archive_api import Client, FilledArchive

pytestmark = pytest.mark.integration
FIELDS = ["key", "type", "sequence", "id", "payload", "stored_at"]
WHICH = ["--where", "type=order.*", "--where", f"fields={','.join(FIELDS)}"]


def outbox_export(
    archive: FilledArchive, folder: Path, name: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """The program, with the archive's configuration."""
    config = folder / "archive.json"
    config.write_text(encode(archive.place.config))
    return subprocess.run(
        [
            sys.executable, "-m", "outbox_operator.cli.main", "archive", "export",
            "--config", str(config), "--log-level=error", "--into", name, *more,
        ],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


async def test_a_file_holds_what_the_api_exports(
    archive: FilledArchive, client: Client, tmp_path: Path
) -> None:
    answer = await client.http.post(
        "/v1/exports", json={"type": ["order.*"], "fields": FIELDS},
        headers=client.headers(scope="events:export payload:read tenants:all", tenant=None),
    )  # fmt: skip
    wanted = [json.loads(line) for line in answer.text.splitlines()]
    assert wanted
    for form in ("ndjson", "csv", "parquet"):
        done = outbox_export(archive, tmp_path, f"events.{form}", *WHICH)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"wrote events.{form}: {len(wanted)} events, ")
    assert [
        json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()
    ] == wanted
    cells = list(csv.DictReader(io.StringIO((tmp_path / "events.csv").read_text())))
    assert [one["id"] for one in cells] == [one["id"] for one in wanted]
    assert list(cells[0]) == list(wanted[0]) == FIELDS, "in the order asked for"
    table = read_parquet(io.BytesIO((tmp_path / "events.parquet").read_bytes())).read_all()
    assert table.schema.names == FIELDS
    assert table.column("sequence").to_pylist() == [one["sequence"] for one in wanted]
    payloads = [json.loads(text) for text in table.column("payload").to_pylist()]
    assert payloads == [one["payload"] for one in wanted]
    assert set(os.listdir(tmp_path)) == {
        "archive.json", "events.ndjson", "events.csv", "events.parquet"
    }  # fmt: skip


def test_who_may_read_exports(archive: FilledArchive, tmp_path: Path) -> None:
    place = archive.place
    for role in (place.reader, place.keeper):
        done = outbox_export(
            archive, tmp_path, "events.parquet", "--login-file", place.login_file(role)
        )
        assert done.returncode == 0, done.stderr
    done = outbox_export(
        archive, tmp_path, "none.parquet", "--login-file", place.login_file(place.writer)
    )
    assert done.returncode == 1
    assert f"role {place.writer} may not read it yet; name the login of a role that may" in (
        done.stderr
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("none")] == []


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("events.xlsx", [], "--into: wanted a name that ends in .ndjson, .csv, .parquet, found"),
        ("no/events.csv", [], "--into: no/events.csv: No such file or directory"),
        ("/proc/none.csv", [], "--into: /proc/none.csv: No such file or directory"),
        (f"{'a' * 300}.csv", [], f"--into: {'a' * 300}.csv: File name too long"),
        ("a.csv", ["--where", "typ=a"], "--where: typ: wanted one of type, key, id, class, "),
        ("a.csv", ["--where", "from=monday"], "--where: from: wanted a time as 2026-01-31T12:00:"),
        ("a.csv", ["--where", "type"], "argument --where: wanted NAME=VALUE, found 'type'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    archive: FilledArchive, tmp_path: Path, name: str, more: list[str], said: str
) -> None:
    done = outbox_export(archive, tmp_path, name, *more)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["archive.json"]
