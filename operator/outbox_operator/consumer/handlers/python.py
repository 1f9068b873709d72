"""Call Python functions with events.

A handler for the runtime. Async functions run in the event loop; all others in threads, so that
they may block.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from outbox_operator import aio
from outbox_operator.consumer import error_text
from outbox_operator.consumer.handlers import (
    binding,
    callables,
    deadline,
    hooks,
    outcomes,
    signatures,
    unawaited,
)
from outbox_operator.consumer.handlers.dependencies import Dependencies
from outbox_operator.consumer.handlers.middleware import Call, chained
from outbox_operator.consumer.handlers.notes import explain
from outbox_operator.consumer.handlers.registry import Handlers, Route
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.handlers.threads import Threads
from outbox_operator.consumer.handlers.types import (
    ACK,
    IGNORED,
    Context,
    DeadLetter,
    LeftBehind,
    Outcome,
    ReceivedEvent,
    RetryAfter,
    Unhandled,
    caused,
)
from outbox_operator.errors import HandlerUnavailableError, SpecError
from outbox_operator.wire.declared import declared

log = logging.getLogger(__name__)

END_SECONDS: Final = 10.0
"""Each function at shut-down, and all ends of lifespans together: a pod has half a minute."""
_REMEMBERED_TYPES: Final = 10_000
"""Whose handler is remembered; streams of others may have a type per message."""


@dataclass(frozen=True, slots=True)
class _Call:
    """How a route is called."""

    name: str
    """For messages: with its pattern, and where it is written."""
    bound: Callable[..., Any]
    is_async: bool
    takes: Set[type]
    takes_connection: bool
    timeout: float
    batch: int | None
    retry: Retry | None
    shared_by: tuple[object, ...]
    """Equal for patterns that one decorator gave one function."""


class PythonHandler:
    """Calls functions by event type.

    None and `Ack()` acknowledge; `RetryAfter` and `DeadLetter`, returned or raised, do what they
    say; any other exception is a failed delivery, and any other answer a dead letter.

    Args:
        path: Name of what was loaded, for people.
        loaded: A function that is given every event, or `Handlers`.
        timeout: Seconds a call may take unless its handler says otherwise; then it is cancelled
            (a thread is abandoned) and the event is delivered again.
        threads: Most calls at the same time of functions that are not async.
        unhandled: What becomes of events that no function takes.
        replaced: Who stands in for a dependency, for tests.

    Raises:
        SpecError: A function asks for what nobody can give it, or there is none.
    """

    def __init__(
        self,
        path: str,
        loaded: Callable[..., Any] | Handlers,
        *,
        timeout: float,
        threads: int,
        unhandled: Literal["DeadLetter", "Ack"] = "DeadLetter",
        replaced: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
    ) -> None:
        self._path = path
        self._unhandled = unhandled
        self._alone = not isinstance(loaded, Handlers)
        self._handlers = loaded if isinstance(loaded, Handlers) else Handlers.of(loaded)
        if not self._handlers.routes:
            raise SpecError(
                f"python handler {path!r}: wanted Handlers with a handler, found none: decorate a "
                'function with @app.handler("order.created") or @app.batch(…) when the module is '
                "imported"
            )
        self._dependencies = Dependencies(self._handlers.lifespans, replaced)
        self._threads = Threads(threads)
        calls: dict[str, _Call] = {}
        for route in self._handlers.routes:
            if route.pattern in calls:  # what was added to included handlers afterwards
                raise SpecError(
                    f"python handler {path!r}: event type {route.pattern!r} has several handlers"
                )
            calls[route.pattern] = self._prepare(route, timeout)
        self._calls = calls
        self._by_type: dict[str, _Call | None] = {}
        self.largest_batch = max((call.batch or 1 for call in calls.values()), default=1)
        self.needs_inbox = tuple(self._handlers.needs_inbox)
        self.wants_connection = any(call.takes_connection for call in calls.values())

    def _prepare(self, route: Route, timeout: float) -> _Call:
        name = self._path if self._alone else f"{self._path} ({route.pattern})"
        signature = signatures.read(route.function, name, batch=route.batch is not None)
        _check_declared(route, signature, name)
        bind = binding.bind if route.batch is None else binding.bind_batch
        call = _Call(
            f"{name}{callables.place(route.function)}",
            bind(signature, name, self._dependencies),
            signature.is_async,
            binding.takes(signature),
            signature.is_async,
            route.timeout or timeout,
            route.batch,
            route.retry,
            (
                id(route.function),
                route.batch,
                route.timeout or timeout,
                id(route.retry),
                *map(id, route.middleware),
            ),
        )
        return self._around(call, route) if route.middleware else call

    def _around(self, call: _Call, route: Route) -> _Call:
        """Make of a call one with middleware around it, which is async whatever the function is."""
        handler = getattr(route.function, "__qualname__", type(route.function).__name__)

        async def last(given: Call) -> Any:
            events = given.events[0] if call.batch is None else list(given.events)
            if call.is_async:
                return await call.bound(events, given.context)
            return await self._in_thread(call, events, given.context)

        chain = chained(route.middleware, last)

        async def bound(given: Any, context: Context) -> object:
            if not call.takes_connection:
                context.connection = None  # type: ignore[assignment] # as in `_within`
            events = (given,) if call.batch is None else tuple(given)
            return await chain(Call(handler, events, context))

        return replace(call, bound=bound, is_async=True)

    @property
    def name(self) -> str:
        """`package.module:function`."""
        return self._path

    def batch(self, event_type: str) -> int:
        """Return the size of its batch handler, or 1."""
        call = self._call_of(event_type)
        return 1 if call is None or call.batch is None else call.batch

    def retry(self, event_type: str) -> Retry | None:
        """Return that of the function, or of its collection."""
        call = self._call_of(event_type)
        return None if call is None else call.retry

    def shares_call(self, event_type: str, other: str) -> bool:
        """Return whether both types go to the same function, whichever pattern says so."""
        one, two = self._call_of(event_type), self._call_of(other)
        return one is two or (
            one is not None and two is not None and one.shared_by == two.shared_by
        )

    async def start(self) -> None:
        """Begin lifespans, then call what is decorated with `on_startup`."""
        await self._dependencies.start()
        try:
            for starter in self._handlers.starters:
                await hooks.run(starter)
        except BaseException:
            await self._dependencies.close()
            raise

    async def prepare(self, connection: Any) -> None:
        """Call what is decorated with `on_connect`.

        Raises:
            HandlerUnavailableError: It failed.
        """
        for connector in self._handlers.connectors:
            try:
                await connector(connection)
            except Exception as error:
                raise HandlerUnavailableError(
                    f"handler {self._path}: {getattr(connector, '__name__', 'on_connect')} failed "
                    f"with a new connection of the inbox: {error_text.describe(error)}"
                ) from error

    async def close(self) -> None:
        """Call what is decorated with `on_shutdown`, then end lifespans; each has `END_SECONDS`.

        Threads that still run are not waited for.
        """
        for stopper in self._handlers.stoppers:
            await self._end(hooks.run(stopper), f"{stopper} at shut-down")
        await self._end(self._dependencies.close(), "the end of a lifespan")
        self._threads.close()

    async def _end(self, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        """Run what ends something, as far as it goes; say what went wrong."""
        try:
            await deadline.within(END_SECONDS, coroutine)
        except deadline.TooLateError as late:
            log.error(
                "%s: %s took more than %.6g s, and was cancelled%s",
                self._path, what, END_SECONDS, f"; it is left at {late}" if str(late) else "",
            )  # fmt: skip
        except Exception:
            log.exception("%s: %s failed", self._path, what)

    async def handle(self, event: ReceivedEvent, context: Context) -> Outcome:
        """Call the function for one event.

        Raises:
            HandlerUnavailableError: Abandoned calls occupy all threads.
            Exception: Whatever it raises.
        """
        call = self._call_of(event.type)
        if call is None:
            return self._no_handler(event.type)
        if call.batch is not None:
            return (await self.handle_batch([event], context))[0]
        answer = await self._within(call, event, context)
        return ACK if answer is None else outcomes.read(answer, call.name)

    async def handle_batch(
        self, events: Sequence[ReceivedEvent], context: Context
    ) -> Sequence[Outcome]:
        """Call the function for a list of events. Raises as `handle`."""
        call = self._call_of(events[0].type)
        if call is None:
            return [self._no_handler(event.type) for event in events]
        answer = await self._within(call, events, context)
        if answer is None:
            return [ACK] * len(events)
        if isinstance(answer, Sequence) and len(answer) == len(events):
            return [ACK if one is None else outcomes.read(one, call.name) for one in answer]
        return [outcomes.read(answer, call.name)] * len(events)

    def _call_of(self, event_type: str) -> _Call | None:
        try:
            return self._by_type[event_type]
        except KeyError:
            route = self._handlers.route(event_type)
            call = None if route is None else self._calls[route.pattern]
            if call is None:
                log.warning(
                    "%s has no handler for events of type %r; they %s",
                    self._path,
                    event_type,
                    "become dead letters"
                    if self._unhandled == "DeadLetter"
                    else "are acknowledged",
                )
            if len(self._by_type) >= _REMEMBERED_TYPES:
                self._by_type.clear()
            self._by_type[event_type] = call
            return call

    def _no_handler(self, event_type: str) -> Outcome:
        if self._unhandled == "Ack":
            return IGNORED
        return Unhandled(f"{self._path} has no handler for events of type {event_type!r}")

    async def _within(self, call: _Call, given: Any, context: Context) -> object:
        """Return the function's answer, or what follows when there is none in time."""
        started, asked_before = time.monotonic(), aio.cancellations()
        context.deadline = started + call.timeout
        thrown_away = unawaited.noted()
        try:
            if call.is_async:
                runs = call.bound(given, context)
            else:
                context.connection = None  # type: ignore[assignment] # it belongs to the event loop
                runs = self._in_thread(call, given, context)
            answer = await deadline.bounded(runs, context)
            if thrown_away and not isinstance(answer, RetryAfter | DeadLetter):
                return RetryAfter(reason=thrown_away[0])
            return answer
        except deadline.TooLateError as late:
            return self._too_late(call, context.deadline - started, late)
        except (RetryAfter, DeadLetter) as answer:
            return answer.with_traceback(None)
        except HandlerUnavailableError:
            raise
        except Exception as error:
            events = [given] if call.batch is None else given
            explain(error, context, events, call.takes)
            answered = outcomes.of_error(error, call.retry)
            if answered is None:
                raise
            return answered
        except asyncio.CancelledError:
            if aio.cancellations() > asked_before:
                raise  # it is us who want to end
            return RetryAfter(reason="the function ended with CancelledError")

    def _too_late(self, call: _Call, seconds: float, late: deadline.TooLateError) -> RetryAfter:
        """Return what follows from no answer in time."""
        reason = f"no answer within {seconds:.6g} s"
        if isinstance(late, deadline.LeftBehindError):
            log.error(
                "handler %s: a call goes on although it was cancelled twice and had %.6g s to end "
                "after its time; it is left where it stands, and its event comes again. Give what "
                "it waits for a timeout, also in `finally`, behind the `yield` of a dependency and "
                "where CancelledError is caught. It is at %s",
                self._path,
                deadline.CLEAN_UP_SECONDS + deadline.LEAVE_SECONDS,
                late.place,
            )
            return LeftBehind(reason=f"{reason}, and it did not end: it is at {late.place}")
        return RetryAfter(reason=reason)

    async def _in_thread(self, call: _Call, given: Any, context: Context) -> object:
        if self._threads.all_busy:
            raise HandlerUnavailableError(
                f"handler {self._path}: calls that did not end within {call.timeout:g} s occupy "
                "all its threads; if they never end, restart the pod and give what they wait for "
                "a timeout"
            )
        inside = contextvars.copy_context()
        function = functools.partial(inside.run, call.bound, given, context)
        answer = await asyncio.wrap_future(self._threads.submit(function))
        # Of a function that is not async and calls one that is.
        return await answer if inspect.isawaitable(answer) else answer


def failure(error: BaseException) -> RetryAfter:
    """Return the failed delivery that an exception of a handler is."""
    return caused(RetryAfter(reason=error_text.describe(error)), error)


def _check_declared(route: Route, signature: signatures.Signature, name: str) -> None:
    """Refuse a payload's class that is declared as an event which never comes here."""
    for parameter in signature.parameters:
        for kind in (parameter.annotation, *get_args(parameter.annotation)):
            told = declared(kind) if isinstance(kind, type) else None
            if told is not None and not route.matches(told.type):
                raise SpecError(
                    f"handler {name}{callables.place(route.function)}: parameter "
                    f"{parameter.name!r} is {kind.__qualname__}, which is declared as {told.type!r}"
                )
