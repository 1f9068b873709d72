"""Statements that were made and never awaited, so that nothing of them ran.

Used by `adapters.postgres.lent_connection`: a handler that forgets an `await` is told by Python
with one warning for all its events, and would have each of them acknowledged.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeVar

_KEPT: Final = 32
"""Those that were awaited are forgotten whenever there are so many more."""
_PASSED_OVER: Final = ("asyncpg.", "outbox_operator.client.", f"{__package__}.")
"""Modules between a statement and whoever made it."""


class Statements:
    """The statements that were made by one user of a connection."""

    def __init__(self) -> None:
        self._made: list[tuple[Coroutine[Any, Any, Any], str, int]] = []
        self._most = _KEPT

    def note(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember one, and where it was made."""
        if len(self._made) >= self._most:
            self._made = list(self._waiting())
            self._most = len(self._made) + _KEPT
        self._made.append((statement, *_place()))

    def unawaited(self) -> list[str]:
        """Where those were made of which nothing ran, as `file:line`. Nothing of them will."""
        left = list(self._waiting())
        begun = {task.get_coro() for task in asyncio.all_tasks()} if left else set()
        for statement, _, _ in left:
            if statement not in begun:
                # Else Python warned of it, with the line that happens to throw it away.
                statement.close()
        return [f"{file}:{line}" for _, file, line in left]

    def _waiting(self) -> Iterator[tuple[Coroutine[Any, Any, Any], str, int]]:
        for made in self._made:
            if inspect.getcoroutinestate(made[0]) == inspect.CORO_CREATED:
                yield made


class Noting(Protocol):
    """A connection that may note what is made of it."""

    def note_statement(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember a statement, if that is wanted now."""


K = TypeVar("K", bound=type[Noting])


def noting(kind: K) -> K:
    """Have a connection note each statement that is made of it by a public method."""
    for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            setattr(kind, name, _noted(method))
    return kind


def _noted(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @functools.wraps(method)
    def made(self: Noting, *args: object, **kwargs: object) -> Coroutine[Any, Any, Any]:
        statement = method(self, *args, **kwargs)
        self.note_statement(statement)
        return statement

    return made


def _place() -> tuple[str, int]:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(_PASSED_OVER):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
