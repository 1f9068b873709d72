"""How moments are written: RFC 3339 in UTC, with a Z. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Literal

Precision = Literal["auto", "seconds", "milliseconds", "microseconds"]


def format_time(moment: dt.datetime, precision: Precision = "auto") -> str:
    """The text of a moment.

    Args:
        moment: Aware, of any zone.
        precision: What is smaller is cut off; `auto`: microseconds unless there are none.
    """
    text = moment.astimezone(dt.UTC).isoformat(timespec=precision)
    return text.replace("+00:00", "Z")
