"""The operator as a real process against a test's control plane."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.kube import ROOT
from support.ports import free_port
from support.starter import Started, starter
from support.waiting import SECONDS

IMAGE = "outbox-operator:test"
QUICK = {"OUTBOX_LEASE_RETRY": "0.5"} | dict.fromkeys(
    (
        "OUTBOX_PIPELINE_INTERVAL",
        "OUTBOX_STREAM_INTERVAL",
        "OUTBOX_CONSUMER_INTERVAL",
        "OUTBOX_HANDLER_INTERVAL",
        "OUTBOX_BUSY_INTERVAL",
        "OUTBOX_WAITING_INTERVAL",
        "OUTBOX_STATUS_INTERVAL",
        "OUTBOX_SECRET_AGE",
        "OUTBOX_RETRY_CEILING",
        "OUTBOX_STALLED_CEILING",
    ),
    "1",
)
"""Pauses for tests: nobody waits longer than a second for the next look."""
PATIENT = {"OUTBOX_LEASE_DURATION": "120", "OUTBOX_LEASE_DEADLINE": "100"}
"""Nobody starts an operator here that ended because the machine did not let it renew its Lease."""


@dataclass
class OperatorProcess:
    """One `outbox operator`.

    Attributes:
        kubeconfig: Whose API server to work with.
        log: File that gets its output.
        identity: Name in the Lease.
        namespaces: Namespaces to look after; empty: all.
        variables: More of its environment.
        pauses: Its pauses between two looks; empty: those that users have.
        module: What runs instead of the command line.
        forked: Whether it begins with everything imported.
    """

    kubeconfig: Path
    log: Path
    identity: str = "test"
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = "default"
    log_level: str = "DEBUG"  # says each pass
    variables: Mapping[str, str] = field(default_factory=dict)
    pauses: Mapping[str, str] = field(default_factory=lambda: QUICK)
    module: str | None = None
    forked: bool = True
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | Started | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        environment = {
            **os.environ,
            **PATIENT,
            **self.pauses,
            "KUBECONFIG": str(self.kubeconfig),
            "OUTBOX_IMAGE": IMAGE,
            "OUTBOX_IDENTITY": self.identity,
            "OUTBOX_LEASE_NAMESPACE": self.lease_namespace,
            "OUTBOX_NAMESPACES": ",".join(self.namespaces),
            "OUTBOX_HEALTH_PORT": str(self.port),
            "OUTBOX_DELETION_DEADLINE": "5",
            "OUTBOX_LOG_LEVEL": self.log_level,
            **self.variables,
        }
        with self.log.open("ab") as out:
            if self.forked:
                self.process = starter("operator").start(
                    environment, out.fileno(), output=out.fileno(), folder=ROOT, module=self.module
                )
            else:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "outbox_operator.cli.main", "operator"],
                    env=environment, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                )  # fmt: skip

    def wait_ready(self, deadline: float = SECONDS) -> None:
        """Returns when /readyz says ok; fails with the log when that does not happen."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                break
            try:
                self.fetch("/readyz")
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"the operator is not ready:\n{self.tail()}")

    def fetch(self, path: str) -> str:
        """Body of a health or metrics request."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            text: str = answer.read().decode()
            return text

    def samples(self, name: str, /, **labels: str) -> list[float]:
        """The samples of a metric whose labels match."""
        found = []
        for line in self.fetch("/metrics").splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{", 1)[0] == name and all(
                f'{key}="{wanted}"' in head for key, wanted in labels.items()
            ):
                found.append(float(value))
        return found

    def metric(self, name: str, /, **labels: str) -> float:
        """Sum of the samples of a metric whose labels match."""
        return sum(self.samples(name, **labels))

    def text(self) -> str:
        """All it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def pages_until_stopped(self, deadline: float = SECONDS) -> list[str]:
        """SIGTERM; its metrics page as it was again and again until it ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        pages, end = [], time.monotonic() + deadline
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                pages.append(self.fetch("/metrics"))
        self.stop()
        return pages

    def stop(self, deadline: float = SECONDS) -> int:
        """SIGTERM; its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(SECONDS)
            raise AssertionError(f"the operator did not stop:\n{self.tail()}") from None
        finally:
            self.process = None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(SECONDS)
            self.process = None


@contextmanager
def running_operator(
    kubeconfig: Path,
    log: Path,
    *,
    namespaces: tuple[str, ...] = (),
    lease_namespace: str = "default",
    identity: str = "test",
    log_level: str = "DEBUG",
    variables: Mapping[str, str] | None = None,
    pauses: Mapping[str, str] = QUICK,
    forked: bool = True,
) -> Iterator[OperatorProcess]:
    """A ready operator, stopped afterwards."""
    operator = OperatorProcess(
        kubeconfig,
        log,
        identity=identity,
        namespaces=namespaces,
        lease_namespace=lease_namespace,
        log_level=log_level,
        variables=variables or {},
        pauses=pauses,
        forked=forked,
    )
    operator.start()
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.stop()
