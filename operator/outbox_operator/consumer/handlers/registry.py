"""Handlers by event type: the decorators that applications use, and who is called for what.

Imported by applications through `outbox_operator.consumer`; standard library only. Calling them
is `consumer.handlers.python`'s business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from outbox_operator.errors import SpecError

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=Callable[[Any], Awaitable[Any]])

LARGEST_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """One handler function.

    Attributes:
        pattern: Event types it accepts: tokens separated by dots, `*` is any one, `>` the rest.
        function: Async or not.
        batch: Most events it is given at once; None: it is given single events.
        timeout: Seconds a call may take; None: the consumer's setting.
    """

    pattern: str
    function: Callable[..., Any]
    batch: int | None = None
    timeout: float | None = None

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
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.starters: list[Callable[[], Any]] = []
        self.connectors: list[Callable[[Any], Awaitable[Any]]] = []
        self.stoppers: list[Callable[[], Any]] = []

    def handler(self, *event_types: str, timeout: float | None = None) -> Callable[[F], F]:
        """Decorate a function of single events, async or not.

        Its parameters are filled by their annotations: `ReceivedEvent` gets the event, `Context`
        the circumstances, anything else the payload, decoded and checked (a pydantic model, a
        dataclass, `dict`, `bytes`, …). Without annotations: event, then context.

        Args:
            event_types: For example "order.created", "order.*" or "order.>".
            timeout: Seconds a call may take; default: the consumer's setting.

        Raises:
            SpecError: No type, or a malformed one.
        """
        return self._adder(event_types, None, timeout)

    def batch(self, *event_types: str, size: int, timeout: float | None = None) -> Callable[[F], F]:
        """Decorate a function of a list of up to `size` events.

        Annotate its parameter `list[ReceivedEvent]`, or `list[Order]` for the payloads. It
        answers for all, or returns a list with one outcome for each. Events that failed come
        again one by one.

        Raises:
            SpecError: No type, a malformed one, or a size no batch has.
        """
        if not 1 <= size <= LARGEST_BATCH:
            raise SpecError(f"batch handler: size: wanted 1 to {LARGEST_BATCH}, found {size}")
        return self._adder(event_types, size, timeout)

    def on_startup(self, function: F) -> F:
        """Decorate a function that is called before the first event, async or not."""
        self.starters.append(function)
        return function

    def on_connect(self, function: C) -> C:
        """Decorate an async function that is given each new connection of the inbox.

        The place for `set_type_codec` and the like, which last as long as the connection: it
        becomes `Context.connection` of many events. Transactions and settings (`SET`) do not last.
        """
        self.connectors.append(function)
        return function

    def on_shutdown(self, function: F) -> F:
        """Decorate a function that is called after the last event, in reverse order."""
        self.stoppers.insert(0, function)
        return function

    def route(self, event_type: str) -> Route | None:
        """Return the handler of an event type; None: there is none."""
        found = (route for route in self.routes if route.matches(event_type))
        return min(found, key=lambda route: route.rank, default=None)

    def _adder(
        self, event_types: tuple[str, ...], batch: int | None, timeout: float | None
    ) -> Callable[[F], F]:
        if not event_types:
            raise SpecError('handler: name the event types it takes, or ">" for all')
        for pattern in event_types:
            _check(pattern)
            if any(route.pattern == pattern for route in self.routes):
                raise SpecError(f"handler: event type {pattern!r} has a handler already")
        if timeout is not None and timeout <= 0:
            raise SpecError(f"handler: timeout: wanted more than 0 seconds, found {timeout:g}")

        def add(function: F) -> F:
            self.routes += [Route(p, function, batch, timeout) for p in event_types]
            return function

        return add


def _check(pattern: str) -> None:
    tokens = pattern.split(".")
    if not all(tokens) or ">" in tokens[:-1]:
        raise SpecError(
            f"handler: event type {pattern!r}: wanted tokens separated by dots; * is any one of "
            "them, > stands at the end for all that follow"
        )
