"""Taking the API server of a control plane away, or its etcd, and bringing it back."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

from support.kube import LOCALKUBE, Cluster
from support.waiting import SECONDS


class ApiServer:
    """The kube-apiserver process of a control plane of one's own.

    `kill` leaves etcd and the rest running; `start` runs the same command again, on the
    same port. `close` ends what `start` started.
    """

    program = "kube-apiserver"

    def __init__(self, cluster: Cluster) -> None:
        self._pid = _pid_of(self.program, cluster)
        process = Path("/proc") / str(self._pid)
        self._command = process.joinpath("cmdline").read_bytes().decode().split("\0")[:-1]
        self._folder = process.joinpath("cwd").readlink()
        self._started: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """kill -9; returns once the process is gone."""
        if self._started is not None:
            self._started.kill()
            self._started.wait(SECONDS)
            self._started = None
            return
        handle = os.pidfd_open(self._pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            assert gone.poll(SECONDS * 1000), f"{self.program} outlived kill -9"
        finally:
            os.close(handle)

    def hang(self) -> None:
        """Answer nothing any more, and keep all connections."""
        os.kill(self._pid_now, signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer what was asked meanwhile, and what comes."""
        os.kill(self._pid_now, signal.SIGCONT)

    @property
    def _pid_now(self) -> int:
        return self._pid if self._started is None else self._started.pid

    def start(self) -> None:
        """Run it again."""
        self._started = subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """End what `start` started."""
        if self._started is not None:
            self.kill()


class Etcd(ApiServer):
    """The etcd process of a control plane of one's own. Make it before anything is killed."""

    program = "etcd"

    @property
    def _data(self) -> Path:
        [found] = [one for one in self._command if one.startswith("--data-dir=")]
        return Path(found.removeprefix("--data-dir="))

    def save(self, copy: Path) -> None:
        """Copy what it has stored; while it does not run."""
        shutil.copytree(self._data, copy)

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of what it has stored; while it does not run."""
        shutil.rmtree(self._data)
        shutil.copytree(copy, self._data)


def _pid_of(program: str, cluster: Cluster) -> int:
    """From the report of `up`, which leaves a running cluster alone."""
    done = subprocess.run(
        [LOCALKUBE, "up", "--control-plane-only", "--name", cluster.name, "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    return int(json.loads(done.stdout)["pids"][program])
