"""A recorded process is recognised as long as it runs, and never confused with another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from localkube import processes
from localkube.processes import ProcessRecord, ProcessStat

STAT = "42 (a (nasty) name) {state} 1 42 42 0 -1 4194560 1 0 0 0 5 3 0 0 20 0 1 0 {start} 1000 10 1"
RECORD = ProcessRecord(pid=42, start_ticks=777, boot_id="this-boot")


def test_stat_is_parsed_past_parentheses_in_the_name() -> None:
    parsed = processes.parse_stat(STAT.format(state="S", start=777))
    assert parsed == ProcessStat(state="S", start_ticks=777)


@pytest.mark.parametrize(
    ("stat", "boot", "expected"),
    [
        (ProcessStat("S", 777), "this-boot", True),
        (ProcessStat("R", 777), "this-boot", True),
        (ProcessStat("S", 778), "this-boot", False),  # the pid was reused
        (ProcessStat("S", 777), "next-boot", False),  # ticks start again with every boot
        (ProcessStat("Z", 777), "this-boot", False),
        (None, "this-boot", False),
    ],
)
def test_match(stat: ProcessStat | None, boot: str, expected: bool) -> None:
    assert processes.matches(RECORD, stat, boot) is expected


@pytest.fixture
def daemon(tmp_path: Path) -> ProcessRecord:
    """A process that ignores SIGTERM, as soon as it says so."""
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "daemon.log"
    started = processes.spawn([sys.executable, "-c", program], log, {})
    assert processes.wait_until(lambda: "deaf" in log.read_text(), 20)
    return started


def test_daemon_runs_in_a_session_of_its_own_and_is_stopped(daemon: ProcessRecord) -> None:
    assert processes.is_alive(daemon)
    session = Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()[3]
    assert int(session) == daemon.pid
    processes.stop([daemon], grace=0)
    assert not processes.is_alive(daemon)


def test_signal_spares_a_process_that_only_has_the_same_pid() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            mistaken = replace(processes.record(other.pid), start_ticks=1)
            processes.send(mistaken, signal.SIGKILL)
            processes.stop([mistaken], grace=0)
            assert other.poll() is None
        finally:
            other.kill()


def test_records_leave_out_pids_without_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(10)
    assert processes.records([gone.pid]) == []


def test_what_daemons_make_is_for_all_to_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = os.umask(0o077)
    try:
        record = processes.spawn(["/bin/sh", "-c", "umask"], log, {})
    finally:
        os.umask(before)
    assert processes.wait_until(lambda: log.read_text() == "0022\n", 20)
    processes.stop([record], grace=5)


def test_who_signals_its_own_group_reaches_nobody_else_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/child; kill -HUP 0"
    with (tmp_path / "log").open("wb") as output:
        code = processes.run_apart(["/bin/sh", "-c", script], output, timeout=60)
    assert code == -signal.SIGHUP
    child = int((tmp_path / "child").read_text())
    gone = lambda: getattr(processes.read_stat(child), "state", "X") in "ZX"  # noqa: E731
    assert processes.wait_until(gone, 20)


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/child; wait"
    with (tmp_path / "log").open("wb") as output, pytest.raises(subprocess.TimeoutExpired):
        processes.run_apart(["/bin/sh", "-c", script], output, timeout=1)
    child = int((tmp_path / "child").read_text())
    gone = lambda: getattr(processes.read_stat(child), "state", "X") in "ZX"  # noqa: E731
    assert processes.wait_until(gone, 20)


def test_own_command_line_is_found() -> None:
    assert os.getpid() in processes.command_lines()
