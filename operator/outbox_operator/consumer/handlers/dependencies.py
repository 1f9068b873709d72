"""Calls of handlers with what they depend on: the order is found once, before the first event.

A handler without dependencies never comes here. No library does this: theirs make a call through
pydantic or a container of their own, and what cannot work would be said by the first event.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from outbox_operator.consumer.handlers import callables, signatures
from outbox_operator.consumer.handlers.depends import Depends, dependency, foreign
from outbox_operator.consumer.handlers.types import Context, ReceivedEvent
from outbox_operator.errors import SpecError

Function = Callable[..., Any]
Fill = Callable[[Any, Context, dict[Function, Any]], Any]
"""What a parameter is given, from what the handler is given and what was made for this call."""

_ITERATORS: Final = (
    collections.abc.AsyncIterator, collections.abc.AsyncGenerator, collections.abc.AsyncIterable,
    collections.abc.Iterator, collections.abc.Generator, collections.abc.Iterable,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A dependency that is made for each call.

    Attributes:
        key: Who asks for it names this function.
        make: Returns the value, or what it is awaited or entered for.
        kind: What it then is.
    """

    key: Function
    make: Function
    kind: typing.Literal["value", "awaitable", "manager", "async manager"]
    fills: Mapping[str, Fill]


class Dependencies:
    """What the handlers of a process depend on.

    Args:
        lifespans: Functions whose values last from start to end.
        replaced: Who stands in for a function, for tests.

    Raises:
        SpecError: A lifespan cannot be one, or depends on what only a call has.
    """

    def __init__(
        self, lifespans: Sequence[Function], replaced: Mapping[Function, Function] | None = None
    ) -> None:
        self._replaced = dict(replaced or {})
        self._values: dict[Function, Any] = {}
        self._open = contextlib.AsyncExitStack()
        self._lifespans = {self._actual(one): one for one in lifespans}
        self._order: list[Step] = []
        for one in [one for one in self._lifespans if inspect.isasyncgenfunction(one)]:
            self._add_lifespan(one, ())

    async def start(self) -> None:
        """Run every lifespan to its yield; if one fails, end the others and raise what it does."""
        async with contextlib.AsyncExitStack() as stack:
            for step in self._order:
                arguments = {n: fill(None, None, {}) for n, fill in step.fills.items()}  # type: ignore[arg-type]
                manager = step.make(**arguments)
                self._values[step.key] = await stack.enter_async_context(manager)
            self._open = stack.pop_all()

    async def close(self) -> None:
        """Run the rest of every lifespan, the last first. Raises what one of them does."""
        await self._open.aclose()

    def bind(
        self,
        function: Function,
        annotations: Mapping[str, Any],
        name: str,
        *,
        is_async: bool,
        batch: bool,
    ) -> Function:
        """Make a call of a handler that makes what it depends on first.

        Args:
            function: Takes event or events, context and the dependencies by name.
            annotations: Of the parameters that are dependencies.
            name: For messages.
            is_async: Whether the handler runs in the event loop.
            batch: Whether it is given several events.

        Raises:
            SpecError: A dependency cannot be made.
        """  # fmt: skip
        wanted: dict[str, Depends] = {}
        for parameter, annotation in annotations.items():
            found = check(parameter, annotation, f"handler {name}")
            if found is not None:
                wanted[parameter] = found
        steps: dict[Function, Step] = {}
        for one in wanted.values():
            self._add(one.function, steps, (), name, is_async=is_async, batch=batch)
        order = tuple(steps.values())
        fills = {parameter: self._value(one.function) for parameter, one in wanted.items()}
        return _call_async(function, order, fills) if is_async else _call(function, order, fills)

    def _actual(self, function: Function) -> Function:
        return self._replaced.get(function, function)

    def _value(self, function: Function) -> Fill:
        actual, values = self._actual(function), self._values
        if self._lasts(actual):
            return lambda given, context, made: values[actual]
        return lambda given, context, made: made[actual]

    def _lasts(self, actual: Function) -> bool:
        return actual in self._lifespans and inspect.isasyncgenfunction(actual)

    def _add(
        self, function: Function, steps: dict[Function, Step], above: tuple[Function, ...],
        name: str, *, is_async: bool, batch: bool,
    ) -> None:  # fmt: skip
        """Put a dependency behind what it depends on."""
        actual = self._actual(function)
        if actual in steps or self._lasts(actual):
            return
        who = f"handler {name}: {_named(actual)}"
        if actual in above:
            raise SpecError(f"{who}: it depends on itself")
        if callables.hides_yield(actual):
            raise SpecError(
                f"{who}: it has a yield under a decorator, or in its __call__, and nobody would "
                "run it; wanted the function with the yield itself, without @contextmanager"
            )
        kind = _kind(actual)
        if not is_async and kind in ("awaitable", "async manager"):
            raise SpecError(
                f"{who}: it is async, and the handler is not, so that it runs in a thread; make "
                "both async, or neither"
            )
        fills: dict[str, Fill] = {}
        for parameter, annotation in _parameters(actual, who).items():
            if isinstance(annotation, Depends):
                self._add(
                    annotation.function, steps, (*above, actual), name, is_async=is_async,
                    batch=batch,
                )  # fmt: skip
                fills[parameter] = self._value(annotation.function)
            elif annotation is Context:
                fills[parameter] = _context
            elif batch:
                raise SpecError(f"{who}: it wants the event, and a batch has several")
            else:
                fills[parameter] = _given
        steps[actual] = Step(actual, _maker(actual, kind), kind, fills)

    def _add_lifespan(self, function: Function, above: tuple[Function, ...]) -> None:
        who = _named(function)
        if function in above:
            raise SpecError(f"lifespan {who}: it depends on itself")
        if any(step.key is function for step in self._order):
            return
        fills: dict[str, Fill] = {}
        for parameter, annotation in _parameters(function, f"lifespan {who}").items():
            inner = self._actual(annotation.function) if isinstance(annotation, Depends) else None
            if inner is None or not self._lasts(inner):
                raise SpecError(
                    f"lifespan {who}: parameter {parameter!r}: at the start there is no event; "
                    "wanted Annotated[…, Depends(…)] of another lifespan"
                )
            self._add_lifespan(inner, (*above, function))
            fills[parameter] = self._value(inner)
        maker = contextlib.asynccontextmanager(function)
        self._order.append(Step(function, maker, "async manager", fills))


def check(parameter: str, annotation: Any, who: str) -> Depends | None:
    """Return the dependency that an annotation names; None: it names none.

    Raises:
        SpecError: It cannot give what its parameter is annotated with.
    """
    found = dependency(annotation)
    if found is None:
        return None
    if not callable(found.function):
        raise SpecError(
            f"{who}: parameter {parameter!r}: Depends wants a function, found {found.function!r}"
        )
    wanted, given = get_args(annotation)[0], _answer(found.function)
    if _never(wanted, given):
        raise SpecError(
            f"{who}: parameter {parameter!r}: wanted {wanted.__name__}, and "
            f"{_named(found.function)} gives {given.__name__}"
        )
    return found


def _never(wanted: Any, given: Any) -> bool:
    """Whether a value of one type is none of another; as far as classes alone say so."""
    classes = inspect.isclass(wanted) and inspect.isclass(given)
    if not classes or Any in (wanted, given) or getattr(wanted, "_is_protocol", False):
        return False
    return not issubclass(given, (wanted, int) if wanted is float else wanted)


def _answer(function: Function) -> Any:
    """Return the type that a dependency says it gives; None: it does not say."""
    if inspect.isclass(function):
        return function
    try:
        answer = callables.hints(callables.telling(function), "").get("return")
    except SpecError:  # of types that are there for checkers only
        return None
    if get_origin(answer) in _ITERATORS:
        answer = get_args(answer)[0]
    return answer if get_origin(answer) is None else None


def _parameters(function: Function, who: str) -> dict[str, Any]:
    """Return what to fill of a dependency: `Context`, `ReceivedEvent` or a Depends, by name."""
    told = callables.telling(function)
    if not (found := callables.parameters_of(told, who)):
        return {}
    told = told.__init__ if inspect.isclass(told) else told
    hints = callables.hints_of_parameters(told, who)
    wanted: dict[str, Any] = {}
    for parameter in found:
        if parameter.kind in callables.VARIABLE:
            continue
        if (wrong := foreign(hints.get(parameter.name), parameter.default)) is not None:
            raise SpecError(f"{who}: parameter {parameter.name!r}: {wrong}")
        annotation = signatures.plain(hints.get(parameter.name))
        depends = check(parameter.name, annotation, who)
        if depends is not None:
            wanted[parameter.name] = depends
        elif annotation in (Context, ReceivedEvent):
            wanted[parameter.name] = annotation
        elif parameter.default is inspect.Parameter.empty:
            raise SpecError(
                f"{who}: parameter {parameter.name!r}: wanted ReceivedEvent, Context or "
                "Annotated[…, Depends(…)]"
            )
    return wanted


def _named(function: Function) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return f"{name}{callables.place(function)}"


def _kind(function: Function) -> typing.Literal["value", "awaitable", "manager", "async manager"]:
    if inspect.isasyncgenfunction(function):
        return "async manager"
    if inspect.isgeneratorfunction(function):
        return "manager"
    return "awaitable" if callables.runs_in_the_loop(function) else "value"


def _maker(function: Function, kind: str) -> Function:
    if kind == "async manager":
        return contextlib.asynccontextmanager(function)
    return contextlib.contextmanager(function) if kind == "manager" else function


def _given(given: Any, _: Context, __: dict[Function, Any]) -> Any:
    return given


def _context(_: Any, context: Context, __: dict[Function, Any]) -> Context:
    return context


def _call_async(function: Function, order: Sequence[Step], fills: Mapping[str, Fill]) -> Function:
    async def call(given: Any, context: Context) -> Any:
        made: dict[Function, Any] = {}
        async with contextlib.AsyncExitStack() as stack:
            for step in order:
                arguments = {n: fill(given, context, made) for n, fill in step.fills.items()}
                value = step.make(**arguments)
                match step.kind:
                    case "awaitable":
                        value = await value
                    case "manager":
                        value = stack.enter_context(value)
                    case "async manager":
                        value = await stack.enter_async_context(value)
                made[step.key] = value
            wanted = {name: fill(given, context, made) for name, fill in fills.items()}
            return await function(given, context, **wanted)
        raise RuntimeError("a dependency swallowed the exception of the handler")

    return call


def _call(function: Function, order: Sequence[Step], fills: Mapping[str, Fill]) -> Function:
    def call(given: Any, context: Context) -> Any:
        made: dict[Function, Any] = {}
        with contextlib.ExitStack() as stack:
            for step in order:
                arguments = {n: fill(given, context, made) for n, fill in step.fills.items()}
                value = step.make(**arguments)
                made[step.key] = stack.enter_context(value) if step.kind == "manager" else value
            wanted = {name: fill(given, context, made) for name, fill in fills.items()}
            return function(given, context, **wanted)
        raise RuntimeError("a dependency swallowed the exception of the handler")

    return call
