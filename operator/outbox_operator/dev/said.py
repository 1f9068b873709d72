"""What relay and consumers say that a developer should see, out of their logs.

Failures, dead letters, and whatever handlers print or log themselves; the runtime's own remarks
stay in the logs. Called by `dev.app`, again and again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from outbox_operator.telemetry.readable import clock

LONGEST_LINE: Final = 500
"""Characters; the rest is in the log."""
MOST_LINES: Final = 40
"""Shown of one process at a time; one that prints all the time leaves room for the others."""
_MOST_BYTES: Final = 256 * 1024
"""Looked at of one process at a time."""
_REMEMBERED: Final = 200
"""Lines of a process that are not shown again when its next start says the same."""
STARTS: Final = "outbox_operator.dev"
"""Logger of the line that begins each start of a process in its log."""
_OURS: Final = "outbox_operator"
_BEGINS: Final = '{"time": "'
"""A record of our logs."""
_LOUD: Final = ("warning", "error", "critical")


class Said:
    """Reads one log from where it ends now.

    Args:
        name: Of the process, shown before each line.
        path: Its log; may not exist yet.

    """

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._position = _size(path)
        self._begun = b""
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._last = self._ended = ""

    def forget(self) -> None:
        """Show again what was shown before: the process is another one now."""
        self._now, self._before, self._last, self._ended = set(), set(), "", ""

    def last_words(self, *, lives: bool) -> str:
        """As the function of that name, of what was seen."""
        return self._ended if lives else self._last

    def news(self) -> list[str]:
        """Lines to show that were written since the last look."""
        found = list(self._chosen(self._new_lines()))
        left = len(found) - MOST_LINES
        if left > 0:
            found[MOST_LINES:] = [f"{self._name} | … {left} more lines: {self._path}"]
        return found

    def _new_lines(self) -> Iterator[str]:
        size = _size(self._path)
        if size < self._position:  # somebody emptied it
            self._position, self._begun = 0, b""
        if size == self._position:
            return
        try:
            with self._path.open("rb") as file:
                if size - self._position > _MOST_BYTES:
                    self._position, self._begun = size - _MOST_BYTES, b""
                file.seek(self._position)
                read = file.read(_MOST_BYTES)
                self._position = file.tell()
        except OSError:
            return
        *lines, self._begun = (self._begun + read).split(b"\n")
        self._begun = self._begun[-_MOST_BYTES:]
        yield from (line.decode("utf-8", "replace") for line in lines)

    def _chosen(self, lines: Iterable[str]) -> Iterator[str]:
        for line, record in _apart(lines):
            if record is not None and record["logger"].startswith(STARTS):
                self._before, self._now = self._now, set()
                self._ended, self._last = self._last, ""
                continue
            text, bad = shown(line, record)
            if bad:
                self._last = text
            if text and self._is_new(text):
                yield f"{self._name} | {_clocked(text, record)}"

    def _is_new(self, text: str) -> bool:
        """Whether the start before this one did not say the same."""
        if len(self._now) < _REMEMBERED:
            self._now.add(text)
        return text not in self._before


def last_words(path: Path, *, lives: bool) -> str:
    """The last line of a log which says what went wrong in the run that ended last.

    Args:
        path: The log; may not exist.
        lives: Whether another run has begun since.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(path) - _MOST_BYTES))
            lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    ended = last = ""
    for line, record in _apart(lines):
        if record is not None and record["logger"].startswith(STARTS):
            ended, last = last, ""
            continue
        text, bad = shown(line, record)
        last = text if bad else last
    return ended if lives else last


def shown(line: str, record: dict[str, Any] | None) -> tuple[str, bool]:
    """A line as it is shown, without its time, and whether it says what went wrong.

    Args:
        line: Of a log.
        record: What is in it, if it is a record of our logs.

    Returns:
        Text; empty for what is not shown.
    """
    if record is None:
        return _cut(line.rstrip()), bool(line.strip())
    loud = record["level"] in _LOUD
    if record["logger"].startswith(_OURS) and not loud:
        return "", False
    return _cut(f"{record['level'].upper()} {record['message']}"), loud


def _clocked(text: str, record: dict[str, Any] | None) -> str:
    return text if record is None else f"{clock(record['time'])} {text}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"


def _apart(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Lines with the record that each is, if it is one.

    Whoever prints without a newline has the next record on the same line: it is two.
    """
    for line in lines:
        record, begins = _record(line), 0
        if record is None and (begins := line.find(_BEGINS)) > 0:
            record = _record(line[begins:])
        if record is not None and begins > 0:
            yield line[:begins], None
            yield line[begins:], record
        else:
            yield line, record


def _record(line: str) -> dict[str, Any] | None:
    """A record of our logs; None: whoever prints wrote it."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    wanted = ("time", "level", "logger", "message")
    return found if all(isinstance(found.get(name), str) for name in wanted) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
