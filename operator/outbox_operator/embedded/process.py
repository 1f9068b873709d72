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
_PROC: Final = Path("/proc")
_PS_SECONDS: Final = 10.0
_LONGEST_NUMBER: Final = 20
"""Bytes of a file with the number of a process that are read."""


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

    @property
    def ended(self) -> int | None:
        """Exit code of one that ended by itself, below 0 a signal; None: there is none."""
        return self._process.poll() if self._process is not None else None

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


def living(pid_file: Path, mark: Path) -> int | None:
    """Number of a process that we started; None: it does not live, as far as anybody can tell.

    Args:
        pid_file: Begins with the number; may not exist, or hold anything.
        mark: A path that is an argument of its command line: numbers are used again.
    """
    try:
        with pid_file.open("rb") as file:
            pid = int(file.read(_LONGEST_NUMBER).split()[0])
    except (OSError, ValueError, IndexError):
        return None
    # To a signal 0 and less are many, and 1 is never ours.
    return pid if pid > 1 and _has_argument(pid, os.fsencode(mark)) else None


def _has_argument(pid: int, argument: bytes) -> bool:
    if _PROC.exists():
        try:
            line = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return False
        return argument in line.split(b"\0")
    ps = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    try:
        done = subprocess.run(ps, capture_output=True, check=False, timeout=_PS_SECONDS)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b" %b " % argument in b" %b " % done.stdout.strip()


def stop_orphan(pid_file: Path, mark: Path, number: signal.Signals) -> None:
    """End the process that an earlier run of ours, killed before its time, left behind.

    Args:
        pid_file: See `living`.
        mark: See `living`.
        number: The signal that ends it.

    Raises:
        EmbeddedServerError: It is another user's.
    """
    pid = living(pid_file, mark)
    if pid is None:
        return
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedServerError(
            f"process {pid} works with {mark} and is another user's; end it, or choose another "
            "folder"
        ) from error
    deadline = time.monotonic() + START_SECONDS
    while _has_argument(pid, os.fsencode(mark)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
