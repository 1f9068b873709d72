"""What a callable says of itself: where it is written, what it takes, whether it is async.

It may be of somebody else's making, and fail when it is asked, or answer with anything.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from outbox_operator.errors import SpecError

VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_MOST_DECORATORS: Final = 100
"""Looked behind: an object may make up another one each time that it is asked what it wraps."""


def place(function: Callable[..., Any]) -> str:
    """Return where a function is written, ` at shop/billing.py:12`, or nothing if nobody knows."""
    code = getattr(_innermost(function), "__code__", None)
    if not isinstance(code, types.CodeType):
        return ""
    path = code.co_filename
    short = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
    return f" at {short}:{code.co_firstlineno}"


def runs_in_the_loop(function: Callable[..., Any]) -> bool:
    """Whether a function is async, under whatever decorators; the others run in threads."""
    found = (inner(function), _innermost(function))
    return any(map(inspect.iscoroutinefunction, found))


def hides_yield(function: Callable[..., Any]) -> bool:
    """Whether a function with a yield is behind a decorator, such as `contextmanager`, or the
    `__call__` of an object: calling it runs nothing of it."""
    if yields(function) or runs_in_the_loop(function):
        return False
    return yields(_innermost(function))


def yields(function: Callable[..., Any]) -> bool:
    """Whether calling a function runs nothing of it."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when a callable is called: behind partials, or the `__call__` of an object."""
    function = behind_partials(function)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004 - it is asked for itself


def behind_partials(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `functools.partial` was given, however often."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs at last when a callable is called, behind all decorators."""
    *_, last = _behind_decorators(inner(function))
    return last


def _behind_decorators(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A function, what it wraps, what that wraps; each once, should they lead in a circle."""
    seen = list[Any]()
    inside: Any = function
    while not any(inside is one for one in seen) and len(seen) < _MOST_DECORATORS:
        seen.append(inside)
        yield inside
        try:
            inside = getattr(inside, "__wrapped__", None)
        except Exception:  # noqa: BLE001 - a stand-in for what is not there yet
            return
        if inside is None:
            return


def telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function whose signature counts: behind decorators that hand on what they get."""
    for told in _behind_decorators(function):
        try:
            parameters = parameters_of(told, "")
        except SpecError:
            break  # it says why when it is asked again
        if not any(parameter.kind in VARIABLE for parameter in parameters):
            break
    return told


def parameters_of(function: Callable[..., Any], who: str) -> Sequence[inspect.Parameter]:
    """Return the parameters of a function; none: it is a built-in one that does not say.

    Raises:
        SpecError: It is an object that fails when it is asked.
    """
    found = signature_of(function, who)
    return () if found is None else tuple(found.parameters.values())


def signature_of(function: Callable[..., Any], who: str) -> inspect.Signature | None:
    """Return what a callable takes itself; None: it is a built-in one that does not say.

    Raises:
        SpecError: It is an object that fails when it is asked, or answers with something else.
    """
    try:
        getattr(function, "__signature__", None)  # whatever comes of it is of its own
        try:
            return inspect.signature(function, follow_wrapped=False)
        except ValueError:
            return None
    except Exception as error:
        raise SpecError(
            f"{who}: its parameters cannot be read: {type(error).__name__}: {error}"
        ) from error


def hints(told: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return the annotations of a function, resolved. Raises SpecError if one cannot be."""
    # Given, as `typing` would look for them behind decorators without an end.
    names = getattr(_innermost(told), "__globals__", {})
    try:
        return typing.get_type_hints(inner(told), globalns=names, include_extras=True)
    except Exception as error:  # evaluating an annotation may do anything
        raise SpecError(f"handler {name}: an annotation cannot be resolved: {error}") from error


def hints_of_parameters(told: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return the same without what the function returns: it may be of types for checkers only."""
    own = inner(told)
    said = {n: one for n, one in getattr(own, "__annotations__", {}).items() if n != "return"}
    bare = types.SimpleNamespace(__annotations__=said, __globals__=getattr(own, "__globals__", {}))
    try:
        return typing.get_type_hints(bare, include_extras=True)
    except Exception as error:
        raise SpecError(f"{name}: an annotation cannot be resolved: {error}") from error
