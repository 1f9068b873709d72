"""The logs of the processes of `outbox dev`, as an API server gives them: the time first."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from outbox_operator.errors import KubernetesError
from outbox_operator.wire.times import format_time

_LOOK_SECONDS: Final = 0.3


async def lines(path: Path, query: Mapping[str, str], *, follow: bool) -> AsyncIterator[str]:
    """Lines of a file that the API's query picks; with `follow` until nobody reads on.

    Raises:
        KubernetesError: The file cannot be read.
    """
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            for line in chosen(timed(file), query, datetime.now(UTC)):
                yield line
            while follow:
                for at, text in timed(file.readlines()):
                    yield f"{at} {text}"
                await asyncio.sleep(_LOOK_SECONDS)
    except OSError as error:
        raise KubernetesError(f"{path}: {error.strerror or error}") from error


def timed(all_: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each line with its time; one that says none has that of the line before."""
    at = "1970-01-01T00:00:00Z"
    for line in all_:
        with suppress(ValueError, TypeError, KeyError):  # of a handler, or of Python itself
            at = str(json.loads(line)["time"])
        yield at, line.rstrip("\n")


def chosen(
    all_: Iterable[tuple[str, str]], query: Mapping[str, str], now: datetime
) -> Iterator[str]:
    """Those that the API's query picks: the last ones, or those since a time."""
    since = query.get("sinceTime", "")
    if "sinceSeconds" in query:
        since = format_time(now - timedelta(seconds=float(query["sinceSeconds"])), "milliseconds")
    most = int(query["tailLines"]) if "tailLines" in query else None
    for at, line in deque((one for one in all_ if one[0] >= since), maxlen=most):
        yield f"{at} {line}"
