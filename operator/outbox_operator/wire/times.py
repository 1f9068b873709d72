"""How moments are written and compared: RFC 3339 in UTC, with a Z. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
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


def parse_time(text: str | None) -> dt.datetime | None:
    """The moment that a text of anybody names; None: it names none that every zone has.

    Args:
        text: ISO 8601; without a zone it is UTC.
    """
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=dt.UTC)
        if moment.tzinfo is not dt.UTC:
            moment.astimezone(dt.UTC)  # in the first and the last year not all have one
    except (ValueError, OverflowError):
        return None
    return moment


def latest(texts: Iterable[str | None]) -> str | None:
    """The latest of some moments, as it is written; None: there is none.

    As text they cannot be compared: `.1Z` is before `.12Z`, and zones differ.

    Args:
        texts: Of whatever zone and precision; what is no moment with a zone is left out.
    """
    found: tuple[dt.datetime, str] | None = None
    for text in texts:
        try:
            moment = dt.datetime.fromisoformat(text or "")
        except ValueError:
            continue
        if moment.tzinfo is not None and (found is None or found[0] < moment):
            found = moment, str(text)
    return None if found is None else found[1]
