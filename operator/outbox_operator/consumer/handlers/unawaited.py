"""Coroutines that a call of a handler threw away, so that nothing of them ran.

Python says so in the log, without the event; the call would have it acknowledged. What an inbox's
connection was asked for is `adapters.postgres.unawaited`'s business.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import warnings
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

_TELLS: Final = "_warn_unawaited_coroutine"
"""What the interpreter calls in `warnings`, whatever filters there are: a filter, or a test, may
keep the warning itself from everybody."""

_call: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "outbox_thrown_away", default=None
)


def noted() -> list[str]:
    """Begin a call; return what will tell of the first coroutine that it, or what it starts, has
    thrown away."""
    found: list[str] = []
    _call.set(found)
    return found


def _telling(told: Callable[[Coroutine[Any, Any, Any]], None]) -> Callable[..., None]:
    def tell(coroutine: Coroutine[Any, Any, Any]) -> None:
        found = _call.get()
        # The garbage collector throws away what is of any call, in the midst of any other.
        if found == [] and not gc.is_finalized(coroutine):
            name, where = getattr(coroutine, "__qualname__", "?"), _place(sys._getframe(1))
            found.append(
                f"a coroutine was never awaited: {name!r}{_written(coroutine)}{where}; nothing of "
                "it ran, write await before the call"
            )
        told(coroutine)

    return tell


def _written(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Where its function is: who throws it away need not be who has made it."""
    code = getattr(coroutine, "cr_code", None)
    return "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"


def _place(frame: FrameType) -> str:
    """Where a coroutine is thrown away, or nothing: that was ours to do, at the handler's end."""
    if frame.f_globals.get("__name__", "").startswith("outbox_operator."):
        return ""
    return f" at {frame.f_code.co_filename}:{frame.f_lineno}"


if (_told := getattr(warnings, _TELLS, None)) is not None:
    setattr(warnings, _TELLS, _telling(_told))
