"""Which entries of a stream a group is to handle: those of some types. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from outbox_operator.adapters.redis.entries import event_type
from outbox_operator.wire.headers import decode_value
from outbox_operator.wire.subjects import covers

_MOST_TYPES: Final = 1000
"""Of which it is remembered whether they are wanted."""


class EventTypes:
    """Types of events, with wildcards as in subjects.

    Args:
        wanted: None of them means: all.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = tuple(wanted)
        self._known: dict[bytes | None, bool] = {}

    def wants(self, texts: Sequence[bytes]) -> bool:
        """Whether an entry, names and values of its fields in turn, is to be delivered."""
        if not self._wanted:
            return True
        stored = event_type(texts)
        found = self._known.get(stored)
        if found is None:
            kind = decode_value((stored or b"").decode("utf-8", "surrogateescape"))
            found = any(each == kind or covers(each, kind) for each in self._wanted)
            if len(self._known) < _MOST_TYPES:
                self._known[stored] = found
        return found
