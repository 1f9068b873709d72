"""What the processes of `outbox dev` say of themselves: ready or not, and events handled."""

from __future__ import annotations

import asyncio
import http.client
import re
from typing import Final

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


async def metrics_of(port: int) -> str | None:
    """The text of a process's metrics; None: it does not answer."""
    found = await asyncio.to_thread(_get, port, "metrics")
    return None if found is None else found[1]


async def is_ready(port: int) -> bool:
    """Whether a process says that it is ready."""
    found = await asyncio.to_thread(_get, port, "readyz")
    return found is not None and found[0] == 200


def _get(port: int, path: str) -> tuple[int, str] | None:
    """Ask a process of this machine; a client of more than that takes longer to import."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
