"""What a dead letter says of its error: bounded, on one line, without secrets. Pure."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from pathlib import Path
from typing import Final

from outbox_operator.telemetry.logging import redact

ERROR_CHARACTERS: Final = 2000
_WORDS: Final = re.compile(r"[:;]| at \S+ \(")
_READ_CHARACTERS: Final = 100_000
"""What is behind them is not looked at; exceptions may hold whole payloads."""
_SHOWN: Final = 3
"""Lines of code, causes and members of a group."""
_LIBRARIES: Final = tuple(
    f"{path}/" for path in (sysconfig.get_path("stdlib"), Path(__file__).parents[1])
)
_OF_ENVIRONMENT: Final = (
    type(os.environ).__getitem__.__code__,
    type(os.environ).__delitem__.__code__,
)
"""Raise KeyError for a variable that is not set."""
_SET_IT: Final = (
    "(an environment variable: set it in a cluster by spec.podTemplate, as env of the container "
    "consumer, on a laptop where outbox dev or outbox consume is started)"
)


def bounded(text: str) -> str:
    """Put text from outside on one bounded line that any sink takes, without what looks like a
    secret."""
    # Names of files that are no UTF-8 have halves of surrogate pairs, which nobody can send.
    sendable = text[:_READ_CHARACTERS].encode(errors="backslashreplace").decode()
    line = " ".join(redact(sendable).split())
    return line if len(line) <= ERROR_CHARACTERS else f"{line[: ERROR_CHARACTERS - 1]}…"


def kind(text: str) -> str:
    """Return what a bounded text begins with, `answered 422` or `ValueError`: the words behind it
    may quote a payload."""
    return _WORDS.split(text, maxsplit=1)[0]


def describe(error: BaseException) -> str:
    """Put an exception on one line: what, and where, the application's own lines first; then what
    is in it, if it is a group, and what caused it."""
    parts, seen = [_one(error)], {id(error)}
    if isinstance(error, BaseExceptionGroup):
        parts += [f"[{_one(inside)}]" for inside in error.exceptions[:_SHOWN]]
    while (cause := _cause(error)) is not None and id(cause) not in seen and len(seen) < _SHOWN:
        seen.add(id(cause))
        parts.append(f"caused by {_one(cause)}")
        error = cause
    return bounded("; ".join(parts))


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one(error: BaseException) -> str:
    what = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, SyntaxError):  # before its name comes the line, which may be the payload
        what = f"{type(error).__name__}: {error}"
        if (error.filename or "").endswith(".py"):
            return bounded(what)  # which says where; the stack is that of the import
    if _lacks_variable(error):
        what = f"{what} {_SET_IT}"
    what = bounded(what)
    shown = place_of(
        traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    )
    return f"{what} at {shown}" if shown else what


def _lacks_variable(error: BaseException) -> bool:
    trace = error.__traceback__ if isinstance(error, KeyError) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code in _OF_ENVIRONMENT


def place_of(stack: traceback.StackSummary) -> str:
    """Name the innermost lines of a stack, the application's own first; nothing for no stack."""
    frames = stack[::-1]
    own = [frame for frame in frames if not _is_library(frame.filename)][:_SHOWN]
    shown = " < ".join(map(_place, own or frames[:_SHOWN]))
    if own and own[0] is not frames[0]:
        shown += f", inside {_place(frames[0])}"
    return shown


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.name} ({frame.filename}:{frame.lineno})"


def _is_library(path: str) -> bool:
    """Whether a file is not the application's: installed, of Python itself, or ours."""
    return (
        path.startswith((*_LIBRARIES, "<frozen "))
        or "/site-packages/" in path
        or "/dist-packages/" in path
    )
