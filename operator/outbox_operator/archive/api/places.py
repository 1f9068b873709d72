"""Where the next page of an answer begins, as a text that a client hands back. Pure.

It holds nothing that the page before did not show, so nothing is gained by making one up.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Final

from outbox_operator.adapters.postgres.archive_select import Place

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
PATTERN: Final = "([no])_(-?[0-9]{1,17})_([0-9]{1,19})_([0-9a-f]{32})"
"""Of such a text, as a regular expression."""
_TEXT: Final = re.compile(PATTERN, re.ASCII)
_LARGEST: Final = 2**63 - 1


def encode(place: Place, *, newest_first: bool) -> str:
    """The text of a place in an order."""
    micros = (place.stored_at - _EPOCH) // _MICROSECOND
    return f"{'n' if newest_first else 'o'}_{micros}_{place.sequence}_{place.id.hex}"


def decode(text: str) -> tuple[Place, bool] | None:
    """The place that a text names, and whether the newest come first; None: it names none."""
    found = _TEXT.fullmatch(text)
    if found is None or int(found[3]) > _LARGEST:
        return None
    try:
        moment = _EPOCH + int(found[2]) * _MICROSECOND
    except OverflowError:
        return None
    return Place(moment, int(found[3]), uuid.UUID(found[4])), found[1] == "n"
