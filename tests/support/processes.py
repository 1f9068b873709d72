"""Freezing processes, for tests of what does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from support.waiting import SECONDS


def freeze(pid: int, deadline: float = SECONDS) -> None:
    """Stop a process and return once every thread of it stands still.

    The signal alone returns while threads still run, and one of them may yet answer.
    """
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + deadline
    while not _stands_still(pid):
        assert time.monotonic() < end, f"process {pid} does not stop"
        time.sleep(0.001)


def _stands_still(pid: int) -> bool:
    states = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            states.add((task / "stat").read_text().rsplit(")", 1)[1].split()[0])
    return states <= {"T", "t", "Z", "X"}
