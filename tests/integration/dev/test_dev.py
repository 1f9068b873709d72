"""`outbox dev` as a person uses it: the README's example, from nothing to a handled event."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = ROOT / "examples/smallest/pipeline.yaml"
DEADLINE_SECONDS = 60.0


class Dev:
    """The program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> Dev:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*outbox("dev"), "-f", str(MANIFEST), "--data", str(self.data), *arguments],
                stdout=output, stderr=output, cwd=self.folder,
            )  # fmt: skip
        return self

    @property
    def output(self) -> str:
        return self._output.read_text()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        assert self._process is not None
        end = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert self._process.poll() is None, f"ended before: {what}\n{self.output}"
            assert time.monotonic() < end, f"not in time: {what}\n{self.output}"
            time.sleep(0.05)

    def says(self, pattern: str) -> None:
        self.until(lambda: re.search(pattern, self.output) is not None, pattern)

    def emit(self, *arguments: str) -> str:
        url = self.data / "database-url"
        done = subprocess.run(
            [*outbox("emit"), *arguments, "--database-url-file", str(url)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(DEADLINE_SECONDS)


def outbox(verb: str) -> list[str]:
    return [sys.executable, "-m", "outbox_operator.cli.main", verb]


def processes_of(folder: Path) -> list[str]:
    """Command lines of whatever runs with this folder on its command line or in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder / "data") in text:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture
def dev() -> Iterator[Dev]:
    # The server's user must be able to reach it, which pytest's own folders do not allow.
    folder = Path(tempfile.mkdtemp(prefix="outbox-dev-", dir="/var/tmp"))
    folder.chmod(0o755)
    one = Dev(folder)
    try:
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)


def test_from_nothing_to_a_handled_event_and_again_with_the_same_data(dev: Dev) -> None:
    dev.start("--print")
    dev.says(r"database +\S+ holds its URL")
    first = dev.emit("order.created", '{"id": 1}', "--key", "1")
    assert re.fullmatch(r"[0-9a-f-]{36}", first)
    dev.says(r'orders-billing <- order\.created of 1: \{"id": 1\}')
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.says(r"(?m)^orders-billing +0 +0 +0 +1 ")
    password = (dev.data / "database-url").read_text().partition("@")[0].rpartition(":")[2]
    assert len(password) == 32
    assert password not in dev.output
    assert not any(password in log.read_text() for log in (dev.data / "run").iterdir())
    assert dev.end() == 0
    assert processes_of(dev.folder) == []

    dev.start("--print")
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.emit("order.paid", '{"id": 1}', "--key", "1")
    dev.says(r"orders-billing <- order\.paid of 1")
    assert "order.created" not in dev.output, "handled twice"
    assert dev.end(signal.SIGTERM) == 0


def test_what_a_killed_run_left_is_taken_down_by_the_next(dev: Dev) -> None:
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    dev.emit("order.created", '{"id": 2}')
    dev.says(r'orders-billing <- order\.created: \{"id": 2\}')
    assert dev.output.count("orders-billing <-") == 1
    assert dev.end() == 0
    assert processes_of(dev.folder) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "shipping=http://127.0.0.1:9"], "there are: orders-billing"),
        (["--endpoint", "billing"], "wanted CONSUMER=http"),
        (["--nats-url", "nats://127.0.0.1:9"], "NATS at nats://127.0.0.1:9: connection refused"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    dev: Dev, arguments: list[str], said: str
) -> None:
    dev.start(*arguments)
    assert dev.end(signal.SIGCONT) in (1, 2)
    assert said in dev.output
    assert "Traceback" not in dev.output
    assert processes_of(dev.folder) == []
