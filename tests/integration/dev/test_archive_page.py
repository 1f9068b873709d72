"""The page on archives, as a person follows it on a laptop: events, then Parquet."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from arro3.io import read_parquet

from support.devrun import Dev
from support.fences import fences

PAGE = "docs/how-to/keep-an-archive.md"


def test_from_events_to_parquet(dev: Dev) -> None:
    [manifest] = fences(PAGE, "yaml title=pipeline.yaml")
    [typed] = fences(PAGE, "sh title=laptop")
    path = dev.folder / "pipeline.yaml"
    path.write_text(manifest)
    dev.start(manifest=path)
    emits, exports = typed.splitlines()[:2], typed.splitlines()[2:]
    dev.says("ready after")
    for line in emits:
        run(dev.folder, line)
    dev.says(r"(?m)^orders-audit +0 +0 +0 +2 ")
    said = [run(dev.folder, line) for line in exports]
    assert said[0].startswith("wrote events.parquet: 2 events, ")
    assert said[1].startswith("wrote paid.csv: 1 event, ")
    table = read_parquet(io.BytesIO((dev.folder / "events.parquet").read_bytes())).read_all()
    assert table.column("type").to_pylist() == ["order.created", "order.paid"]
    assert table.column("customer").to_pylist() == ["ada", "ada"]
    assert json.loads(table.column("payload").to_pylist()[0]) == {"id": 42, "customer": "ada"}
    head, paid = (dev.folder / "paid.csv").read_text().splitlines()
    assert head == "stored_at,key,customer,payload"
    assert ",42," in paid
    assert dev.end() == 0
    away = outbox(dev.folder, exports[0])
    assert away.returncode == 1
    assert "`outbox dev` does not run with folder" in away.stderr


def outbox(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of the page, by a shell that knows the program."""
    program = folder / "bin" / "outbox"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m outbox_operator.cli.main "$@"\n')
    program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}, timeout=60,
    )  # fmt: skip


def run(folder: Path, line: str) -> str:
    """What one that must succeed prints."""
    done = outbox(folder, line)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout
