"""Completion in the shells themselves: a verb and the name of a resource, typed at a terminal."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.answering import answering, kubeconfig, pipelines
from support.waiting import wait_until

SOURCED = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "source <(outbox completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "source <(outbox completion zsh)"),
}
TYPED = {"dlq repl": "dlq replay", "status o": "status orders"}
"""What is typed before the Tab, and what is run then."""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a shell that has our program, which notes what it is called with, and a cluster."""
    for shell in ("bash", "zsh", "fish"):
        assert shutil.which(shell), f"no {shell} found; install it: apt-get install -y {shell}"
    program = tmp_path / "outbox"
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = completion ] && exec {sys.executable} -m outbox_operator.cli.main "$@"\n'
        f'echo "$@" >> {tmp_path}/called\n'
    )
    program.chmod(0o755)
    (tmp_path / "called").touch()
    with answering(pipelines) as address:
        yield {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "KUBECONFIG": str(kubeconfig(tmp_path, address)),
        }


@contextmanager
def terminal(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A shell at a terminal of its own, for what is typed there; it is killed at the end."""
    pid, typed = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment)
    try:
        yield typed
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(typed)


def until(called: Path, wanted: str, what: str) -> None:
    """Wait until our program was called so."""
    wait_until(
        lambda: wanted in called.read_text().splitlines(), what, seconds=60, detail=called.read_text
    )


@pytest.mark.parametrize("shell", SOURCED)
def test_what_a_tab_completes(shell: str, environment: dict[str, str], tmp_path: Path) -> None:
    command, sourced = SOURCED[shell]
    called = tmp_path / "called"
    with terminal(command, environment) as typed:
        os.write(typed, f"{sourced}; outbox ready\n".encode())
        until(called, "ready", "a shell that is ready")
        for half, whole in TYPED.items():
            os.write(typed, f"outbox {half}\t\n".encode())
            until(called, whole, f"{shell} completes {half}")


def test_what_fish_offers(environment: dict[str, str]) -> None:
    asked = "; ".join(f"complete -C 'outbox {half}'" for half in TYPED)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"outbox completion fish | source; {asked}"],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["replay", "orders"]
