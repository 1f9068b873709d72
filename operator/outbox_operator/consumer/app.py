"""Wire a consumer process together and keep it running.

Called by `outbox consume`. NATS, the durable consumer and the inbox database may be away at the
start or go away later: the process says so on /readyz, waits and goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.adapters.postgres.inbox import InboxStore
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.adapters.source import Source
from outbox_operator.aio import Backoff, wait
from outbox_operator.consumer import error_text, sources
from outbox_operator.consumer.breaker import Breaker
from outbox_operator.consumer.disposition import Policy
from outbox_operator.consumer.handler_calls import Inbox
from outbox_operator.consumer.handlers import loader
from outbox_operator.consumer.handlers.http import HttpHandler
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import Handler
from outbox_operator.consumer.loop import Loop
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.consumer.pace import Pace
from outbox_operator.consumer.processor import Processor
from outbox_operator.consumer.progress import Letters, Progress
from outbox_operator.consumer.settings import BY_HAND
from outbox_operator.consumer.suspects import Suspects
from outbox_operator.consumer.telling import telling
from outbox_operator.consumer.traces import (
    Processing,
    TracedHandler,
    TracedInbox,
    TracedProcessor,
    Traces,
)
from outbox_operator.consumer.trials import Trials
from outbox_operator.consumer.watchdog import Watchdog, all_ended
from outbox_operator.consumer.workers import is_ordered
from outbox_operator.errors import (
    AccessDeniedError,
    OutboxError,
    SpecError,
)
from outbox_operator.reasons import Reason
from outbox_operator.telemetry import tracing
from outbox_operator.telemetry.health import Check, HealthServer
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.telemetry.tracer import Tracer
from outbox_operator.telemetry.tracing import process_spans_are_children
from outbox_operator.wire.config import ConsumerConfig

log = logging.getLogger(__name__)

_ABSENT: Final = (Reason.CONSUMER_MISSING, Reason.STREAM_NOT_FOUND)
RETRY_SECONDS: Final = (1.0, 15.0)
"""First and longest pause between attempts to reach a server: recovery within this time."""
MOST_INBOX_CONNECTIONS: Final = 32
"""More transactions at once help no database; further messages wait their turn."""


@dataclass(slots=True)
class _States:
    broker: ServerState = field(default_factory=ServerState)
    durable: ServerState = field(default_factory=ServerState)
    inbox: ServerState = field(default_factory=ServerState)
    start: ServerState = field(default_factory=lambda: ServerState(reason="not started yet"))


Around = Callable[[Callable[..., Any]], Callable[..., Any]]


def build_handler(config: ConsumerConfig, around: Around | None = None) -> Handler:
    """Make the handler that a configuration names.

    Args:
        config: Names it.
        around: A decorator for Python functions that are not async; see `Handlers.around`.

    Raises:
        SpecError: A Python handler cannot be loaded.
    """
    if config.http is not None:
        return HttpHandler(config.http, connections=config.concurrency)
    if config.python is None:
        raise SpecError("configuration: set exactly one of http and python, found none")
    loaded = loader.load(config.python.module)
    if around is not None:
        handlers = loaded if isinstance(loaded, Handlers) else Handlers.of(loaded)
        loaded = handlers.around(around)
    return PythonHandler(
        config.python.module,
        loaded,
        timeout=config.python.timeout_seconds,
        unhandled=config.python.unhandled or "DeadLetter",
        threads=config.concurrency,
    )


class App:
    """One consumer process.

    Args:
        config: What to consume.
        handler: Who handles.
        tracer: Makes spans; None: nobody wants any.
        inbox_login: Of the inbox's database; None: the files that `config` names have it.
        serves: Whether to answer probes on a port.

    Raises:
        SpecError: The handler needs an inbox, and there is none.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        handler: Handler,
        tracer: Tracer | None = None,
        *,
        inbox_login: Login | None = None,
        serves: bool = True,
    ) -> None:
        if config.inbox is None and handler.needs_inbox:
            raise SpecError(
                f"handler {handler.name}: what takes {', '.join(handler.needs_inbox)} writes "
                "through the connection of an inbox, and this consumer has none: declare `inbox`"
            )
        self._config = config
        self._serves = serves
        self._handler = handler
        self._stopping = asyncio.Event()
        self._states = _States()
        self._progress = Progress(handler.name)
        self._letters = Letters(sources.letters_to(config) or "")
        self.metrics = ConsumerMetrics(config)
        self._inbox = _inbox(config, inbox_login, handler, self._transaction_ended)
        breaker = Breaker(config.breaker_failures)
        policy = Policy(
            max_deliver=config.max_deliver,
            backoff=config.backoff_seconds,
            give_up_after=config.give_up_after_seconds,
        )
        pace = Pace(config.concurrency)
        server = config.nats or config.redis
        url = "" if server is None else server.url
        self._trials = Trials(f"{url} {config.stream} {config.durable}")
        suspects = Suspects(
            policy,
            config.ack_wait_seconds,
            self._trials,
            ordered=is_ordered(config),
            retry_of=handler.retry,
        )
        inbox: Inbox | None = self._inbox
        traces = None
        if tracer is not None:
            children = process_spans_are_children(os.environ)
            traces = Traces(tracer, config, handler, children=children)
            handler = TracedHandler(handler, traces)
            inbox = TracedInbox(inbox, traces) if inbox is not None else None
        processor: Processing = Processor(
            config, handler, inbox, self.metrics, self._progress, self._letters, breaker,
            policy, suspects, pace, traces=traces,
        )  # fmt: skip
        if traces is not None:
            processor = TracedProcessor(processor, traces)
        self._loop = Loop(
            config, handler, processor, breaker, suspects, pace, self.metrics, self._stopping
        )
        self.checks = self._checks()
        self.health = HealthServer(config.health_port, self.checks, registry=self.metrics.registry)

    def stop(self) -> None:
        """Drain and end `run`. May be called more than once."""
        self._stopping.set()
        self._loop.wake()

    async def run(self) -> None:
        """Consume until `stop` is called."""
        log.info(
            "consumer %s reads %s of stream %r for handler %s",
            self._config.consumer,
            sources.what(self._config),
            self._config.stream,
            self._handler.name,
        )
        retry = Backoff(*RETRY_SECONDS)
        async with self.health if self._serves else contextlib.nullcontext():
            try:
                await self._start_handler()
                while not self._stopping.is_set():
                    try:
                        await self._connected()
                    except OutboxError as error:
                        log.debug("connection ended: %s", error)
                        await wait(self._stopping, retry.next())
                    else:
                        retry.reset()
            finally:
                await self._handler.close()
                if self._inbox is not None:
                    await self._inbox.close()
                self._trials.close()
        log.info("stopped")

    def _transaction_ended(self, what: str) -> None:
        self.metrics.errors(Reason.TRANSACTION_ENDED).inc()
        log.error("%s", what)

    async def _start_handler(self) -> None:
        """Start the handler, however often that fails at first."""
        retry = Backoff(*RETRY_SECONDS)
        while not self._stopping.is_set():
            try:
                await self._handler.start()
            except Exception as error:  # noqa: BLE001 - the application's own
                self._states.start.set(
                    False,
                    f"handler {self._handler.name} cannot start: {error_text.describe(error)}",
                )
                await wait(self._stopping, retry.next())
            else:
                self._states.start.set(True, f"handler {self._handler.name} started")
                return

    async def _connected(self) -> None:
        """Read over one connection, until stopped.

        Raises:
            OutboxError: No connection can be made, or it is closed for good.
        """
        reports = sources.Reports(
            state=self._states.broker,
            on_delivery=self._loop.deliver,
            on_change=self._loop.wake,
            on_refused=self._loop.answer_refused,
        )
        async with sources.session(self._config, reports, self._stopping) as session:
            keeping = asyncio.create_task(self._loop.keep_in_progress(session.source))
            try:
                await self._read(session)
            finally:
                keeping.cancel()

    async def _read(self, session: sources.Session) -> None:
        """Read the source, however often it or the inbox goes away.

        Raises:
            OutboxError: The connection is closed for good.
        """
        source = session.source
        retry = Backoff(*RETRY_SECONDS)
        while not self._stopping.is_set():
            try:
                if self._inbox is not None:
                    with self._states.inbox.reporting():
                        await self._inbox.check()
                    self._states.inbox.set(True, f"connected to {self._inbox.address}")
                with self._states.durable.reporting():
                    await self._open(source)
                    if self._loop.must_settle:
                        self._states.durable.set(
                            False,
                            f"{sources.what(self._config)}: acknowledgements are accepted again; "
                            "what handlers began before ends first, for the order",
                        )
                    await self._loop.settle(source)
                    self._states.durable.set(True, f"reading {self._config.durable!r}")
                    retry.reset()
                    await self._loop.run(source)
            except OutboxError as error:
                self.metrics.errors(error.reason).inc()
                if session.is_over():
                    raise
                if isinstance(error, AccessDeniedError):
                    await source.close()
                await wait(self._stopping, retry.next())

    async def _open(self, source: Source) -> None:
        """Open the source; where a person named what is not there, say what is.

        Not where a resource did: what others have in the same account is not told to its readers.

        Raises:
            OutboxError: See `Source.open`.
        """
        try:
            await source.open()
        except OutboxError as error:
            if self._config.namespace != BY_HAND or error.reason not in _ABSENT:
                raise
            try:
                others = await source.others()
            except OutboxError:
                raise error from None
            there = sources.nearest(self._config, others)
            raise type(error)(f"{error.message}; {there}", reason=error.reason) from error

    def _checks(self) -> dict[str, Check]:
        states = self._states
        checks: dict[str, Check] = {
            "nats" if self._config.redis is None else "redis": states.broker.check,
            "consumer": self._check_durable,
            "handler": self._check_handler,
        }
        if self._inbox is not None:
            checks["inbox"] = states.inbox.check
        if self._config.dead_letter_subject is not None:
            checks["deadLetters"] = lambda: self._letters.check(time.monotonic())
        return checks

    def _check_durable(self) -> tuple[bool, str]:
        ok, reason = self._states.durable.check()
        return (False, self._loop.stalled) if ok and self._loop.stalled else (ok, reason)

    def _check_handler(self) -> tuple[bool, str]:
        start = self._states.start.check()
        return self._progress.check(time.monotonic()) if start[0] else start


async def main(config: ConsumerConfig, around: Around | None = None) -> bool:
    """Run a consumer process until SIGTERM or SIGINT; then drain. `around` as `build_handler`.

    Returns:
        Whether everything has ended; else only the end of the process ends it.

    Raises:
        SpecError: The handler cannot be loaded.
    """
    handler = build_handler(config, around)
    # Behind the application's own code, which may have set OpenTelemetry up.
    name, namespace = f"{config.consumer}-consumer", config.namespace
    tracer = tracing.start("consumer", name=name, namespace=namespace)
    app = App(config, handler, tracer)
    gc.freeze()  # what these have imported, too: see `cli.event_loop`
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    with bind(consumer=f"{namespace}/{config.consumer}"):
        told: contextlib.AbstractAsyncContextManager[None] = contextlib.nullcontext()
        if config.namespace == BY_HAND:
            told = telling(app.metrics)
        with Watchdog():
            async with told:
                await app.run()
        ended = await all_ended()
    if tracer is not None:
        tracer.close()
    return ended


def _inbox(
    config: ConsumerConfig,
    login: Login | None,
    handler: Handler,
    on_ended: Callable[[str], None],
) -> InboxStore | None:
    if config.inbox is None:
        return None
    return InboxStore(
        resolve(login or Login.from_files(config.inbox)),
        consumer_name=f"{config.namespace}/{config.consumer}",
        schema=config.inbox.schema,
        mode=config.inbox.mode,
        size=min(config.concurrency, MOST_INBOX_CONNECTIONS),
        handler=handler.name,
        lends=handler.wants_connection,
        prepare=handler.prepare,
        on_ended=on_ended,
    )
