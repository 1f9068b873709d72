"""An operator process whose reconcilers only write down that they were called.

Run as `python -m support.recording_operator` from `tests/`; `RecordingOperator` starts and
watches such a process. Everything but the reconcilers is the real thing: API server, Lease,
kopf, queue, signals, probes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from outbox_operator.api import meta
from outbox_operator.controller import app, settings
from outbox_operator.controller.reconcile.context import BuildReconcilers, Context
from outbox_operator.controller.runtime.reconciler import ObjectKey, Reconciler, ReconcileResult
from outbox_operator.errors import OutboxError
from support.operator import PATIENT
from support.ports import free_port
from support.starter import starter
from support.waiting import SECONDS, eventually

DEADLINE_S = SECONDS
TESTS = Path(__file__).resolve().parents[1]

Pass = Mapping[str, Any]


BUSY_SECONDS = 0.05
SHORT_LEASE = {
    "OUTBOX_LEASE_DURATION": "8",
    "OUTBOX_LEASE_DEADLINE": "6",
    "OUTBOX_LEASE_RETRY": "0.5",
}
"""Settings of a leader who is given up soon."""


class Recorder:
    """Writes one line for each pass; an object labelled `test: fails` makes it raise.

    One labelled `test: busy` is worked on again and again, for `BUSY_SECONDS` each time.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: ObjectKey, trigger: str) -> ReconcileResult:
        body = self._context.objects.get(key)
        metadata = body["metadata"] if body else {}
        line = {
            "pass": str(key),
            "trigger": trigger,
            "exists": body is not None,
            "generation": metadata.get("generation"),
            "at": time.monotonic(),  # one clock for all processes of a machine
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        if (metadata.get("labels") or {}).get("test") == "fails":
            raise ValueError("made to fail")
        if (metadata.get("labels") or {}).get("test") == "busy":
            await asyncio.sleep(BUSY_SECONDS)
            return ReconcileResult(requeue_after=BUSY_SECONDS)
        return ReconcileResult()


def build(context: Context) -> Mapping[str, Reconciler]:
    """Recorders for all kinds."""
    return dict.fromkeys(meta.PLURALS, Recorder(context))


class RecordingOperator:
    """A running operator process.

    Args:
        kubeconfig: Of the cluster.
        program: Its module.
        environment: More `OUTBOX_…` settings.
    """

    def __init__(
        self, kubeconfig: Path, program: str = "support.recording_operator", **environment: str
    ) -> None:
        self._port = free_port()
        self._program = program
        self._environment = {
            **os.environ,
            **PATIENT,
            "KUBECONFIG": str(kubeconfig),
            "OUTBOX_IMAGE": "unused",
            "OUTBOX_LEASE_RETRY": "0.5",
            "OUTBOX_RESYNC": "3600",  # the watch tells, unless the test is about the other way
            "OUTBOX_HEALTH_PORT": str(self._port),
            "PYTHONPATH": str(TESTS),
            **environment,
        }
        self.passes: list[Pass] = []
        self.logs: list[Mapping[str, Any]] = []
        self.noise: list[str] = []
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        out, output = os.pipe()
        err, errors = os.pipe()
        operators = starter("operator")
        try:
            self._process = await asyncio.to_thread(
                operators.start,
                self._environment, errors, output=output, folder=TESTS, module=self._program,
            )  # fmt: skip
        finally:
            os.close(output)
            os.close(errors)
        self._readers = asyncio.gather(
            self._read(await _lines(out), self.passes), self._read(await _lines(err), self.logs)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self.exit_code()
        await asyncio.wait_for(self._readers, DEADLINE_S)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended already hears nothing."""
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    async def exit_code(self, within_seconds: float = DEADLINE_S) -> int:
        """Waits for the end of the process."""
        await eventually(lambda: self.ended, "the process ends", seconds=within_seconds)
        code = self._process.returncode
        assert code is not None
        return code

    async def leads(self) -> None:
        """Waits until the process watches and works."""
        await self.logged("watching")

    async def logged(self, text: str) -> Mapping[str, Any]:
        """Waits for a log line that contains `text`."""
        return await self._first(self.logs, lambda line: text in line["message"], text, DEADLINE_S)

    async def worked_on(
        self, name: str, *, within_seconds: float = DEADLINE_S, **facts: Any
    ) -> Pass:
        """Waits for a pass over an object of this name that shows `facts`, and forgets it."""

        def fits(one: Pass) -> bool:
            same = one["pass"].rpartition("/")[2] == name
            return same and all(one[key] == value for key, value in facts.items())

        found = await self._first(
            self.passes, fits, f"pass over {name} with {facts}", within_seconds
        )
        self.passes.remove(found)
        return found

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of a probe; call it once the process has `started`."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}{path}", timeout=DEADLINE_S
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def _first(
        self,
        lines: list[Mapping[str, Any]],
        fits: Callable[[Mapping[str, Any]], bool],
        what: str,
        within_seconds: float,
    ) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(within_seconds), self._news:
                while True:
                    for line in lines:
                        if fits(line):
                            return line
                    await self._news.wait()
        except TimeoutError:
            said = "\n".join(json.dumps(line) for line in self.logs[-20:])
            raise AssertionError(
                f"no {what}\npasses: {self.passes}\nlogs:\n{said}\n{self.noise}"
            ) from None

    async def _read(self, stream: asyncio.StreamReader, lines: list[Mapping[str, Any]]) -> None:
        while line := await stream.readline():
            try:
                document = json.loads(line)
            except ValueError:
                self.noise.append(line.decode())
                continue
            async with self._news:
                lines.append(document)
                self._news.notify_all()


Start = Callable[..., RecordingOperator]
"""The fixture `start`: begins one, with more settings by keyword."""


def stream(namespace: str, name: str = "a", **metadata: Any) -> dict[str, Any]:
    """An object for it to be called for."""
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
    }


async def _lines(pipe: int) -> asyncio.StreamReader:
    """What comes out of a pipe, which is closed at its end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    return reader


def run(build: BuildReconcilers) -> int:
    """Be the operator, with these reconcilers; its exit code."""
    found = settings.from_environment(os.environ)
    try:
        app.main(found, build)
    except OutboxError:  # in the log, as its last line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(build))
