"""Structured logs: one JSON object a line, the same shape for every role; text at a terminal.

Called once by each role's entry point (`setup`), and around units of work (`bind`). Knows nothing
of the work itself and must never let a password through: `redact` is the last net, not a licence
to log connection strings.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, TextIO

from outbox_operator.telemetry.readable import readable
from outbox_operator.wire.times import format_time

_STANDARD: Final = frozenset(
    [*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"]
)
_NOISY: Final = ("asyncio", "nats", "kubernetes", "urllib3", "aiohttp.access")
_URL_CREDENTIALS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,30}://)[^/\s@\"']+@")
"""The scheme is bounded, so that a long word costs no more than as many short ones."""
_KEYWORD_SECRET: Final = re.compile(
    r"(?i)\b(password|passwd|pwd|token|secret|seed)([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)"
)

_EXCEPTION_CHARACTERS: Final = 16_000

_context: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "outbox_log_context", default=MappingProxyType({})
)


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Add `fields` to every record logged inside the block, in this task and tasks it starts.

    Example: `with bind(object="shop/orders", reconcile_id=rid): ...`. Blocks nest; the inner
    value of a field wins.
    """
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def redact(text: str) -> str:
    """Blank what looks like a secret: credentials in URLs and `password=...` pairs."""
    text = _URL_CREDENTIALS.sub(r"\1***@", text)
    return _KEYWORD_SECRET.sub(r"\1\2***", text)


class JsonFormatter(logging.Formatter):
    """Turn a record into one line: time, level, logger, message, role, then the fields.

    Fields come from `bind` and from `extra={...}` of the call; the latter win.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """The JSON text of `record`; never raises for values JSON cannot hold."""
        text = json.dumps(self.fields(record), ensure_ascii=False, default=_fallback)
        # What came in as no UTF-8 cannot go out: the line would be lost.
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the line holds, without secrets."""
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, Any] = {
            "time": format_time(moment, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "role": self._role,
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        for name, value in {**_context.get(), **extra}.items():
            line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = _middle_cut(self.formatException(record.exc_info))
        return {name: _plain(value) for name, value in line.items()}


class TerminalFormatter(JsonFormatter):
    """The same for a person who looks on: a line of text, and the traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of `record`, in which nothing is left that a terminal would obey."""
        text = readable(self.fields(record))
        return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _middle_cut(text: str) -> str:
    """Keep both ends of a long text: of a traceback the last lines say most. An exception may hold
    whole payloads, or have thousands of causes."""
    if len(text) <= _EXCEPTION_CHARACTERS:
        return text
    half = _EXCEPTION_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"


def _plain(value: object) -> object:
    """Redact text at any depth, so that an exception's text or a mapping is covered too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def _fallback(value: object) -> str:
    return redact(str(value))


def setup(role: str, level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (default: standard error).

    As lines of JSON, unless it is a terminal: a person reads there.

    Args:
        role: `operator`, `relay` or `consumer`; in every line.
        level: Name of the lowest level shown, any case.

    Raises:
        ValueError: `level` is not a level name.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    terminal = handler.stream.isatty()
    handler.setFormatter(TerminalFormatter(role) if terminal else JsonFormatter(role))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _NOISY:  # their debug output holds payloads and request headers
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)
    if not sys.warnoptions:
        # What is not awaited is not done: to be said of each time, not of the first.
        warnings.filterwarnings("always", "coroutine .* was never awaited", RuntimeWarning)
