"""What `outbox dev` runs once its servers are there, and what follows from another manifest.

Called by `dev.app`, which imports this while the servers start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from outbox_operator.dev import applied, secrets, setup, yaml_file
from outbox_operator.dev.live import Live
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.options import RUN_FOLDER, Options
from outbox_operator.dev.processes import Job, Processes, Replaced, jobs
from outbox_operator.dev.servers import Servers
from outbox_operator.dev.table import Shown
from outbox_operator.errors import OutboxError


class Running:
    """Everything but the servers.

    Args:
        options: What a person asked for.
        where: The servers.
        stop: Set when all this is to end.
        say: Takes one line for a person.
        show: Takes what is on the screen anew each second.
    """

    def __init__(
        self,
        options: Options,
        where: Servers,
        stop: asyncio.Event,
        say: Callable[[str], None],
        show: Callable[[Shown], None],
    ) -> None:
        self._options = options
        self._where = where
        self._stop = stop
        self._say = say
        self._show = show
        self._printer: str | None = None

    async def run(self, resources: Resources, began: float) -> None:
        """Until `stop` is set.

        Args:
            began: When the start began, as `time.monotonic` counts.

        Raises:
            OutboxError: Something cannot be made.
        """
        options, where, say = self._options, self._where, self._say
        async with AsyncExitStack() as stack:
            if options.printed:
                from outbox_operator.dev.printer import printer  # brings a web server

                self._printer = await stack.enter_async_context(printer(say))
            work = self._jobs(resources)
            await self._set_up(resources)
            where.tell()
            processes = Processes(work, options.folder / RUN_FOLDER, keeps_ports=True)
            live = Live(resources, processes, where, self._stop, say, self._show)

            async def apply() -> None:
                await self._apply(processes, live)

            async with processes:
                say(f"database  {where.database_url_file} holds its URL")
                say(f"nats      {where.nats_url}")
                if where.redis_url is not None:
                    say(f"redis     {where.redis_url}")
                names = ", ".join(job.name for job in work)
                say(f"logs      {options.folder / 'run'}/*.log: {names}")
                if options.sources is not None:
                    say(f"reload    when a file of Python below {options.sources} is saved")
                if options.manifests:
                    say(f"apply     {', '.join(map(str, options.manifests))} again when saved")
                say("Ctrl-C stops; the data stay for the next run")
                await live.run(options.sources, options.manifests, apply, began)
                say("stopping")
            live.say_news()

    def _jobs(self, resources: Resources) -> list[Job]:
        """Make the jobs of all. Raises SpecError: there is no consumer for an endpoint."""
        endpoints = {
            resources.consumer_with_http_handler(name): url
            for name, url in self._options.endpoints.items()
        }
        if self._printer is not None:
            printed = {name: f"{self._printer}/{name}" for name in resources.http_consumers()}
            endpoints = printed | endpoints
        for file in secrets.make(self._where.folder, resources):
            self._say(f"secret    {file} is made up; what is called here reads it too")
        return jobs(resources, self._where, endpoints)

    async def _set_up(self, resources: Resources) -> None:
        await setup.set_up(
            resources,
            database_url=self._where.database_url,
            nats_url=self._where.nats_url,
            redis_url=self._where.redis_url,
        )
        applied.keep(self._options.folder, resources)

    async def _apply(self, processes: Processes, live: Live) -> None:
        """Have run what the manifests declare now; say what that is, or why it cannot be."""
        files = ", ".join(map(str, self._options.manifests))
        try:
            resources = yaml_file.resources(self._options.manifests)
            applied.check_change(self._options.folder, resources)
            work = self._jobs(resources)
        except OutboxError as error:
            self._say(f"changed: not applied, what runs stays as it is: {error.message}")
            return
        try:
            await self._set_up(resources)
        except OutboxError as error:
            await self._restore(live.resources)
            self._say(
                f"changed: {files}; what runs stays as it is: {error.message}. Write it as it was, "
                f"or begin with nothing: end this, remove {self._options.folder}, start again"
            )
            return
        replaced = await processes.replace(work)
        before = live.resources.remarks
        live.adopt(resources)
        self._say(f"changed: {files}; {_said(replaced)}")
        for remark in resources.remarks:
            if remark not in before:
                self._say(remark)

    async def _restore(self, resources: Resources) -> None:
        """Undo the half that was made: a table that another pipeline took is given back."""
        try:
            await self._set_up(resources)
        except OutboxError as error:
            self._say(f"what ran before cannot be made again: {error.message}")


def _said(replaced: Replaced) -> str:
    parts = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("new", replaced.new),
            ("begins anew", replaced.anew),
            ("ended, and its tables and streams stay", replaced.ended),
        )
        if names
    ]
    return "; ".join(parts) or "tables, streams and durable consumers are as it says"
