"""`outbox dev`: servers, tables, streams, processes and a live table, until Ctrl-C.

Called by the verb. Order of the start: servers, then what the manifests declare, then relay and
consumers; the end is the other way round, so that nothing in flight is cut off.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.aio import wait
from outbox_operator.dev import locks, setup
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.printer import printer
from outbox_operator.dev.processes import Processes, Servers, jobs
from outbox_operator.dev.table import ConsumerNumbers, PipelineNumbers, Sample, render
from outbox_operator.embedded.nats import EmbeddedNats
from outbox_operator.embedded.postgres import EmbeddedPostgres
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.names import durable_name

DATABASE_URL_FILE: Final = "database-url"
NATS_URL_FILE: Final = "nats-url"
RESOURCES_FILE: Final = "resources.json"
RUN_FOLDER: Final = "run"
LOCK_FILE: Final = "lock"
"""Held as long as `outbox dev` runs with a folder."""
_SAMPLE_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for.

    Attributes:
        folder: Where servers keep their data, and logs and configurations go.
        database_url: Of a database to use instead of an embedded one.
        nats_url: Of a server to use instead of an embedded one.
        endpoints: URLs that replace those of HTTP handlers, by the name of the consumer.
        printed: Whether all other HTTP handlers are replaced by one that prints the events.
    """

    folder: Path
    database_url: str | None = None
    nats_url: str | None = None
    endpoints: dict[str, str] = field(default_factory=dict)
    printed: bool = False


async def run(
    resources: Resources,
    options: Options,
    *,
    say: Callable[[str], None],
    show: Callable[[list[str]], None],
) -> None:
    """Run everything until SIGINT or SIGTERM.

    Args:
        say: Takes one line for a person.
        show: Takes the table anew each second.

    Raises:
        OutboxError: Something could not be started; everything has been stopped again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    endpoints = {
        resources.consumer_with_http_handler(name): url for name, url in options.endpoints.items()
    }
    async with _alone(options.folder), servers(options) as where, AsyncExitStack() as stack:
        if options.printed:
            url = await stack.enter_async_context(printer(say))
            endpoints = {name: f"{url}/{name}" for name in resources.http_consumers()} | endpoints
        database_url = where.database_url_file.read_text()
        documents = json.dumps(resources.documents, default=str)
        (options.folder / RESOURCES_FILE).write_text(documents)
        await setup.set_up(resources, database_url=database_url, nats_url=where.nats_url)
        work = jobs(resources, where, endpoints)
        async with Processes(work, options.folder / RUN_FOLDER) as processes:
            say(f"database  {where.database_url_file} holds its URL")
            say(f"nats      {where.nats_url}")
            say(f"logs      {options.folder / 'run'}/*.log: {', '.join(job.name for job in work)}")
            say("Ctrl-C stops; the data stay for the next run")
            await _watch(resources, processes, where, database_url, stop, show)
            say("stopping")


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Within it no other `outbox dev` works with a folder.

    Raises:
        ConflictError: One does.
    """
    lock = locks.FileLock(folder / LOCK_FILE)
    if not await lock.take_within(_LOCK_SECONDS):  # a verb that looks has it for a moment
        raise ConflictError(
            f"folder {folder}: `outbox dev` runs with it already (process {lock.holder()}); end "
            "that one, or choose another folder with --data"
        )
    try:
        # Those of the run before: their ports may be another's by now.
        for name in (DATABASE_URL_FILE, NATS_URL_FILE):
            (folder / name).unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@asynccontextmanager
async def servers(options: Options) -> AsyncIterator[Servers]:
    """The servers to work with: those given, and embedded ones for the rest."""
    folder = options.folder
    async with AsyncExitStack() as stack:
        starts: list[Awaitable[object]] = []
        if options.database_url is None:
            postgres = EmbeddedPostgres(folder / "postgres")
            starts.append(asyncio.to_thread(postgres.start))
            stack.push_async_callback(asyncio.to_thread, postgres.stop)
        if options.nats_url is None:
            nats = EmbeddedNats(folder / "nats")
            starts.append(asyncio.to_thread(nats.start))
            stack.push_async_callback(asyncio.to_thread, nats.stop)
        folder.mkdir(parents=True, exist_ok=True)
        # Wait for both before anything is raised: what starts must be stopped.
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        nats_url = options.nats_url or nats.url
        url_file = folder / DATABASE_URL_FILE
        url_file.touch(mode=0o600)
        url_file.write_text(options.database_url or postgres.url())
        (folder / NATS_URL_FILE).write_text(nats_url)
        yield Servers(database_url_file=url_file, nats_url=nats_url)


async def _watch(
    resources: Resources,
    processes: Processes,
    where: Servers,
    database_url: str,
    stop: asyncio.Event,
    show: Callable[[list[str]], None],
) -> None:
    """Show the table each second; servers that are away for a while are said and waited for."""
    before: Sample | None = None
    while not stop.is_set():
        try:
            async with (
                setup.database(database_url) as admin,
                setup.jetstream(where.nats_url) as streams,
            ):
                while not stop.is_set():
                    now = await sample(resources, admin, streams, processes)
                    again = [name for name, count in processes.restarts.items() if count]
                    show(render(now, before, again))
                    before = now
                    await wait(stop, _SAMPLE_SECONDS)
        except OutboxError as error:
            show([error.message])
            await wait(stop, _SAMPLE_SECONDS)


async def sample(
    resources: Resources, admin: PostgresAdmin, streams: JetStreamAdmin, processes: Processes
) -> Sample:
    """The numbers of now."""
    pipelines, consumers = [], []
    for pipeline in resources.pipelines:
        numbers = await admin.sample(pipeline.spec.database.schema_)
        stream = await streams.stream_info(resources.stream_of(pipeline).spec.name)
        pipelines.append(
            PipelineNumbers(
                name=pipeline.meta.name,
                backlog=numbers.backlog_rows,
                backlog_is_estimate=numbers.backlog_is_estimate,
                oldest_seconds=numbers.oldest_age_seconds,
                dead_letters=numbers.dead_letters,
                published=numbers.published_total,
                stored=stream.messages if stream is not None else 0,
            )
        )
    for consumer in resources.consumers:
        source, durable = resources.source_of(consumer).spec.name, durable_name(consumer)
        found = await streams.consumer_info(source, durable)
        if found is not None:
            consumers.append(
                ConsumerNumbers(
                    name=consumer.meta.name,
                    pending=found.pending,
                    ack_pending=found.ack_pending,
                    redelivered=found.redelivered,
                    handled=found.ack_floor,
                    local=f"consumer-{consumer.meta.name}" in processes.running,
                )
            )
    return Sample(seconds=time.monotonic(), pipelines=tuple(pipelines), consumers=tuple(consumers))
