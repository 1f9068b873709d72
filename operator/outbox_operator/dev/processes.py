"""Relays, consumers and archives as local processes, started again when they end.

Called by `dev.app` and the pytest plugin. Each process has a configuration file and a log file of
JSON lines in the data folder; secrets are files there too, as in a pod.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from outbox_operator.aio import Backoff, wait
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.dev import ends, secrets
from outbox_operator.dev.ends import Ends
from outbox_operator.dev.locks import FileLock
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.servers import Servers
from outbox_operator.embedded.ports import kept_port
from outbox_operator.embedded.process import living, stop_orphan
from outbox_operator.errors import ConflictError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.jetstream.consumers import settles_itself
from outbox_operator.plan.kubernetes.runtime_config import (
    archive_config,
    consumer_config,
    relay_config,
)
from outbox_operator.plan.passes.source import any_source_in, source_in
from outbox_operator.wire.archive import (
    ArchiveBackfill,
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveSealing,
)
from outbox_operator.wire.config import (
    ConsumerConfig,
    DatabaseConfig,
    InboxConfig,
    NatsConfig,
    RedisConfig,
    RelayConfig,
    encode,
)
from outbox_operator.wire.times import format_time

_RESTART_SECONDS: Final = (0.5, 10.0)
"""First and longest pause before a process is started again."""
_STABLE_SECONDS: Final = 10.0
"""A process that ran for so long was fine; the pauses start anew after it."""
_STOP_SECONDS: Final = 30.0
_HELD_SECONDS: Final = 0.1
"""Between two looks whether a process may run again."""
_MOST_HELD_SECONDS: Final = 15.0
"""That one who works with a consumer's place is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process to run.

    Attributes:
        name: For people, logs and files: `relay-orders`.
        verb: Of `outbox`; one or two words.
        config: What it is told.
    """

    name: str
    verb: str
    config: RelayConfig | ConsumerConfig | ArchiveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """Names of the processes that are others than before."""

    new: tuple[str, ...]
    anew: tuple[str, ...]
    ended: tuple[str, ...]


def jobs(resources: Resources, servers: Servers, endpoints: dict[str, str]) -> list[Job]:
    """The processes of all resources.

    Args:
        endpoints: URLs that replace those of HTTP handlers, by the name of the EventConsumer.
    """
    found = [_relay(pipeline, resources, servers) for pipeline in resources.pipelines]
    return found + [
        _consumer(consumer, resources, servers, endpoints)
        if archive is None
        else _archive(consumer, archive, resources, servers)
        for consumer in resources.consumers
        if settles_itself(consumer.spec)
        for archive in (archive_of(consumer.spec),)
    ]


def _relay(pipeline: Pipeline, resources: Resources, servers: Servers) -> Job:
    config = relay_config(pipeline, stream_name=resources.stream_of(pipeline).spec.name)
    url_file = str(servers.database_url_file)
    database = DatabaseConfig(url_file=url_file, schema=config.database.schema)
    redis = None if config.redis is None else RedisConfig(url=servers.redis_url or "")
    nats = NatsConfig(url=servers.nats_url) if redis is None else None
    config = dataclasses.replace(config, database=database, nats=nats, redis=redis, health_port=0)
    return Job(name=f"relay-{pipeline.meta.name}", verb="relay", config=config)


def _consumer(
    consumer: Consumer, resources: Resources, servers: Servers, endpoints: dict[str, str]
) -> Job:
    source = any_source_in(consumer, resources.source_of(consumer))
    config = consumer_config(consumer, source)
    in_redis = config.redis is not None
    changes: dict[str, object] = {
        "nats": None if in_redis else NatsConfig(url=servers.nats_url),
        "redis": RedisConfig(url=servers.redis_url or "") if in_redis else None,
        "health_port": 0,
    }
    if config.inbox is not None:
        changes["inbox"] = InboxConfig(
            url_file=str(servers.database_url_file),
            schema=config.inbox.schema,
            mode=config.inbox.mode,
        )
    handler = consumer.spec.handler
    if config.http is not None and handler is not None and handler.http is not None:
        url = endpoints.get(consumer.meta.name, config.http.url)
        http = dataclasses.replace(config.http, url=url)
        changes["http"] = secrets.with_files(http, servers.folder, handler.http)
    config = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    return Job(name=f"consumer-{consumer.meta.name}", verb="consume", config=config)


def _archive(
    consumer: Consumer, archive: ArchiveHandler, resources: Resources, servers: Servers
) -> Job:
    config = archive_config(consumer, archive, source_in(consumer, resources.source_of(consumer)))
    url_file = str(servers.database_url_file)
    config = dataclasses.replace(
        config,
        database=ArchiveDatabase(url_file=url_file, schema=config.database.schema),
        backfill=None
        if config.backfill is None
        else ArchiveBackfill(url_file=url_file, schema=config.backfill.schema),
        # Of no use to what writes; whoever seals and verifies by hand has this file.
        sealing=None
        if archive.sealing is None
        else ArchiveSealing(every_seconds=seconds(archive.sealing.every)),
        nats=NatsConfig(url=servers.nats_url),
        health_port=0,
    )
    return Job(name=f"consumer-{consumer.meta.name}", verb="archive write", config=config)


@asynccontextmanager
async def held(folder: Path, name: str) -> AsyncIterator[None]:
    """Within it a process of `outbox dev` is not started, and servers do not go.

    Args:
        folder: Where configurations and logs are.
        name: Of the job.

    Raises:
        ConflictError: Somebody else holds it, for long.
    """
    lock = FileLock(_hold(folder, name))
    if not await lock.take_within(_MOST_HELD_SECONDS):
        raise ConflictError(f"{name}: process {lock.holder()} is at work with it")
    try:
        yield
    finally:
        lock.release()


def _hold(folder: Path, name: str) -> Path:
    return folder / f"{name}.held"


def pid_of(folder: Path, name: str) -> int | None:
    """Number of a process of `outbox dev`; None: it does not live.

    Args:
        folder: Where configurations and logs are.
        name: Of the job.
    """
    return living(folder / f"{name}.pid", folder / f"{name}.json")


class Processes:
    """The running jobs. Use as an asynchronous context manager: its end stops them.

    Args:
        folder: Where configurations and logs go.
        keeps_ports: Whether each answers probes and metrics on a port that stays the same.

    Attributes:
        ends: How each ended by itself since it was last begun anew; None: it did not.
        running: Which live.
        ports: Where each answers, by name; with `keeps_ports`, once it was started.
    """

    def __init__(self, jobs: list[Job], folder: Path, *, keeps_ports: bool = False) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._folder = folder
        self._keeps_ports = keeps_ports
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._wanted = {job.name: asyncio.Event() for job in jobs}
        """Set when a process is to end: for good, or to begin anew."""
        self.ends: dict[str, Ends | None] = dict.fromkeys(self._jobs)
        self.running: set[str] = set()
        self.ports: dict[str, int] = {}

    @property
    def python(self) -> list[str]:
        """Names of those that call functions of Python."""
        return [
            job.name
            for job in self._jobs.values()
            if isinstance(job.config, ConsumerConfig) and job.config.python is not None
        ]

    async def __aenter__(self) -> Processes:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in self._jobs:
            self._begin(name)
        return self

    def _begin(self, name: str) -> None:
        ends.keep(self._folder, name, None)
        self._configure(self._jobs[name].config, self._folder / f"{name}.json")
        self._tasks[name] = asyncio.create_task(self._keep(name), name=name)

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        for name in self._wanted:
            self._wanted[name].set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def replace(self, jobs: list[Job]) -> Replaced:
        """Run these from now on: end what is none of them, begin anew what is told otherwise."""
        before, self._jobs = self._jobs, {job.name: job for job in jobs}
        ended = tuple(name for name in before if name not in self._jobs)
        for name in ended:
            self._wanted[name].set()
        await asyncio.gather(*(self._tasks.pop(name) for name in ended), return_exceptions=True)
        for name in ended:
            del self._wanted[name], self.ends[name]
            self.ports.pop(name, None)
            ends.keep(self._folder, name, None)
        anew = tuple(one for one in before if one in self._jobs and self._jobs[one] != before[one])
        for name in anew:
            self._configure(self._jobs[name].config, self._folder / f"{name}.json")
            self.begin_anew(name)
        new = tuple(name for name in self._jobs if name not in before)
        for name in new:
            self._wanted[name], self.ends[name] = asyncio.Event(), None
            self._begin(name)
        return Replaced(new=new, anew=anew, ended=ended)

    def begin_anew(self, name: str) -> None:
        """End a process in good order and start it again; one that waits for its next start, now.

        What it is to run is another program now, so that what was before says nothing.
        """
        self._count(name, None)
        self._wanted[name].set()

    def _count(self, name: str, found: Ends | None) -> None:
        self.ends[name] = found
        ends.keep(self._folder, name, found)

    def log(self, name: str) -> Path:
        """The log file of a job."""
        return self._folder / f"{name}.log"

    async def _keep(self, name: str) -> None:
        """Run a job until asked to stop; after each end, wait and start it again."""
        path = self._folder / f"{name}.json"
        await asyncio.to_thread(stop_orphan, path.with_suffix(".pid"), path, signal.SIGTERM)
        restart = Backoff(*_RESTART_SECONDS, stable_after=_STABLE_SECONDS)
        lock, wanted = FileLock(_hold(self._folder, name)), self._wanted[name]
        while not self._stopping.is_set() and (job := self._jobs.get(name)) is not None:
            if not lock.take():
                await wait(self._stopping, _HELD_SECONDS)
                continue
            wanted.clear()
            started = asyncio.get_running_loop().time()
            try:  # whoever waits for the lock finds the number of what runs
                process = await self._start(job, path)
            except OSError:  # no room for its log, no number for a process
                process = None
            finally:
                lock.release()
            code = None if process is None else await self._run(job, process)
            if wanted.is_set():
                restart.reset()
                continue
            if not lock.take():  # whoever works with its place has ended it
                continue
            lock.release()
            lasted = asyncio.get_running_loop().time() - started
            brief, now = lasted < _STABLE_SECONDS, datetime.now(UTC)
            self._count(name, ends.after(self.ends[name], code=code, brief=brief, at=now))
            await wait(wanted, restart.next(lasted))
        await lock.take_within(_MOST_HELD_SECONDS)  # who works with its place needs the servers
        lock.release()

    def _configure(self, config: RelayConfig | ConsumerConfig | ArchiveConfig, path: Path) -> None:
        path.write_text(encode(config))

    async def _start(self, job: Job, config: Path) -> asyncio.subprocess.Process:
        # Handlers are found where the developer stands, as with `python -m`.
        search = (os.getcwd(), os.environ.get("PYTHONPATH"))
        if self._keeps_ports:
            port = self.ports[job.name] = kept_port(config.with_suffix(".port"))
            self._configure(dataclasses.replace(job.config, health_port=port), config)
        with self.log(job.name).open("ab") as log:
            with suppress(OSError):  # a full disk
                log.write(f"{json.dumps(_beginning(job.verb))}\n".encode())
                log.flush()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "outbox_operator.cli.main", *job.verb.split(),
                "--config", config,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in search if path),
                    "PYTHONUNBUFFERED": "1",  # what a handler prints is seen when it does
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        with suppress(OSError):
            config.with_suffix(".pid").write_text(str(process.pid))
        return process

    async def _run(self, job: Job, process: asyncio.subprocess.Process) -> int | None:
        """Until it ends, or is to; its exit code."""
        self.running.add(job.name)
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._wanted[job.name].wait())
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
        return process.returncode


def _beginning(verb: str) -> dict[str, str]:
    """A line of the log before what a process says that has no time, if it cannot start."""
    return {
        "time": format_time(datetime.now(UTC), "milliseconds"),
        "level": "info",
        "logger": __name__,
        "message": f"outbox {verb} starts",
    }
