"""Starts the processes of one cluster, records each, and waits for what they bring about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from localkube import binaries, processes, state
from localkube.errors import LocalkubeError
from localkube.layout import Layout, Roots
from localkube.prereqs import search_path
from localkube.state import State

_READY_SECONDS = 90.0
# As etcd (JSON), the programs of Kubernetes (klog), Go itself and containerd say it.
_FATAL = re.compile(
    r'"level":"(fatal|panic)"|^[EF]\d{4} |^(panic|fatal error|Error): |level=(error|fatal)|^error: '
)
_THRIFT = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""All daemons are written in Go. A cluster for tests and trials is short of processors, not of
memory, and kube-apiserver spends more than a third of its time collecting garbage otherwise."""


class Starter:
    """Starts the processes of one cluster and records each as soon as it runs."""

    def __init__(self, places: Roots, layout: Layout, current: State) -> None:
        self.layout = layout
        self.current = current
        self._cache = places.cache
        self._started: list[str] = []

    def ensure(self, name: str, argv: list[str]) -> None:
        """Start a process unless the recorded one still runs.

        Args:
            name: name of the part; also of its log.
            argv: command line; a program of the cluster is named without folder.
        """
        known = self.current.processes.get(name)
        if known is not None and processes.is_alive(known):
            return
        command = list(argv)
        if command[0] in binaries.COMPONENTS:
            command[0] = str(binaries.path(self._cache, command[0]))
        if self.current.mode == state.NODE:
            # Not `ip netns exec`: that remounts /sys and hides the cgroups from kubelet.
            command = ["nsenter", f"--net=/run/netns/{self.layout.netns}", *command]
        log = self.layout.logs / f"{name}.log"
        started = processes.spawn(command, log, daemon_environment())
        self.current.processes[name] = started
        self._started.append(name)
        state.save(self.layout, self.current)

    def wait(self, name: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition that a process brings about.

        Raises:
            LocalkubeError: the time was up, or a process this run started has ended (it need not
                be the awaited one: the API server waits long for an etcd that is gone); names the
                log and its end.
        """
        settled = processes.wait_until(lambda: bool(self._ended()) or condition(), _READY_SECONDS)
        if ended := self._ended():
            raise LocalkubeError(self._complaint(ended[0], "ended"))
        if not settled:
            raise LocalkubeError(self._complaint(name, "did not become ready"))

    def _ended(self) -> list[str]:
        alive = processes.is_alive
        return [name for name in self._started if not alive(self.current.processes[name])]

    def _complaint(self, name: str, what: str) -> str:
        log = self.layout.logs / f"{name}.log"
        return f"{name} {what}, see {log}:\n{cause(log.read_text(errors='replace'))}"


def cause(log: str) -> str:
    """The lines of a daemon's log that say why it ended: what is fatal first, without its stack."""
    lines = log.splitlines()
    said = [line[:500] for line in lines if _FATAL.search(line)]
    return "\n".join(said[-3:] or lines[-6:])


def daemon_environment() -> dict[str, str]:
    """Environment of the daemons: nothing of the caller's but where programs are found."""
    return {"PATH": search_path(), "HOME": str(Path.home()), **_THRIFT}
