"""What the processes of `outbox dev` say of themselves: ready or not, and events handled."""

from __future__ import annotations

import re
from typing import Final

import aiohttp

_ACKNOWLEDGED: Final = re.compile(
    r'^outbox_consumer_processed_total\{(?:.*,)?outcome="ack"[,}].*? (\S+)$', re.MULTILINE
)
_STORED: Final = re.compile(r"^outbox_archive_events_total\{.*?\} (\S+)$", re.MULTILINE)
_SECONDS: Final = 1.0


class Handled:
    """Events a consumer has handled since `outbox dev` began, over restarts of its process."""

    def __init__(self) -> None:
        self._before = 0
        self._now = 0

    def said(self, number: int) -> int:
        """The sum, given what the process counts now; a new process begins with nothing."""
        if number < self._now:
            self._before += self._now
        self._now = number
        return self._before + number

    @property
    def total(self) -> int:
        """The sum as of the last word of a process."""
        return self._before + self._now


def acknowledged(metrics: str) -> int:
    """Events handled by a process, or stored, out of the text of its metrics."""
    numbers = _ACKNOWLEDGED.findall(metrics) + _STORED.findall(metrics)
    return round(sum(map(float, numbers)))


async def metrics_of(session: aiohttp.ClientSession, port: int) -> str | None:
    """The text of a process's metrics; None: it does not answer."""
    found = await _get(session, port, "metrics")
    return None if found is None else found[1]


async def is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    """Whether a process says that it is ready."""
    found = await _get(session, port, "readyz")
    return found is not None and found[0] == 200


async def _get(session: aiohttp.ClientSession, port: int, path: str) -> tuple[int, str] | None:
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with session.get(f"http://127.0.0.1:{port}/{path}", timeout=timeout) as answer:
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
