"""Relay and consumers as local processes, started again when they end.

Called by `dev.app` and the pytest plugin. Each process has a configuration file and a log file of
JSON lines in the data folder; secrets are files there too, as in a pod.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outbox_operator.aio import Backoff, wait
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.dev.manifest import Resources
from outbox_operator.embedded.process import stop_orphan
from outbox_operator.plan.jetstream.consumers import handled_by_runtime
from outbox_operator.plan.jetstream.stream_config import dead_letter_prefix
from outbox_operator.plan.kubernetes.runtime_config import consumer_config, relay_config
from outbox_operator.wire.config import (
    CONFIG_PATH_ENV,
    ConsumerConfig,
    DatabaseConfig,
    InboxConfig,
    NatsConfig,
    RelayConfig,
    encode,
)

_RESTART_SECONDS: Final = (0.5, 10.0)
"""First and longest pause before a process is started again."""
_STABLE_SECONDS: Final = 10.0
"""A process that ran for so long was fine; the pauses start anew after it."""
_STOP_SECONDS: Final = 30.0
_HELD_AT_MOST_SECONDS: Final = 300.0
"""What holds it back was killed, and its number may be another's by now."""
_HELD_SECONDS: Final = 0.2
"""Between two looks whether a process may run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where things are.

    Attributes:
        database_url_file: File that holds the database's URL.
        nats_url: Of a server without logins.
    """

    database_url_file: Path
    nats_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process to run.

    Attributes:
        name: For people, logs and files: `relay-orders`.
        verb: Of `outbox`.
        config: What it is told.
    """

    name: str
    verb: str
    config: RelayConfig | ConsumerConfig


def jobs(resources: Resources, servers: Servers, endpoints: dict[str, str]) -> list[Job]:
    """The processes of all resources.

    Args:
        endpoints: URLs that replace those of HTTP handlers, by the name of the EventConsumer.
    """
    found = [_relay(pipeline, resources, servers) for pipeline in resources.pipelines]
    return found + [
        _consumer(consumer, resources, servers, endpoints)
        for consumer in resources.consumers
        if handled_by_runtime(consumer.spec)
    ]


def _relay(pipeline: Pipeline, resources: Resources, servers: Servers) -> Job:
    config = relay_config(pipeline, stream_name=resources.stream_of(pipeline).spec.name)
    url_file = str(servers.database_url_file)
    database = DatabaseConfig(url_file=url_file, schema=config.database.schema)
    config = dataclasses.replace(
        config, database=database, nats=NatsConfig(url=servers.nats_url), health_port=0
    )
    return Job(name=f"relay-{pipeline.meta.name}", verb="relay", config=config)


def _consumer(
    consumer: Consumer, resources: Resources, servers: Servers, endpoints: dict[str, str]
) -> Job:
    stream = resources.source_of(consumer).spec
    config = consumer_config(
        consumer,
        stream_name=stream.name,
        nats=stream.nats,
        dead_letter_prefix=dead_letter_prefix(stream) if stream.deadLetter else None,
    )
    changes: dict[str, object] = {
        "nats": NatsConfig(url=servers.nats_url),
        "health_port": 0,
    }
    if config.inbox is not None:
        changes["inbox"] = InboxConfig(
            url_file=str(servers.database_url_file),
            schema=config.inbox.schema,
            mode=config.inbox.mode,
        )
    endpoint = endpoints.get(consumer.meta.name)
    if config.http is not None and endpoint is not None:
        changes["http"] = dataclasses.replace(config.http, url=endpoint)
    config = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    return Job(name=f"consumer-{consumer.meta.name}", verb="consume", config=config)


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Within it a process of `outbox dev` that ends is not started again.

    Args:
        folder: Where configurations and logs are.
        name: Of the job.
    """
    path = _hold(folder, name)
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _hold(folder: Path, name: str) -> Path:
    return folder / f"{name}.held"


def is_held(folder: Path, name: str) -> bool:
    """Whether somebody who lives holds a process back, and not for ever."""
    path = _hold(folder, name)
    try:
        os.kill(int(path.read_text()), 0)
        return time.time() - path.stat().st_mtime < _HELD_AT_MOST_SECONDS
    except (OSError, ValueError):
        return False


class Processes:
    """The running jobs. Use as an asynchronous context manager: its end stops them.

    Args:
        folder: Where configurations and logs go.
    """

    def __init__(self, jobs: list[Job], folder: Path) -> None:
        self._jobs = jobs
        self._folder = folder
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.restarts = dict.fromkeys((job.name for job in jobs), 0)
        self.running: set[str] = set()

    async def __aenter__(self) -> Processes:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tasks = [asyncio.create_task(self._keep(job), name=job.name) for job in self._jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def log(self, name: str) -> Path:
        """The log file of a job."""
        return self._folder / f"{name}.log"

    async def _keep(self, job: Job) -> None:
        """Run a job until asked to stop; after each end, wait and start it again."""
        path = self._folder / f"{job.name}.json"
        path.write_text(encode(job.config))
        await asyncio.to_thread(stop_orphan, path.with_suffix(".pid"), path, signal.SIGTERM)
        restart = Backoff(*_RESTART_SECONDS, stable_after=_STABLE_SECONDS)
        while not self._stopping.is_set():
            if is_held(self._folder, job.name):
                await wait(self._stopping, _HELD_SECONDS)
                continue
            started = asyncio.get_running_loop().time()
            await self._run(job, path)
            lasted = asyncio.get_running_loop().time() - started
            await wait(self._stopping, restart.next(lasted))
            self.restarts[job.name] += 1

    async def _run(self, job: Job, config: Path) -> None:
        # Handlers are found where the developer stands, as with `python -m`.
        search = (os.getcwd(), os.environ.get("PYTHONPATH"))
        with self.log(job.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "outbox_operator.cli.main", job.verb,
                env={
                    **os.environ,
                    CONFIG_PATH_ENV: str(config),
                    "PYTHONPATH": os.pathsep.join(path for path in search if path),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        config.with_suffix(".pid").write_text(str(process.pid))
        self.running.add(job.name)
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not ended.done():
                process.send_signal(signal.SIGTERM)
                await asyncio.wait({ended}, timeout=_STOP_SECONDS)
            if not ended.done():
                process.kill()
                await ended
            self.running.discard(job.name)
