"""Handlers by event type: the decorators that applications use, and who is called for what.

Imported by applications through `outbox_operator.consumer`; standard library only. Calling them
is `consumer.handlers.python`'s business.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from outbox_operator.consumer.handlers import hooks
from outbox_operator.consumer.handlers.callables import place, runs_in_the_loop
from outbox_operator.consumer.handlers.middleware import Answers, Middleware
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.handlers.types import Outcome
from outbox_operator.errors import SpecError
from outbox_operator.wire.declared import declared
from outbox_operator.wire.event import is_dotted_name

Answer = Outcome | None

F = TypeVar("F", bound=Callable[..., Answer | Awaitable[Answer]])
B = TypeVar("B", bound=Callable[..., Answers | Awaitable[Answers]])
H = TypeVar("H", bound=Callable[[], object])
L = TypeVar("L", bound=Callable[..., AsyncIterator[Any]])
M = TypeVar("M", bound=Middleware)
C = TypeVar("C", bound=Callable[[Any], Awaitable[object]])

LARGEST_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """One handler function.

    Attributes:
        pattern: Event types it accepts: tokens separated by dots, `*` is any one, `>` the rest.
        function: Async or not.
        batch: Most events it is given at once; None: it is given single events.
        timeout: Seconds a call may take; None: the consumer's setting.
        retry: What follows from its exceptions; None: what the consumer's settings say.
        middleware: What runs around each call, the outermost first.
    """

    pattern: str
    function: Callable[..., Any]
    batch: int | None = None
    timeout: float | None = None
    retry: Retry | None = None
    middleware: tuple[Middleware, ...] = ()

    def matches(self, event_type: str) -> bool:
        """Return whether events of a type are for this handler."""
        wanted, found = self.pattern.split("."), event_type.split(".")
        for index, part in enumerate(wanted):
            if part == ">":
                return len(found) > index
            if index >= len(found) or part not in ("*", found[index]):
                return False
        return len(wanted) == len(found)

    @property
    def rank(self) -> tuple[tuple[int, ...], int]:
        """A key that sorts the more specific first: names before `*` before `>`."""
        tokens = self.pattern.split(".")
        return tuple({">": 2, "*": 1}.get(token, 0) for token in tokens), -len(tokens)


class Handlers:
    """A collection of handlers; name it in `handler.python.module` or `outbox consume`.

    An event goes to the most specific handler that accepts its type. One that nobody accepts is a
    dead letter, or is acknowledged if `handler.python.unhandled` says so; the log names each type
    once.

    Args:
        retry: What follows from exceptions of its handlers, unless one says otherwise.
    """

    def __init__(self, *, retry: Retry | None = None) -> None:
        self._retry = _retry(retry)
        self._routes: list[Route] = []
        self._included: list[Handlers] = []
        self._starters: list[Callable[[], object]] = []
        self._connectors: list[Callable[[Any], Awaitable[object]]] = []
        self._stoppers: list[Callable[[], object]] = []
        self._lifespans: list[Callable[..., Any]] = []
        self._middleware: list[Middleware] = []

    def handler(
        self, *event_types: str | type, timeout: float | None = None, retry: Retry | None = None
    ) -> Callable[[F], F]:
        """Decorate a function of single events, async or not.

        Its parameters are filled by their annotations: `ReceivedEvent` gets the event, `Context`
        the circumstances, anything else the payload, decoded and checked (a pydantic model, a
        dataclass, `dict`, `bytes`, …). Without annotations: event, then context.

        Args:
            event_types: For example "order.created", "order.*" or "order.>", or a class that is
                declared with `@event`.
            timeout: Seconds a call may take; default: the consumer's setting.
            retry: What follows from its exceptions; default: that of these handlers.

        Raises:
            SpecError: No type, a malformed one, or a class that is not declared; or what is
                decorated is no function.
        """
        patterns = self._patterns(event_types, timeout)
        _retry(retry)

        def add(function: F) -> F:
            self._add(patterns, function, None, timeout, retry)
            return function

        return add

    def batch(
        self,
        *event_types: str | type,
        size: int,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> Callable[[B], B]:
        """Decorate a function of a list of up to `size` events.

        Annotate its parameter `list[ReceivedEvent]`, or `list[Order]` for the payloads. It
        answers for all, or returns a list with one outcome for each. Events that failed come
        again one by one.

        Raises:
            SpecError: No type, a malformed one, a class that is not declared, a size no batch has;
                or what is decorated is no function.
        """
        given: object = size
        if type(given) is not int or not 1 <= given <= LARGEST_BATCH:
            raise SpecError(f"batch handler: size: wanted 1 to {LARGEST_BATCH}, found {size!r}")
        patterns = self._patterns(event_types, timeout)
        _retry(retry)

        def add(function: B) -> B:
            self._add(patterns, function, size, timeout, retry)
            return function

        return add

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Handlers:
        """Make a collection of one function, which is given every event."""
        found = cls()
        found._routes = [Route(">", function)]
        return found

    def include(self, other: Handlers) -> None:
        """Take in the handlers of another module, and what it wants at start, connect and end.

        What is added to `other` later counts too.

        Raises:
            SpecError: It is included already, both have a handler of one type, or it is no
                Handlers.
        """
        given: object = other
        if not isinstance(given, Handlers):
            raise SpecError(
                f"include: wanted Handlers, such as orders.app of a module orders, found {given!r}"
            )
        if any(one is mine for one in other.all() for mine in self.all()):
            raise SpecError("include: these handlers are included already")
        mine = {route.pattern: route for route in self.routes}
        for route in other.routes:
            if route.pattern in mine:
                raise SpecError(
                    f"include: event type {route.pattern!r} has a handler already"
                    f"{place(mine[route.pattern].function)}, and another one"
                    f"{place(route.function)}"
                )
        self._included.append(other)

    def around(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Handlers:
        """Return the same handlers, with a decorator around each function that is not async.

        For frameworks with something to do in the thread of each call. The decorator hands on
        whatever arguments there are, and uses `functools.wraps`.
        """
        found = Handlers()
        for route in self.routes:
            own = route.function
            wrapped = own if runs_in_the_loop(own) else wrap(own)
            found._routes.append(replace(route, function=wrapped))
        found._starters = self.starters
        found._connectors = self.connectors
        found._stoppers = self.stoppers
        found._lifespans = self.lifespans
        return found

    def lifespan(self, function: L) -> L:
        """Decorate an async function with one `yield`, which lasts from first event to last.

            @app.lifespan
            async def database() -> AsyncIterator[Pool]:
                async with create_pool(URL) as pool:
                    yield pool

        What is before the `yield` runs before the first event and before `on_startup`, what is
        behind it after the last event and `on_shutdown`. Handlers, dependencies and other lifespans
        have what it yields by `Annotated[Pool, Depends(database)]`.

        Raises:
            SpecError: It is no such function.
        """
        lasts: bool = inspect.isasyncgenfunction(function)
        if not lasts:
            raise SpecError(
                f"lifespan{place(function)}: wanted an async function with one yield: what is "
                "before it runs at the start, what is behind it at the end"
            )
        self._lifespans.append(function)
        return function

    def middleware(self, function: M) -> M:
        """Decorate an async function that runs around each call of these handlers.

            @app.middleware
            async def timed(call: Call, call_next: Next) -> Answers:
                ...                              # before
                answers = await call_next(call)  # raises what the handler raises
                ...                              # after
                return answers

        Also of handlers that are not async, and of those of included collections. The first that
        is added is outermost. If it returns None, the handler's answer counts; `Ack()` is one. It
        is within the span of the event and the time of the call; `Retry` sees what it lets out.

        Raises:
            SpecError: It is not async, or does not take a call and what comes next.
        """
        if not runs_in_the_loop(function):
            raise SpecError(f"middleware{place(function)}: wanted an async function")
        hooks.check(function, "middleware", "the call", "what comes next")
        self._middleware.append(function)
        return function

    def on_startup(self, function: H) -> H:
        """Decorate a function that is called before the first event, async or not.

        Raises:
            SpecError: It has parameters, or a yield.
        """
        hooks.check(function, "on_startup")
        self._starters.append(function)
        return function

    def on_connect(self, function: C) -> C:
        """Decorate an async function that is given each new connection of the inbox.

        The place for `set_type_codec` and the like, which last as long as the connection: it
        becomes `Context.connection` of many events. Transactions and settings (`SET`) do not last.

        Raises:
            SpecError: It does not take a connection.
        """
        hooks.check(function, "on_connect", "the connection")
        self._connectors.append(function)
        return function

    def on_shutdown(self, function: H) -> H:
        """Decorate a function that is called after the last event, in reverse order.

        Raises:
            SpecError: It has parameters, or a yield.
        """
        hooks.check(function, "on_shutdown")
        self._stoppers.insert(0, function)
        return function

    def all(self) -> list[Handlers]:
        """These handlers, and those they include, each before what it includes."""
        return [self, *(one for other in self._included for one in other.all())]

    @property
    def routes(self) -> list[Route]:
        """Who takes which events."""
        found = [*self._routes, *(route for one in self._included for route in one.routes)]
        if not self._middleware:
            return found
        own = tuple(self._middleware)
        return [replace(one, middleware=(*own, *one.middleware)) for one in found]

    @property
    def needs_inbox(self) -> list[str]:
        """Patterns of those that cannot work without an inbox."""
        needing = [one for one in self.routes if getattr(one.function, "needs_inbox", False)]
        return [one.pattern for one in needing]

    @property
    def lifespans(self) -> list[Callable[..., Any]]:
        """What lasts from start to end: of included handlers first."""
        return [one for handlers in reversed(self.all()) for one in handlers._lifespans]

    @property
    def starters(self) -> list[Callable[[], object]]:
        """What is called before the first event: of included handlers first."""
        return [call for one in reversed(self.all()) for call in one._starters]

    @property
    def connectors(self) -> list[Callable[[Any], Awaitable[object]]]:
        """What is given each new connection of the inbox."""
        return [call for one in reversed(self.all()) for call in one._connectors]

    @property
    def stoppers(self) -> list[Callable[[], object]]:
        """What is called after the last event: in the reverse order of `starters`."""
        return [call for one in self.all() for call in one._stoppers]

    def route(self, event_type: str) -> Route | None:
        """Return the handler of an event type; None: there is none."""
        found = (route for route in self.routes if route.matches(event_type))
        return min(found, key=lambda route: route.rank, default=None)

    def _patterns(
        self, event_types: tuple[str | type, ...], timeout: float | None
    ) -> tuple[str, ...]:
        if not event_types:
            raise SpecError('handler: name the event types it takes, or ">" for all')
        patterns = tuple(map(_pattern, event_types))
        for pattern in patterns:
            if any(route.pattern == pattern for route in self.routes):
                raise SpecError(f"handler: event type {pattern!r} has a handler already")
        given: object = timeout
        if given is not None and not (isinstance(given, int | float) and given > 0):
            raise SpecError(f"handler: timeout: wanted more than 0 seconds, found {given!r}")
        return patterns

    def _add(
        self,
        event_types: tuple[str, ...],
        function: Callable[..., Any],
        batch: int | None,
        timeout: float | None,
        retry: Retry | None,
    ) -> None:
        hooks.check_callable(function, f"handler of {', '.join(event_types)}")
        retry = self._retry if retry is None else retry
        self._routes += [Route(p, function, batch, timeout, retry) for p in event_types]


def _pattern(given: object) -> str:
    if isinstance(given, type):
        told = declared(given)
        if told is None:
            raise SpecError(
                f"handler: {given.__qualname__} is not declared as the payload of an event; write "
                '@event("order.created") above the class, or name the event types'
            )
        return told.type
    if callable(given):
        raise SpecError(
            f"handler{place(given)}: name the event types it takes: "
            '@app.handler("order.created"), or @app.handler(">") for all'
        )
    tokens = given.split(".") if isinstance(given, str) else [""]
    if not all(map(_is_token, tokens)) or ">" in tokens[:-1]:
        raise SpecError(
            f"handler: event type {given!r}: wanted tokens separated by dots; * is any one of "
            "them, > stands at the end for all that follow"
        )
    return ".".join(tokens)


def _is_token(text: str) -> bool:
    """Whether a text can stand between dots: a wildcard, or what a type may have there."""
    return text in ("*", ">") or is_dotted_name(text)


def _retry(given: Retry | None) -> Retry | None:
    """Refuse what stands where a Retry is wanted: nobody would ask it before a handler fails."""
    found: object = given
    if found is None or isinstance(found, Retry):
        return given
    raise SpecError(f"retry: wanted Retry(…), such as Retry(max_deliver=5), found {found!r}")
