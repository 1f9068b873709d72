"""Locks of a data folder, and which processes of it are ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox_operator.dev.locks import FileLock, is_taken
from outbox_operator.dev.processes import held, pid_of
from outbox_operator.embedded import process
from outbox_operator.embedded.process import living, stop_orphan
from outbox_operator.errors import ConflictError, SpecError
from support.waiting import wait_until


def test_a_lock_ends_with_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_taken(path)
    code = f"""
import pathlib, sys
from outbox_operator.dev.locks import FileLock
assert FileLock(pathlib.Path({str(path)!r})).take()
print("taken", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        mine = FileLock(path)
        assert not mine.take()
        assert is_taken(path)
        assert mine.holder() == str(other.pid)
        other.kill()
    assert not is_taken(path)
    assert mine.take()
    assert is_taken(path)
    mine.release()
    assert not is_taken(path)


def test_where_no_lock_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"file/lock: "):
        FileLock(tmp_path / "file" / "lock").take()


async def test_who_works_with_a_process_waits_for_whoever_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []

    async def work(name: str) -> None:
        async with held(tmp_path, "consumer-a"):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(work("first"), work("second"))
    assert order in (["first"] * 2 + ["second"] * 2, ["second"] * 2 + ["first"] * 2)
    monkeypatch.setattr("outbox_operator.dev.processes._MOST_HELD_SECONDS", 0.1)
    async with held(tmp_path, "consumer-a"), held(tmp_path, "consumer-b"):
        with pytest.raises(ConflictError, match=f"consumer-a: process {os.getpid()} is at work"):
            async with held(tmp_path, "consumer-a"):
                pass


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the path of a configuration on its command line, and alike in another's."""
    mark = str(tmp_path / "consumer-a.json")
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, "--config", mark]) as one:
        yield one
        one.kill()


# Where there is no /proc, there is `ps`; where there is, `ps` need not be.
HOW = ["proc", *(["ps"] if shutil.which("ps") else [])]


@pytest.mark.parametrize("how", HOW)
def test_only_what_we_started_is_ours(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill` of -1 ends all there is, of 0 the caller's own group."""
    if how == "ps":
        monkeypatch.setattr(process, "_PROC", tmp_path / "none")
    pid_file, mark = tmp_path / "consumer-a.pid", tmp_path / "consumer-a.json"
    for text in (
        "-1", "0", "1", "", "x", "-", f"-{sleeper.pid}", str(os.getpid()), "9" * 4000, "2147483648",
        "\x00", f"x {sleeper.pid}",
    ):  # fmt: skip
        pid_file.write_text(text)
        assert pid_of(tmp_path, "consumer-a") is None
        stop_orphan(pid_file, mark, signal.SIGKILL)
    pid_file.write_text(f"{sleeper.pid}\nmore")
    assert living(pid_file, tmp_path / "consumer-a") is None, "as if its path were a longer one"
    wait_until(lambda: pid_of(tmp_path, "consumer-a") == sleeper.pid, "its command line")
    assert sleeper.poll() is None
    stop_orphan(pid_file, mark, signal.SIGTERM)
    assert pid_of(tmp_path, "consumer-a") is None
    assert sleeper.wait(60) == -signal.SIGTERM
