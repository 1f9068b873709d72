"""The servers that `outbox dev` works with, and that nobody else works with its folder.

Called by `dev.app` before anything heavy is imported: servers start while it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from outbox_operator.aio import Backoff, wait
from outbox_operator.dev import locks
from outbox_operator.dev.ends import how
from outbox_operator.embedded.nats import EmbeddedNats
from outbox_operator.embedded.postgres import EmbeddedPostgres
from outbox_operator.embedded.redis import EmbeddedRedis
from outbox_operator.errors import ConflictError, OutboxError

DATABASE_URL_FILE: Final = "database-url"
NATS_URL_FILE: Final = "nats-url"
REDIS_URL_FILE: Final = "redis-url"
LOCK_FILE: Final = "lock"
"""Held as long as `outbox dev` runs with a folder."""
_LOCK_SECONDS: Final = 2.0

_LOOK_SECONDS: Final = 0.5
"""Between two looks whether an embedded server lives."""
_AGAIN_SECONDS: Final = (0.5, 10.0)
"""First and longest pause before one that does not start is tried again."""

T = TypeVar("T")
Embedded = EmbeddedPostgres | EmbeddedNats | EmbeddedRedis


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where things are.

    Attributes:
        folder: Where data and logins are.
        database_url: With a password.
        nats_url: Of a server without logins.
        redis_url: The same; None: nobody needed one at the start.
    """

    folder: Path
    database_url: str = field(repr=False)
    nats_url: str
    redis_url: str | None = None

    @property
    def database_url_file(self) -> Path:
        """File that holds the database's URL, once that is told."""
        return self.folder / DATABASE_URL_FILE

    def tell(self) -> None:
        """Write files with the URLs, once tables and streams are there for who finds them."""
        (self.folder / NATS_URL_FILE).write_text(self.nats_url)
        if self.redis_url is not None:
            (self.folder / REDIS_URL_FILE).write_text(self.redis_url)
        # The last, and at once: programs wait for it.
        half = self.folder / f"{DATABASE_URL_FILE}.new"
        half.touch(mode=0o600)
        half.write_text(self.database_url)
        half.replace(self.database_url_file)


@asynccontextmanager
async def alone(folder: Path) -> AsyncIterator[None]:
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
        for name in (DATABASE_URL_FILE, NATS_URL_FILE, REDIS_URL_FILE):
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
async def servers(
    folder: Path,
    database_url: str | None,
    nats_url: str | None,
    meanwhile: Callable[[], T],
    *,
    say: Callable[[str], None],
    redis: bool = False,
    redis_url: str | None = None,
) -> AsyncIterator[tuple[Servers, T]]:
    """The servers to work with: those given, and embedded ones for the rest.

    Args:
        folder: Where they keep their data.
        database_url: Of a database to use instead of an embedded one.
        nats_url: Of a server to use instead of an embedded one.
        say: Takes one line for a person, when an embedded one ended and is started again.
        redis: Whether one is needed.
        redis_url: Of a server to use instead of an embedded one.
        meanwhile: Called in a thread while they start; the block is given what it returns, too.
    """
    embedded: list[Embedded] = []
    async with AsyncExitStack() as stack:
        starts: list[Awaitable[object]] = []
        if database_url is None:
            postgres = EmbeddedPostgres(folder / "postgres", keeps_port=True)
            embedded.append(postgres)
        if nats_url is None:
            nats = EmbeddedNats(folder / "nats", keeps_port=True)
            embedded.append(nats)
        server = None
        if redis and redis_url is None:
            server = EmbeddedRedis(folder / "redis", keeps_port=True)
            embedded.append(server)
        for one in embedded:
            starts.append(asyncio.to_thread(one.start))
            stack.push_async_callback(asyncio.to_thread, one.stop)
        # Wait for all before anything is raised: what starts must be stopped.
        found, *others = await asyncio.gather(
            asyncio.to_thread(meanwhile), *starts, return_exceptions=True
        )
        for result in (found, *others):
            if isinstance(result, BaseException):
                raise result
        found_at = redis_url if server is None else server.url
        where = Servers(
            folder=folder, database_url=database_url or postgres.url(),
            nats_url=nats_url or nats.url, redis_url=found_at if redis else None,
        )  # fmt: skip
        await stack.enter_async_context(_kept_up(embedded, say))
        yield where, found  # type: ignore[misc]


@asynccontextmanager
async def _kept_up(embedded: Sequence[Embedded], say: Callable[[str], None]) -> AsyncIterator[None]:
    """Within it servers that end by themselves are started again."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_keep_up(one, stop, say)) for one in embedded]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)  # one may be starting


async def _keep_up(server: Embedded, stop: asyncio.Event, say: Callable[[str], None]) -> None:
    pauses, said = Backoff(*_AGAIN_SECONDS), ""
    while not await wait(stop, _LOOK_SECONDS):
        code = server.process.ended
        if code is None:
            continue
        say(f"{server.process.name} ended ({how(code)}), and is started again")
        while not stop.is_set():
            try:
                await asyncio.to_thread(server.start)
            except (OutboxError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    say(f"{server.process.name}: {said}")
                await wait(stop, pauses.next())
            else:
                say(f"{server.process.name} runs again")
                pauses.reset()
                break
