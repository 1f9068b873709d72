"""`outbox dev archive export` before its end: neither a file nor a process is left."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import asyncpg

from support.devrun import Dev, outbox, processes_of
from support.fences import fences
from support.waiting import wait_until

PAGE = "docs/how-to/keep-an-archive.md"
WORDS = [*outbox("dev"), "archive", "export", "orders-audit"]


async def test_an_export_that_is_ended_leaves_nothing(dev: Dev) -> None:
    [manifest] = fences(PAGE, "yaml title=pipeline.yaml")
    path = dev.folder / "pipeline.yaml"
    path.write_text(manifest)
    dev.start(manifest=path)
    dev.says("ready after")
    dev.emit("order.created", "{}", "--key", "1", "--wait")
    dev.says(r"(?m)^orders-audit +0 +0 +0 +1 ")
    into = dev.folder / "into"
    into.mkdir()
    for words, code, said in (
        (["--into=-x.csv"], 0, ""),
        (["--into=x.xlsx"], 2, "--into: wanted a name that ends in"),
        (["--into=x.csv", "--where=-typ=a"], 2, "--where: -typ: wanted one of"),
        (["--into=no/x.csv"], 2, "--into: no/x.csv: No such file or directory"),
        (["--into=x.csv", "--login-file=none"], 2, "--login-file is for `outbox archive` without"),
    ):
        done = export(dev, into, *words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert os.listdir(into) == ["-x.csv"]
    os.unlink(into / "-x.csv")
    connection = await asyncpg.connect((dev.data / "database-url").read_text().strip())
    try:
        schema = await connection.fetchval(
            "SELECT table_schema FROM information_schema.columns "
            "WHERE table_name = 'events' AND column_name = 'stored_at'"
        )
        for number, code, said in (
            (signal.SIGINT, 130, ""),
            (signal.SIGTERM, 1, "ended by SIGTERM"),
            (None, 1, "no end within 8 s"),
        ):
            process = begun(dev, into, *(["--timeout=8"] if number is None else []))
            async with connection.transaction():  # it has to import first, and then waits
                await connection.execute(f"LOCK TABLE {schema}.events IN ACCESS EXCLUSIVE MODE")
                found, errors = ended(process, into, number)
            assert (found, said in errors) == (code, True), errors
            assert os.listdir(into) == []
            assert works(dev) == []
    finally:
        await connection.close()


def export(dev: Dev, into: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One that comes to its end."""
    return subprocess.run(
        [*WORDS, "--data", str(dev.data), *words],
        cwd=into, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def works(dev: Dev) -> list[str]:
    """Processes that write an export of another process."""
    return [one for one in processes_of(dev.folder) if "archive export --log-level=error" in one]


def begun(dev: Dev, into: Path, *words: str) -> subprocess.Popen[str]:
    """An export whose second process is there."""
    process = subprocess.Popen(
        # As from a terminal: what a shell has put behind others is to ignore Ctrl-C.
        [
            "env", "--default-signal=INT",
            *WORDS, "--data", str(dev.data), "--into=x.parquet", *words,
        ],
        cwd=into, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: works(dev) != [] or process.poll() is not None, "its process", seconds=60)
    return process


def ended(
    process: subprocess.Popen[str], into: Path, number: signal.Signals | None
) -> tuple[int, str]:
    """Once its file is begun it gets a signal, or no more time; what it says."""
    wait_until(lambda: os.listdir(into) != [] or process.poll() is not None, "a file", seconds=60)
    assert os.listdir(into) != [], process.communicate(timeout=30)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    elif number is not None:
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors
