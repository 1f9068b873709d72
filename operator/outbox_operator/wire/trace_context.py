"""W3C Trace Context: what the headers `traceparent` and `tracestate` of an event say. Pure.

Whoever may write events may write anything into them, so what is malformed counts as not there, and
what is long is not carried on.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from outbox_operator.wire.headers import TRACEPARENT, TRACESTATE

MOST_STATE_CHARACTERS: Final = 512
"""Of a `tracestate`; as many as W3C Trace Context wants everybody to carry on."""
_MOST_PARENT_CHARACTERS: Final = 128
"""Versions to come may say more than the 55 characters of today's."""
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RECORDED: Final = re.compile(r'-[0-9a-f][13579bdf][-"]')
"""The end of a sampled `traceparent` in the JSON text of headers; reading the text tells."""
_MEMBER: Final = re.compile(
    r"[ \t]*([a-z0-9][a-z0-9_*/@-]{0,255})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e][ \t]*"
)
_MOST_MEMBERS: Final = 32
_NOT_RECORDED: Final = frozenset("02468ace")
_CHARACTERS: Final = 55
"""Of a `traceparent` of version 00."""


class TraceParent(NamedTuple):
    """A span of somebody's.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: Whether it is recorded, so that what belongs to it shall be.
        state: Its `tracestate`; may be empty.
    """

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        flags = "01" if self.sampled else "00"
        found = {TRACEPARENT: f"00-{self.trace_id:032x}-{self.span_id:016x}-{flags}"}
        if self.state:
            found[TRACESTATE] = self.state
        return found


def parent_of(headers: Mapping[str, object]) -> TraceParent | None:
    """Return the span that an event belongs to; None: it names none that could be one."""
    text = headers.get(TRACEPARENT)
    if text is None:
        spelled = _spelled_otherwise(headers)
        return None if spelled is None else parent_of(spelled)
    if not isinstance(text, str) or len(text) > _MOST_PARENT_CHARACTERS:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not (trace_id and span_id):
        return None
    state = headers.get(TRACESTATE)
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1), _valid(state) if state else "")


def _valid(state: object) -> str:
    """Return a `tracestate` that is one, else nothing: its members, each with a key of its own."""
    if not isinstance(state, str) or len(state) > MOST_STATE_CHARACTERS:
        return ""
    members = [member for member in state.split(",") if member.strip(" \t")]
    keys = {found[1] for member in members if (found := _MEMBER.fullmatch(member))}
    return state if len(keys) == len(members) <= _MOST_MEMBERS and keys else ""


def sampled_parent_of(headers: Mapping[str, object]) -> TraceParent | None:
    """Return the span that an event belongs to, if it is recorded."""
    text = headers.get(TRACEPARENT)
    if type(text) is str and len(text) == _CHARACTERS and text[-1] in _NOT_RECORDED:
        return None  # most of them
    found = parent_of(headers)
    return found if found is not None and found.sampled else None


def sampled_parents_in(headers: Sequence[str | None]) -> dict[int, TraceParent]:
    """The same of the headers of a page of rows, each a JSON text, by their places.

    Those without such a span, which are nearly all, take one search together.
    """
    texts = [text or "" for text in headers]
    joined = "\n".join(texts)
    hit = _RECORDED.search(joined)
    if hit is None:
        return {}
    ends = list(accumulate(len(text) + 1 for text in texts))
    found: dict[int, TraceParent] = {}
    while hit is not None:
        place = bisect_right(ends, hit.start())
        read = _read(texts[place])
        parent = None if read is None else sampled_parent_of(read)
        if parent is not None:
            found[place] = parent
        hit = _RECORDED.search(joined, ends[place])  # one of a row is enough, however many it has
    return found


def trace_id_of(headers: Mapping[str, object]) -> str | None:
    """Return the id of an event's trace as logs name it; None: it has none."""
    found = parent_of(headers)
    return None if found is None else f"{found.trace_id:032x}"


def trace_id_in(headers: str | None) -> str | None:
    """The same of a row's headers."""
    found = _read(headers)
    return None if found is None else trace_id_of(found)


def _read(headers: str | None) -> Mapping[str, object] | None:
    """Read the headers of a row; what is no object is none, its values may be no texts."""
    try:
        found = json.loads(headers or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _spelled_otherwise(headers: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return headers by their lower-cased names, if one is a `traceparent` in another case."""
    for name in headers:
        if len(name) == len(TRACEPARENT) and name != TRACEPARENT and name.lower() == TRACEPARENT:
            return {key.lower(): value for key, value in headers.items()}
    return None
