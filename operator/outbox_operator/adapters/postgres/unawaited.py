"""Statements that were made and never awaited, so that nothing of them ran.

Used by `adapters.postgres.lent_connection`: a handler that forgets an `await` is told by Python
with one warning, and would have each of its events acknowledged.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

_KEPT: Final = 32
"""So many are remembered before those that have ended are forgotten."""
_PASSED_OVER: Final = ("asyncpg.", "outbox_operator.client.", f"{__package__}.")
"""Modules between a statement and whoever made it."""

Made = tuple[Coroutine[Any, Any, Any], str, int]
"""A statement, and where it was made: file and line."""


class Statements:
    """The statements that were made by one user of a connection."""

    def __init__(self) -> None:
        self._made: list[Made] = []
        self._most = _KEPT

    def note(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember one, and where it was made."""
        if len(self._made) >= self._most:
            self._made = self._not_ended()
            self._most = max(_KEPT, 2 * len(self._made))
        self._made.append((statement, *_place()))

    def left_out(self) -> str:
        """What the user did not wait for, and where, for an error; empty: nothing.

        What has not begun never will.
        """
        waiting = self._not_ended()
        if not waiting:
            return ""
        is_new = inspect.CORO_CREATED
        left = [made for made in waiting if inspect.getcoroutinestate(made[0]) == is_new]
        begun = {task.get_coro() for task in asyncio.all_tasks()}
        for statement, _, _ in left:
            if statement not in begun:
                # Else Python warned of it, with the line that happens to throw it away.
                statement.close()
        if left:
            return (
                f"never awaited what it asked of context.connection at {_told(left)}, so that "
                "nothing of it ran; write await before it"
            )
        return (
            "did not wait for the end of what it asked of context.connection at "
            f"{_told(waiting)}; await it, or its task, before the handler returns"
        )

    def _not_ended(self) -> list[Made]:
        return [made for made in self._made if getattr(made[0], "cr_frame", None) is not None]


def _told(made: Sequence[Made]) -> str:
    _, file, line = made[0]
    more = f" and {len(made) - 1} more" if len(made) > 1 else ""
    return f"{file}:{line}{more}"


class Noting(Protocol):
    """A connection, or what is made of one, that may note what is made of it."""

    def outbox_note_statement(self, statement: Coroutine[Any, Any, Any]) -> None:
        """Remember a statement, if that is wanted now."""


K = TypeVar("K", bound=type[Noting])


def noting(kind: K) -> K:
    """Have it note each statement that is made of it by a public method."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        # The driver puts plain functions around some.
        if not name.startswith("_") and inspect.iscoroutinefunction(inspect.unwrap(method)):
            setattr(kind, name, _noted(method))
    return kind


def _noted(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @functools.wraps(method)
    def made(self: Noting, *args: object, **kwargs: object) -> Coroutine[Any, Any, Any]:
        statement = method(self, *args, **kwargs)
        self.outbox_note_statement(statement)
        return statement

    return made


def _place() -> tuple[str, int]:
    frame = sys._getframe(1)
    # Code that was made while the program runs may be of no module.
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(
        _PASSED_OVER
    ):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
