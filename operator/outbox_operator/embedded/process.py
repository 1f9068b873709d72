"""What both embedded servers need: a free port, a process that answers, a clean end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from outbox_operator.errors import DependencyError

START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02


class EmbeddedServerError(DependencyError):
    """An embedded server is not installed, or does not start."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server process with a log file.

    Args:
        name: For messages.
        log: Where its output goes, appended.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its number; None when it was not started."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def start(
        self, command: Sequence[str], answers: Callable[[], bool], *, user: Mapping[str, Any]
    ) -> None:
        """Start and wait until it answers.

        Args:
            command: Program and arguments.
            answers: Whether it takes connections; asked again and again.
            user: Keyword arguments for `subprocess.Popen` that drop rights, or none.

        Raises:
            EmbeddedServerError: It ended, or did not answer in time; quotes its log.
        """
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own server
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Ctrl-C in a terminal is for us: we end the servers last.
                start_new_session=True,
                **user,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            if answers():
                return
            time.sleep(_POLL_SECONDS)
        self.stop(signal.SIGKILL)
        raise EmbeddedServerError(
            f"{self.name} did not start; its log {self._log} ends: {self.tail()}"
        )

    def stop(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end; kills what does not end."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def tail(self) -> str:
        """The end of what it said since the last start."""
        with contextlib.suppress(OSError):
            said = self._log.read_bytes()[self._log_start :]
            return said.decode(errors="replace")[-2000:].strip()
        return ""


def stop_orphan(pid_file: Path, mark: Path, number: signal.Signals) -> None:
    """End the process that an earlier run of ours, killed before its time, left behind.

    Args:
        pid_file: Begins with the number of the process; may not exist.
        mark: A path on its command line or in its environment: numbers are used again.
        number: The signal that ends it.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
        process = Path(f"/proc/{pid}")
        known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if os.fsencode(mark) not in known:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + START_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
