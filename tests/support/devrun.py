"""`outbox dev` as a process in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "examples/smallest/pipeline.yaml"
DEADLINE_SECONDS = 60.0


class Dev:
    """The program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / ".outbox-dev"
        self._output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, manifest: Path = SMALLEST) -> Dev:
        """Start (again)."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*outbox("dev"), "-f", str(manifest), *arguments],
                stdout=output, stderr=output, cwd=self.folder,
            )  # fmt: skip
        return self

    @property
    def output(self) -> str:
        """What it said since it was started last."""
        return self._output.read_text()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until `holds`; fails when it ends or takes too long."""
        process = self._process
        assert process is not None

        def there() -> bool:
            if holds():
                return True
            assert process.poll() is None, f"ended before: {what}\n{self.output}"
            return False

        wait_until(there, what, seconds=DEADLINE_SECONDS, detail=lambda: self.output)

    def says(self, pattern: str) -> None:
        """Wait until its output matches."""
        self.until(lambda: re.search(pattern, self.output) is not None, pattern)

    def emit(self, *arguments: str) -> str:
        """Run `outbox dev emit orders`; returns the event's id."""
        done = subprocess.run(
            [*outbox("dev"), "emit", "orders", *arguments, "-o", "name"],
            cwd=self.folder, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait; returns the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(DEADLINE_SECONDS)


def outbox(verb: str) -> list[str]:
    """Start of a command line."""
    return [sys.executable, "-m", "outbox_operator.cli.main", verb]


def processes_of(folder: Path) -> list[str]:
    """Command lines of whatever runs with this folder on its command line or in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in text:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found
