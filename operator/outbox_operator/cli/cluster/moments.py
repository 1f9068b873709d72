"""Moments on a command line: `2026-01-31T09:00Z`, or `2h` for two hours ago. For argparse."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from outbox_operator.wire.times import format_time

WANTED: Final = "a time like 2026-01-31T09:00Z, or 2h for two hours ago"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST: Final = 36_500 * _UNITS["d"]
"""Kubelets count nanoseconds in 64 bits, and times before year 1 are none."""


def length(text: str) -> int:
    """Seconds of `30s`, `10m`, `2h`, `1d`."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    seconds = 0 if found is None else int(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"wanted a length of time like 10m, 100 years at most, found {text!r}"
        )
    return seconds


def before(text: str, now: datetime) -> str:
    """The moment as resources have it.

    Args:
        text: RFC 3339 with a time zone, or how long ago.
        now: The time.
    """
    if re.fullmatch(r"[0-9]+[smhd]", text):
        return format_time(now - timedelta(seconds=length(text)), "seconds")
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"wanted {WANTED}; found {text!r}") from error
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; add for example Z")
    try:
        return format_time(found)
    except OverflowError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not within the years 1 to 9999 of UTC"
        ) from None


def option(text: str) -> str:
    """The same, from now."""
    return before(text, datetime.now(UTC))
