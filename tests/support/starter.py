"""Processes of `outbox VERB`, forked from one that has imported what the verb imports and no more.

Most of the processor time of a process that a test starts are its imports, a fifth of a second for
a relay and two for an operator, and tests start some hundreds. What runs then is the same: a
process of its own, as large, with its own environment and outputs. The command line is started in
full by tests of the program, of two operators and of relays in deliveries.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

_MODULES: Final = {
    "consume": (
        "asyncpg",
        "outbox_operator.cli.commands.consume",
        "outbox_operator.consumer.app",
        "outbox_operator.consumer.settings",
        "outbox_operator.telemetry.logging",
        "outbox_operator.telemetry.tracing",
        "uvloop",
    ),
    "relay": (
        "outbox_operator.cli.commands.relay",
        "outbox_operator.relay.app",
        "outbox_operator.relay.settings",
        "outbox_operator.telemetry.logging",
        "outbox_operator.telemetry.tracing",
        "uvloop",
    ),
    "operator": (
        "outbox_operator.cli.commands.operator",
        "outbox_operator.controller.app",
        "outbox_operator.controller.settings",
    ),
}
"""What a verb imports when it begins."""
_LARGEST: Final = 1 << 17
"""Bytes of a wish, which holds an environment."""


class Started:
    """A process, asked as `subprocess.Popen` is."""

    def __init__(self, starter: Starter, pid: int, told: int) -> None:
        self._starter = starter
        self._told: int | None = told
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._look(0.0)

    def wait(self, timeout: float) -> int:
        """Wait for the end; returns the exit code.

        Raises:
            subprocess.TimeoutExpired: It goes on.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return code

    def kill(self) -> None:
        """End it at once, if it runs."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, if it runs."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _look(self, seconds: float) -> int | None:
        if self._told is not None and select.select([self._told], [], [], seconds)[0]:
            said = os.read(self._told, 16)
            os.close(self._told)
            self._told = None
            assert said, f"nobody knows any more how process {self.pid} ended"
            self.returncode = int(said)
            self._starter.forget(self.pid)
        return self.returncode


class Starter:
    """Who forks them: a process with one thread, which ends with this one."""

    def __init__(self, verb: str) -> None:
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                # Its folder is not where modules are looked for: some are called as libraries are.
                [sys.executable, "-P", __file__, verb], stdin=theirs.fileno()
            )  # fmt: skip

    def start(
        self,
        environment: Mapping[str, str],
        errors: int,
        *,
        output: int = 1,
        folder: Path | None = None,
        module: str | None = None,
        program: Sequence[str] = (),
    ) -> Started:
        """Start a process.

        Args:
            environment: All of it.
            errors: Descriptor that gets its standard error.
            output: Descriptor that gets its standard output.
            folder: It works there; None: where this one does.
            module: What it runs instead of the command line, as `python -m` does.
            program: A script that runs the command line, with what it takes before the verb.
        """
        told, tell = os.pipe()
        wish = {
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
            "module": module,
            "program": list(program),
        }
        try:
            with self._lock:
                socket.send_fds(self._channel, [json.dumps(wish).encode()], [output, errors, tell])
                answer = self._channel.recv(16)
        finally:
            os.close(tell)
        assert answer, "who starts processes has ended"
        return Started(self, int(answer), told)

    def forget(self, pid: int) -> None:
        """Let go of the number of a process that has ended: until then no other has it."""
        with contextlib.suppress(OSError):  # it has ended as well
            self._channel.send(json.dumps({"ended": pid}).encode())


@functools.cache
def starter(verb: str) -> Starter:
    """The one of this process."""
    return Starter(verb)


def _serve(verb: str) -> None:
    """Fork whenever asked to, and tell how each process ended; until nobody asks any more."""
    from outbox_operator.cli import main

    for name in _MODULES[verb]:
        importlib.import_module(name)
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Ctrl-C in a terminal is for the tests, which end what they started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    tell: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell(tell)
        if channel.fileno() not in ready:
            continue
        text, descriptors, _, _ = socket.recv_fds(channel, _LARGEST, 3)
        if not text:
            return
        wish = json.loads(text)
        if "ended" in wish:
            os.waitpid(wish["ended"], 0)
            continue
        output, errors, told = descriptors
        pid = os.fork()
        if pid == 0:
            for number in (*tell.values(), told, woken, wake):
                os.close(number)
            channel.close()
            os.dup2(output, 1)
            os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        if pid == 0:
            _become(main.main, verb, wish)
        tell[pid] = told
        channel.send(str(pid).encode())


def _tell(tell: dict[int, int]) -> None:
    """Say of those that have ended how, and keep their numbers until that is read."""
    for pid, told in list(tell.items()):
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            killed = ended.si_code != os.CLD_EXITED
            code = -ended.si_status if killed else ended.si_status
            with contextlib.suppress(BrokenPipeError):
                os.write(told, str(code).encode())
            os.close(tell.pop(pid))


def _become(main: Any, verb: str, wish: Mapping[str, Any]) -> NoReturn:
    """What the command line, or the module, does from here on, in the new process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(wish["environment"])
    os.chdir(wish["folder"])
    gc.unfreeze()
    if module := wish["module"]:
        sys.path[:0] = [wish["folder"], *os.environ["PYTHONPATH"].split(os.pathsep)]
        sys.argv = [module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    if program := wish["program"]:
        sys.argv = [*program, verb]
        runpy.run_path(program[0], run_name="__main__")
    sys.argv = [str(Path(sys.executable).with_name("outbox")), verb]
    sys.exit(main())


if __name__ == "__main__":
    _serve(sys.argv[1])
