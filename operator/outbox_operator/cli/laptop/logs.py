"""The logs of the processes of `outbox dev`, as an API server gives them: the time first."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from outbox_operator.errors import KubernetesError
from outbox_operator.wire.times import format_time

Timed = tuple[datetime, str]
"""A line and its time."""

LONGEST_LINE: Final = 64 * 1024
"""Bytes; the rest of a line is left out. Handlers print what they like."""
_LOOK_SECONDS: Final = 0.3
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def lines(path: Path, query: Mapping[str, str], *, follow: bool) -> AsyncIterator[str]:
    """Lines of a file that the API's query picks; with `follow` until nobody reads on.

    Raises:
        KubernetesError: The file cannot be read.
    """
    log = Log()
    try:
        with path.open("rb") as file:
            found = log.read(file, whole=follow)
            for at, line in chosen(found, query, datetime.now(UTC)):
                yield f"{format_time(at, 'milliseconds')} {line}"
            while follow:
                for at, line in log.read(file, whole=True):
                    yield f"{format_time(at, 'milliseconds')} {line}"
                await asyncio.sleep(_LOOK_SECONDS)
    except OSError as error:
        raise KubernetesError(f"{path}: {error.strerror or error}") from error


class Log:
    """What was read of a log: its last time, and a line that is being written."""

    def __init__(self) -> None:
        self._at = _LONG_AGO
        self._begun = b""

    def read(self, file: BinaryIO, *, whole: bool) -> Iterator[Timed]:
        """Lines from here to the end; one that says no time has that of the line before.

        Args:
            file: The log.
            whole: Whether a line without an end is left for later.
        """
        while piece := file.readline(LONGEST_LINE):
            self._begun += piece[: LONGEST_LINE - len(self._begun)]
            if piece.endswith(b"\n"):
                yield self._line()
        if self._begun and not whole:
            yield self._line()

    def _line(self) -> Timed:
        text, self._begun = self._begun.decode("utf-8", "replace").removesuffix("\n"), b""
        self._at = _time(text) or self._at
        return self._at, text


def _time(line: str) -> datetime | None:
    """When a line of JSON says that it was written; None: it is another, of whoever prints."""
    if not line.startswith("{"):
        return None
    try:
        found = datetime.fromisoformat(json.loads(line)["time"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if found.tzinfo else None


def chosen(all_: Iterable[Timed], query: Mapping[str, str], now: datetime) -> Iterator[Timed]:
    """Those that the API's query picks: those of a time and later, of these the last ones."""
    since = _LONG_AGO
    if "sinceTime" in query:
        since = datetime.fromisoformat(query["sinceTime"])
    if "sinceSeconds" in query:
        since = now - timedelta(seconds=float(query["sinceSeconds"]))
    most = int(query["tailLines"]) if "tailLines" in query else None
    most_bytes = int(query["limitBytes"]) if "limitBytes" in query else None
    found, held = deque[Timed](), 0
    for one in all_:
        if one[0] < since:
            continue
        found.append(one)
        held += len(one[1])
        while (most is not None and len(found) > most) or (
            most_bytes is not None and held > most_bytes
        ):
            held -= len(found.popleft()[1])
    yield from found
