"""Log records for people at a terminal: one line, the time of day first. Pure."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, Final

_SHOWN_ELSEWHERE: Final = frozenset(("time", "level", "logger", "message", "role", "exception"))


def readable(record: Mapping[str, Any]) -> str:
    """What a line of `JsonFormatter` holds as `14:03:02 WARNING message name=value`."""
    line = f"{clock(record['time'])} {record['level'].upper():7} {record['message']}"
    shown = (
        f"{name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in record.items()
        if name not in _SHOWN_ELSEWHERE
    )
    trace = record.get("exception")
    return " ".join((line, *shown)) + (f"\n{trace}" if trace else "")


def clock(time: str) -> str:
    """Time of day on this machine of an RFC 3339 time."""
    try:
        return dt.datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return "--:--:--"
