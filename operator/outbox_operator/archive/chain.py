"""Which numbers of an outbox's shards messages account for, as ranges. Pure.

A message accounts for its own number. Where its relay left numbers out, it names the one before,
and accounts for those in between too. So nothing is missing where the ranges of all messages leave
no hole, in whatever order these came.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from outbox_operator.wire.headers import EMISSION, PREDECESSOR, SHARD

_DIGITS: Final = 18
"""Of a number: always less than what a bigint holds."""
_SHARD_DIGITS: Final = 5


@dataclass(slots=True)
class Span:
    """Numbers `low` to `high` of a shard, all accounted for.

    Attributes:
        source: Of the events.
        shard: Of the outbox.
        low_at: When the stream stored the message that begins it.
        low_sequence: Its sequence there.
        high_at: When it stored the one that ends it.
        high_sequence: Its sequence there.
    """

    source: str
    shard: int
    low: int
    high: int
    low_at: dt.datetime
    high_at: dt.datetime
    low_sequence: int
    high_sequence: int


def number(text: str | None, digits: int = _DIGITS) -> int | None:
    """A number of a header; None: there is none, or none that a relay writes."""
    if text is None or len(text) > digits or not (text.isascii() and text.isdecimal()):
        return None
    return int(text)


def numbers_of(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Shard, first and last number that a message accounts for; None: it is of no relay of ours."""
    high, shard = number(headers.get(EMISSION)), number(headers.get(SHARD), _SHARD_DIGITS)
    if high is None or shard is None or high < 1:
        return None
    before = number(headers.get(PREDECESSOR))
    return shard, high if before is None or before >= high else before + 1, high


class Spans:
    """What messages account for, in as few spans as come without sorting them."""

    def __init__(self) -> None:
        self._all: list[Span] = []
        self._last: dict[tuple[str, int], Span] = {}

    def add(
        self, source: str, numbers: tuple[int, int, int], at: dt.datetime, sequence: int
    ) -> None:
        """Count one more message.

        Args:
            source: Of the event.
            numbers: From `numbers_of`.
            at: When the stream stored it.
            sequence: Its sequence there.
        """
        shard, low, high = numbers
        last = self._last.get((source, shard))
        if last is not None and low == last.high + 1:
            last.high, last.high_at, last.high_sequence = high, at, sequence
            return
        last = Span(source, shard, low, high, at, at, sequence, sequence)
        self._last[source, shard] = last
        self._all.append(last)

    def joined(self) -> list[Span]:
        """All of them, by source, shard and number."""
        return joined(self._all)


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same numbers in as few spans as they need, by source, shard and number."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.source, one.shard, one.low, one.high)):
        last = found[-1] if found else None
        if (
            last is None
            or (last.source, last.shard) != (span.source, span.shard)
            or span.low > last.high + 1
        ):
            found.append(span)
        elif span.high > last.high:
            found[-1] = Span(
                last.source, last.shard, last.low, span.high,
                last.low_at, span.high_at, last.low_sequence, span.high_sequence,
            )  # fmt: skip
    return found
