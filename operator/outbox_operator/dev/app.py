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

from outbox_operator.dev import locks, setup
from outbox_operator.dev.live import Live
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.printer import printer
from outbox_operator.dev.processes import Processes, Servers, jobs
from outbox_operator.embedded.nats import EmbeddedNats
from outbox_operator.embedded.postgres import EmbeddedPostgres
from outbox_operator.errors import ConflictError

DATABASE_URL_FILE: Final = "database-url"
NATS_URL_FILE: Final = "nats-url"
RESOURCES_FILE: Final = "resources.json"
RUN_FOLDER: Final = "run"
LOCK_FILE: Final = "lock"
"""Held as long as `outbox dev` runs with a folder."""
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
        sources: Folder of the code of Python handlers, which begin anew when a file in it is saved;
            None: they do not.
    """

    folder: Path
    database_url: str | None = None
    nats_url: str | None = None
    endpoints: dict[str, str] = field(default_factory=dict)
    printed: bool = False
    sources: Path | None = None


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
    began, stop = time.monotonic(), asyncio.Event()
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
        documents = json.dumps(resources.documents, default=str)
        (options.folder / RESOURCES_FILE).write_text(documents)
        await setup.set_up(
            resources,
            database_url=where.database_url_file.read_text(),
            nats_url=where.nats_url,
        )
        work = jobs(resources, where, endpoints)
        processes = Processes(work, options.folder / RUN_FOLDER, keeps_ports=True)
        live = Live(resources, processes, where, stop, say, show)
        async with processes:
            say(f"database  {where.database_url_file} holds its URL")
            say(f"nats      {where.nats_url}")
            say(f"logs      {options.folder / 'run'}/*.log: {', '.join(job.name for job in work)}")
            if options.sources is not None:
                say(f"reload    when a file of Python below {options.sources} is saved")
            say("Ctrl-C stops; the data stay for the next run")
            await live.run(options.sources, began)
            say("stopping")
        live.say_news()


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
        _keep_out_of_git(folder)
        # Those of the run before: their ports may be another's by now.
        for name in (DATABASE_URL_FILE, NATS_URL_FILE):
            (folder / name).unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _keep_out_of_git(folder: Path) -> None:
    """Passwords are in there."""
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


@asynccontextmanager
async def servers(options: Options) -> AsyncIterator[Servers]:
    """The servers to work with: those given, and embedded ones for the rest."""
    folder = options.folder
    async with AsyncExitStack() as stack:
        starts: list[Awaitable[object]] = []
        if options.database_url is None:
            postgres = EmbeddedPostgres(folder / "postgres", keeps_port=True)
            starts.append(asyncio.to_thread(postgres.start))
            stack.push_async_callback(asyncio.to_thread, postgres.stop)
        if options.nats_url is None:
            nats = EmbeddedNats(folder / "nats", keeps_port=True)
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
