"""The laptop as verbs see it: `cli.cluster.port.Cluster` over the folder of `outbox dev`."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from outbox_operator import aio
from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref, name_selector
from outbox_operator.adapters.kubernetes.transport import TooLargeError
from outbox_operator.api import meta
from outbox_operator.cli import endings
from outbox_operator.cli.laptop import logs, looking, objects
from outbox_operator.cli.laptop.looking import Servers
from outbox_operator.cli.laptop.parser import Named
from outbox_operator.cli.laptop.statuses import Status
from outbox_operator.dev import applied, locks, manifest
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.options import RUN_FOLDER
from outbox_operator.dev.servers import (
    DATABASE_URL_FILE,
    LOCK_FILE,
    NATS_URL_FILE,
    REDIS_URL_FILE,
)
from outbox_operator.errors import KubernetesError, NotSupportedError, SpecError
from outbox_operator.plan.archives import archive_of
from outbox_operator.wire.config import CONFIG_PATH_ENV

if TYPE_CHECKING:
    from outbox_operator.cli.laptop.tasks import Tasks

_LOOK_SECONDS: Final = 0.5


class Laptop:
    """What `outbox dev` runs, or ran last, with the data of a folder.

    Args:
        folder: Its `--data`, absolute.
        resources: What it runs.
        servers: What it runs them with.
    """

    def __init__(self, folder: Path, resources: Resources, servers: Servers) -> None:
        self._folder = folder
        self._resources = resources
        self._servers = servers
        self._tasks: Tasks | None = None
        self._turn = asyncio.Lock()
        self._looked: tuple[float, dict[tuple[str, str, str], Status]] | None = None

    @classmethod
    def open(cls, folder: Path) -> Laptop:
        """Look what there is.

        Raises:
            SpecError: `outbox dev` has never run with that folder.
        """
        path = folder / applied.RESOURCES_FILE
        try:
            documents = applied.documents(folder)
        except OSError as error:
            if locks.is_taken(folder / LOCK_FILE):
                raise SpecError(f"{_away(folder)}: again when it shows its table") from error
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise SpecError(f"{path}: {error.strerror or error}") from error
            raise SpecError(
                f"`outbox dev -f FILE` has not run with folder {folder.absolute()}: start it here, "
                "go to the folder where it was started, or give its --data FOLDER"
            ) from error
        except ValueError as error:
            raise SpecError(f"{path}: is not JSON; start `outbox dev` again") from error
        return cls(folder.absolute(), manifest.read(documents, str(path)), _servers(folder))

    @property
    def is_laptop(self) -> bool:
        """Nobody else works with it."""
        return True

    @property
    def away(self) -> str | None:
        """Why there are no servers to ask."""
        return self._servers.away

    @property
    def context(self) -> str:
        """Its name, for messages."""
        return f"outbox dev in {self._folder}"

    @property
    def namespace(self) -> str | None:
        """That of what runs here."""
        first = next(objects.bodies(self._resources), None)
        return None if first is None else str(first["metadata"]["namespace"])

    def only(self, what: Named) -> str:
        """The name of the only one that there is, for a verb that was given none.

        Raises:
            SpecError: There are several, or there is none.
        """
        resources, kind = self._resources, "OutboxPipeline"
        names = sorted(one.meta.name for one in resources.pipelines)
        if what == "archive":
            archives = (one for one in resources.consumers if archive_of(one.spec) is not None)
            names, kind = sorted(one.meta.name for one in archives), "archive of an EventConsumer"
        if len(names) == 1:
            return names[0]
        if not names:
            raise SpecError(f"{self.context}: no {kind} is among what it runs")
        raise SpecError(f"which {what}? There are {', '.join(names)}: name one of them")

    async def get(self, ref: Ref) -> dict[str, Any] | None:
        """An object; None: there is none."""
        if ref.plural == meta.PLURALS[meta.TASK]:
            return await self._tasks.get(ref.name, ref.namespace) if self._tasks else None
        found, _ = await self.list(
            ref.api_version, ref.plural, ref.namespace, field_selector=name_selector(ref.name)
        )
        return found[0] if found else None

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a task, which ends with the command."""
        if manifest["kind"] != meta.TASK:
            raise NotSupportedError(f"{manifest['kind']}: none is made on a laptop")
        from outbox_operator.cli.laptop.tasks import Tasks

        if self._tasks is None:
            self._tasks = Tasks(self._resources, self._servers)
        return await self._tasks.create(manifest)

    async def delete(self, ref: Ref, uid: str | None = None) -> bool:
        """Whether there was something to delete."""
        raise NotSupportedError(f"{ref}: nothing is deleted on a laptop")

    def log(
        self, pod: Ref, query: Mapping[str, str], *, follow: bool = False
    ) -> AsyncIterator[str]:
        """Lines of a process's log."""
        if "previous" in query:
            raise NotSupportedError(f"{pod}: its log has the runs before as well")
        return logs.lines(self._servers.run / f"{pod.name}.log", query, follow=follow)

    async def run_in_pod(
        self,
        pod: Ref,
        container: str,
        command: Sequence[str],
        *,
        most_bytes: int,
        seconds: float,
        stdin: bytes = b"",
    ) -> Ran:
        """Run a command of ours with the configuration of a process.

        Raises:
            KubernetesError: It does not end in time; TooLargeError: it prints more than that.
            DependencyError: The servers are away.
        """
        self._servers.check()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "outbox_operator.cli.main", *command[1:],
            env={**os.environ, CONFIG_PATH_ENV: str(self._servers.run / f"{pod.name}.json")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate(stdin)
        except TimeoutError as error:
            raise KubernetesError(f"{command[1]}: no end within {seconds:g} s") from error
        finally:
            await aio.end(process, endings.END_SECONDS)
        if len(out) > most_bytes:
            raise TooLargeError(f"{command[1]}: it printed over {most_bytes} bytes")
        return Ran(code=process.returncode or 0, out=out, err=err.decode("utf-8", "replace"))

    async def user_name(self) -> str:
        """Who asks."""
        return getpass.getuser()

    async def close(self) -> None:
        """What is not at its end stops."""
        if self._tasks is not None:
            await self._tasks.close()

    async def list(
        self,
        api_version: str,
        plural: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        field_selector: str | None = None,
        metadata_only: bool = False,
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind."""
        there = [
            *objects.bodies(self._resources), *objects.pods(self._resources, self._servers.run)
        ]  # fmt: skip
        kind = objects.KINDS.get(plural)
        found = [
            body
            for body in there
            if body["kind"] == kind and namespace in (None, body["metadata"]["namespace"])
        ]
        found = objects.matching(found, label_selector, field_selector)
        if found and api_version == meta.API_VERSION and not metadata_only:
            seen = await self._look()
            for body in found:
                body["status"] = seen[objects.place(body)]
        return found, ""

    async def _look(self) -> dict[tuple[str, str, str], Status]:
        """Statuses of now: those who ask at once get the same."""
        async with self._turn:
            now = time.monotonic()
            if self._looked is None or now - self._looked[0] > _LOOK_SECONDS:
                self._looked = now, await looking.look(self._resources, self._servers)
            return self._looked[1]


def _servers(folder: Path) -> Servers:
    """The servers of a folder; away, unless `outbox dev` runs with it."""
    run = (folder / RUN_FOLDER).absolute()
    with suppress(OSError, ValueError):
        database_url = (folder / DATABASE_URL_FILE).read_text("utf-8").strip()
        nats_url = (folder / NATS_URL_FILE).read_text("utf-8").strip()
        redis_file = folder / REDIS_URL_FILE
        redis_url = redis_file.read_text("utf-8").strip() if redis_file.exists() else None
        if locks.is_taken(folder / LOCK_FILE):
            return Servers(
                database_url=database_url, nats_url=nats_url, redis_url=redis_url, run=run
            )
    return Servers(database_url="", nats_url="", run=run, away=_away(folder))


def _away(folder: Path) -> str:
    word = "is only starting" if locks.is_taken(folder / LOCK_FILE) else "does not run"
    return f"`outbox dev` {word} with folder {folder.absolute()}"
