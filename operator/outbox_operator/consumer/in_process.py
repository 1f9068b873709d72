"""A consumer inside a process of the application's own: a web service, a script, a test.

Imported by applications through `outbox_operator.consumer`. Importing it needs the standard
library only; entering the block needs the extra `consumer`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import math
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args, get_origin, get_type_hints

from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.errors import SpecError, needing

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from outbox_operator.consumer.app import App

log = logging.getLogger(__name__)

_SECRET: Final = ("nats", "inbox")
_BY_URL: Final = "(a URL that the application gave)"


class Consumer:
    """Reads a durable consumer for as long as a block is open, beside whatever the process does.

        consumer = Consumer(handlers, stream="ORDERS", durable="orders-billing")

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with consumer:
                yield

    The block opens at once, whether NATS, the durable consumer and the database are there or not:
    they are waited for, and `checks` says so. Its end takes no more events, lets handlers end,
    gives the others back, and is over after `drain_seconds` and a few seconds more.

    Credentials for NATS come as files, in the variables that container handlers are given.

    Args:
        handlers: Who handles.
        nats: Servers; default: the variable `NATS_URL`.
        stream: Stream to read; default: `OUTBOX_STREAM`.
        durable: Durable consumer of it, which exists; default: `OUTBOX_CONSUMER`.
        inbox: URL of the database whose inbox remembers what was handled; default: the file that
            `OUTBOX_INBOX_URL_FILE` names; without either each event may be handled several times.
        dead_letters: Subject prefix of the dead-letter stream; default: there is none, and an
            event that is given up is terminated.
        ordering: `PerKey` handles the events of a key one after the other.
        unhandled: What becomes of events that no handler takes.
        concurrency: Most calls at the same time.
        max_deliver: Failed attempts before an event is given up; -1: for ever.
        backoff: Seconds before each further attempt, the last one repeats; empty: exponential.
        timeout: Seconds a call may take.
        drain_seconds: How long handlers may go on when the block ends.

    Raises:
        SpecError: An argument is of another type, or the timeout is none.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        nats: str | None = None,
        stream: str | None = None,
        durable: str | None = None,
        inbox: str | None = None,
        dead_letters: str | None = None,
        ordering: Literal["None", "PerKey"] = "None",
        unhandled: Literal["DeadLetter", "Ack"] = "DeadLetter",
        concurrency: int = 16,
        max_deliver: int = 16,
        backoff: tuple[float, ...] = (),
        timeout: float = 300.0,
        drain_seconds: float = 25.0,
    ) -> None:
        _check({name: one for name, one in locals().items() if name != "self"})
        if not 0 < timeout < math.inf:
            raise SpecError(f"Consumer: timeout: wanted seconds, more than 0, found {timeout}")
        self._handlers = handlers
        self._inbox = inbox
        self._timeout = timeout
        self._settings: dict[str, Any] = {
            "backoff_seconds": tuple(backoff),
            "drain_seconds": drain_seconds,
        }
        self._options: dict[str, Any] = {
            "module": "handlers", "nats": nats, "stream": stream, "durable": durable,
            "inbox_url_file": None if inbox is None else _BY_URL, "dead_letters": dead_letters,
            "ordering": ordering, "unhandled": unhandled, "concurrency": concurrency,
            "max_deliver": max_deliver, "health_port": 0,
        }  # fmt: skip
        self._app: App | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to read.

        Raises:
            SpecError: A setting is missing or wrong, or a handler can handle nothing; or the block
                is open already, or the extra `consumer` is not installed.
        """
        if self._task is not None:
            raise SpecError("consumer: it reads already; one block at a time")
        self._app = self._build()
        self._task = asyncio.create_task(self._run(self._app))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain and end."""
        app, task, self._task = self._app, self._task, None
        if app is not None and task is not None:
            app.stop()
            await task

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """The block as the lifespan of an ASGI application that has no other:
        `FastAPI(lifespan=consumer.lifespan)`, and the same with Starlette.

        Raises:
            SpecError: As entering the block.
        """
        async with self:
            yield

    @property
    def checks(self) -> dict[str, tuple[bool, str]]:
        """What the consumer needs, whether it is there, and a sentence about it; for readiness.

        `nats`, `consumer` (the durable consumer), `handler`, and with them `inbox` and
        `deadLetters`. Empty before the block.
        """
        return {} if self._app is None else {n: check() for n, check in self._app.checks.items()}

    @property
    def ready(self) -> bool:
        """Whether it reads, and all `checks` hold."""
        found = self.checks
        reads = self._task is not None and not self._task.done()
        return reads and all(ok for ok, _ in found.values())

    @property
    def registry(self) -> CollectorRegistry | None:
        """Its metrics, to be collected with the application's own; None before the block."""
        return None if self._app is None else self._app.metrics.registry

    def _build(self) -> App:
        with needing("consumer"):
            from outbox_operator.adapters.postgres.url import Login
            from outbox_operator.consumer import settings
            from outbox_operator.consumer.app import App
            from outbox_operator.consumer.handlers.python import PythonHandler

        config = settings.by_hand(self._options, os.environ)
        config = dataclasses.replace(config, **self._settings)
        settings.check(config, "of Consumer")
        handler = PythonHandler(
            config.durable,
            self._handlers,
            timeout=self._timeout,
            threads=config.concurrency,
            unhandled=self._options["unhandled"],
        )
        login = None if self._inbox is None else Login(url=self._inbox)
        return App(config, handler, inbox_login=login, serves=False)

    async def _run(self, app: App) -> None:
        from outbox_operator.telemetry.logging import bind

        with bind(consumer=self._options["durable"] or os.environ.get("OUTBOX_CONSUMER")):
            try:
                await app.run()
            except Exception:
                log.exception("the consumer ended; nothing is read any more")
                raise


def _check(given: Mapping[str, object]) -> None:
    """Refuse arguments that are not of the type which `Consumer` annotates them with.

    What is found is not said where it may hold a password.
    """
    wanted = get_type_hints(Consumer.__init__)
    shown = inspect.get_annotations(Consumer.__init__)
    for name, value in given.items():
        if not _fits(value, wanted[name]):
            found = f"{value!r:.100}"
            if name in _SECRET or "://" in found:
                found = type(value).__name__
            raise SpecError(f"Consumer: {name}: wanted {shown[name]}, found {found}")


def _fits(value: object, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inside
    if origin is UnionType:
        return any(_fits(value, one) for one in inside)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, inside[0]) for one in value)
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, kind)
