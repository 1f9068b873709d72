"""What was seen in a stream: types of events, sizes, rates, fields. Pure.

Whoever writes into the stream decides what is in it, so everything here has a bound: types,
fields of a type, names, depth, and how large a payload is looked into.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.counted import counted
from outbox_operator.wire.event import shown

MOST_TYPES: Final = 500
MOST_FIELDS: Final = 200
"""Of a type."""
MOST_BYTES: Final = 1_000_000
"""Of a payload that is looked into."""
_MOST_ITEMS: Final = 20
_MOST_PARTS: Final = 5_000
"""Of one payload."""
_DEEPEST: Final = 8
_LONGEST: Final = 200
OTHERS: Final = "(other types)"

Misfit = Callable[[bytes], str]
"""What is wrong with a payload, without its values; empty: nothing."""


@dataclass(slots=True)
class Seen:
    """What was seen of one type.

    Attributes:
        events: How many.
        bytes: Of all payloads together.
        smallest: Bytes of the smallest payload.
        largest: Bytes of the largest.
        first: When the first was stored.
        last: When the last was.
        unread: Payloads that were too large to look into, or no JSON.
        fields: By path, how many events had it, and of which kinds.
        more_fields: Whether there were more than are counted.
        misfits: How many do not fit the declaration.
        misfit: What was wrong with the first of these.
    """

    events: int = 0
    bytes: int = 0
    smallest: int = 0
    largest: int = 0
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    unread: int = 0
    fields: dict[str, dict[str, int]] = field(default_factory=dict)
    more_fields: bool = False
    misfits: int = 0
    misfit: str = ""

    def per_second(self) -> float | None:
        """Events a second between the first and the last; None: there are too few to say."""
        if self.first is None or self.last is None or self.events < 2:
            return None
        seconds = (self.last - self.first).total_seconds()
        return None if seconds <= 0 else (self.events - 1) / seconds


class Observations:
    """Counts events as they come.

    Args:
        declared: What is wrong with a payload, by declared type.
    """

    def __init__(self, declared: Mapping[str, Misfit] | None = None) -> None:
        self._declared = declared
        self.types: dict[str, Seen] = {}

    def add(self, event_type: str, data: bytes, stored: dt.datetime) -> None:
        """Count one event."""
        name = shown(event_type)
        if name not in self.types and len(self.types) >= MOST_TYPES:
            name = OTHERS
        seen = self.types.setdefault(name, Seen())
        seen.smallest = len(data) if not seen.events else min(seen.smallest, len(data))
        seen.largest = max(seen.largest, len(data))
        seen.events += 1
        seen.bytes += len(data)
        seen.first = stored if seen.first is None else min(seen.first, stored)
        seen.last = stored if seen.last is None else max(seen.last, stored)
        if len(data) > MOST_BYTES:
            seen.unread += 1
            return
        self._check(seen, event_type, data)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            seen.unread += 1
            return
        places: dict[str, str] = {}
        for path, kind in _places(document, "", 0):
            if len(places) == _MOST_PARTS:
                break
            places.setdefault(path, kind)
        for path, kind in places.items():
            if path not in seen.fields and len(seen.fields) >= MOST_FIELDS:
                seen.more_fields = True
                continue
            kinds = seen.fields.setdefault(path, {})
            kinds[kind] = kinds.get(kind, 0) + 1

    def undeclared(self) -> list[str]:
        """Return the types that were seen and are not declared."""
        known = self._declared
        return [] if known is None else [name for name in self.types if name not in known]

    def unseen(self) -> list[str]:
        """Return the types that are declared and were not seen."""
        return [name for name in self._declared or () if shown(name) not in self.types]

    def _check(self, seen: Seen, event_type: str, data: bytes) -> None:
        check = (self._declared or {}).get(event_type)
        if check is not None and (wrong := check(data)):
            seen.misfits += 1
            seen.misfit = seen.misfit or shown(wrong)


def _places(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Paths in a document with the kind of what is there; items of an array are one place."""
    if path:
        yield path, _KINDS.get(type(value), "object")
    if depth >= _DEEPEST or len(path) > _LONGEST:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, f"{path}.{shown(name)}" if path else shown(name), depth + 1)
    elif isinstance(value, list):
        for inner in value[:_MOST_ITEMS]:
            yield from _places(inner, f"{path}[]", depth + 1)


_KINDS: Final[Mapping[type, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
    list: "array",
}  # fmt: skip


def document(observed: Observations) -> dict[str, Any]:
    """Return what was seen as JSON."""
    return {
        "types": {
            name: {
                "events": one.events,
                "perSecond": one.per_second(),
                "bytes": {
                    "smallest": one.smallest,
                    "mean": round(one.bytes / one.events),
                    "largest": one.largest,
                },
                "first": one.first and one.first.isoformat(),
                "last": one.last and one.last.isoformat(),
                "unread": one.unread,
                "misfits": one.misfits,
                "misfit": one.misfit or None,
                "fields": one.fields,
                "moreFields": one.more_fields,
            }
            for name, one in sorted(observed.types.items())
        },
        "undeclared": sorted(observed.undeclared()),
        "unseen": sorted(observed.unseen()),
    }


def lines(observed: Observations) -> Iterator[str]:
    """Return what was seen for a person."""
    for name, one in sorted(observed.types.items(), key=lambda item: (-item[1].events, item[0])):
        rate = one.per_second()
        yield (
            f"{name}: {counted(one.events, 'event')}"
            + (f", {rate:.3g} a second" if rate is not None else "")
            + f", {one.smallest} to {one.largest} bytes, {one.bytes / one.events:.0f} in the mean"
        )
        if one.unread:
            yield f"  {one.unread} not looked into: no JSON, or more than {MOST_BYTES} bytes"
        if one.misfits:
            yield f"  {one.misfits} do not fit their declaration, the first: {one.misfit}"
        for path, kinds in sorted(one.fields.items()):
            found = sum(kinds.values())
            share = "" if found == one.events - one.unread else f", in {found} of {one.events}"
            yield f"  {path}: {' or '.join(sorted(kinds))}{share}"
        if one.more_fields:
            yield f"  … and fields beyond {MOST_FIELDS}"
    if wrong := observed.undeclared():
        yield f"seen and not declared: {', '.join(sorted(wrong))}"
    if unseen := observed.unseen():
        yield f"declared and not seen: {', '.join(sorted(unseen))}"
