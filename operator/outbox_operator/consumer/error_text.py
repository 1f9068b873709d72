"""What a dead letter says of its error: bounded, on one line, without secrets. Pure."""

from __future__ import annotations

import re
import traceback
from typing import Final

from outbox_operator.telemetry.logging import redact

ERROR_CHARACTERS: Final = 2000
_WORDS: Final = re.compile(r"[:;]| at \S+ \(")
_READ_CHARACTERS: Final = 100_000
"""What is behind them is not looked at; exceptions may hold whole payloads."""


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
    """Put an exception on one line: what, and the innermost places it came through."""
    what = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, SyntaxError):  # before its name comes the line, which may be the payload
        what = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    return bounded(f"{what} at {where}" if where else what)
