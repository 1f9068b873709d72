"""Starting, recognising and stopping the daemons of a cluster.

A process is only ever signalled through a `ProcessRecord`, which names the pid *and* the kernel's
start time of that pid on this boot: a reused pid never matches, so nobody else's process is hit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROC = Path("/proc")
UMASK = 0o022


@dataclass(frozen=True)
class ProcessRecord:
    """Identity of one process: pid, start time in clock ticks since boot, and the boot's id."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True)
class ProcessStat:
    """The two fields of /proc/PID/stat that matter here."""

    state: str
    start_ticks: int


def parse_stat(text: str) -> ProcessStat:
    """Parse /proc/PID/stat; the command in parentheses may itself hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(state=fields[0], start_ticks=int(fields[19]))


def read_stat(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """Stat of a pid, or None when there is no such process."""
    try:
        return parse_stat((proc / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot_id(proc: Path = PROC) -> str:
    """Identity of the running boot; another one means that every recorded process is gone."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def record(pid: int) -> ProcessRecord:
    """Identity of a running child.

    Raises:
        ProcessLookupError: there is no such process.
    """
    stat = read_stat(pid)
    if stat is None:
        raise ProcessLookupError(pid)
    return ProcessRecord(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())


def records(pids: Iterable[int]) -> list[ProcessRecord]:
    """Identities of those of the pids that exist."""
    found = []
    for pid in pids:
        try:
            found.append(record(pid))
        except ProcessLookupError:
            continue
    return found


def matches(wanted: ProcessRecord, stat: ProcessStat | None, current_boot: str) -> bool:
    """Whether the process now holding the pid is the recorded one and still runs."""
    return (
        stat is not None
        and wanted.boot_id == current_boot
        and stat.start_ticks == wanted.start_ticks
        and stat.state not in "ZX"
    )


def is_alive(wanted: ProcessRecord) -> bool:
    """Whether the recorded process still runs."""
    return matches(wanted, read_stat(wanted.pid), boot_id())


def spawn(argv: Sequence[str], log: Path, environment: dict[str, str]) -> ProcessRecord:
    """Start a daemon that survives the calling shell; its output goes to the end of `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            # What daemons make is for the users of pods to read, whatever the caller's mask says.
            umask=UMASK,
            start_new_session=True,
        )
    # The daemon outlives this command; Popen must not complain that nobody waited for it.
    child.returncode = 0
    return record(child.pid)


def run_apart(argv: Sequence[str], output: IO[bytes], timeout: float) -> int:
    """Run a program in a session of its own, and end all of it when this one is interrupted.

    What signals its own process group reaches nobody else, and nothing of it stays behind.

    Args:
        argv: its command line.
        output: where what it says goes.
        timeout: seconds it may take.

    Returns:
        Its exit status; below 0: the signal that ended it.

    Raises:
        FileNotFoundError: there is no such program.
        subprocess.TimeoutExpired: it took too long, and was ended.
    """
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        umask=UMASK, start_new_session=True,
    )  # fmt: skip
    try:
        return child.wait(timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(60)


def send(wanted: ProcessRecord, number: signal.Signals) -> None:
    """Signal the recorded process; nothing happens when it is gone or its pid was reused."""
    # The handle is taken before the check, so the pid cannot change hands between the two.
    try:
        handle = os.pidfd_open(wanted.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(wanted):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def stop(targets: Iterable[ProcessRecord], grace: float) -> None:
    """Stop processes together: SIGTERM, then SIGKILL to those still there after `grace` seconds."""
    remaining = [target for target in targets if is_alive(target)]
    for target in remaining:
        send(target, signal.SIGTERM)
    if not wait_until(lambda: not any(map(is_alive, remaining)), grace):
        for target in remaining:
            send(target, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, remaining)), 10)
    for target in remaining:
        _reap(target.pid)


def _reap(pid: int) -> None:
    """Collect the exit status in case this very command started the process."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Poll a condition until it holds; False when `timeout` seconds passed first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def command_lines(proc: Path = PROC) -> dict[int, list[str]]:
    """Arguments of every process that can be read, by pid."""
    found = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                raw = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            found[int(entry.name)] = [part.decode(errors="replace") for part in raw.split(b"\0")]
    return found
