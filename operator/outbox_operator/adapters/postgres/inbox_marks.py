"""How far a shard of an outbox is handled, and which messages that says something of. Pure.

A mark speaks of a stretch of the stream: of the shard's messages in it, each one that the durable
consumer was to be given is handled. It grows message by message while they come in order through
one durable consumer. Whatever it does not surely speak of is no duplicate for its sake, but
remembered by its id: a message stored later, in another stream, or one that the durable consumer
was not given then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outbox_operator.wire.durable import Durable


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a message stands.

    Attributes:
        durable: What it came through.
        sequence: Its sequence in the stream.
        stored: When the stream took it.
        subject: Its subject.
        emission: Its number in the shard, as it says itself: anybody may write that.
    """

    durable: Durable
    sequence: int
    stored: dt.datetime
    subject: str
    emission: int


@dataclass(slots=True, kw_only=True)
class Mark:
    """A stretch of a stream whose messages of a shard are handled.

    Attributes:
        durable: What they came through.
        first: Sequence at which it begins.
        last: Sequence at which it ends.
        stored: When the stream took the message at the end.
        emission: The greatest number of its messages.
    """

    durable: Durable
    first: int
    last: int
    stored: dt.datetime
    emission: int

    @classmethod
    def at(cls, place: Place) -> Mark:
        """One that begins, and ends, with a message."""
        return cls(
            durable=place.durable,
            first=place.sequence,
            last=place.sequence,
            stored=place.stored,
            emission=place.emission,
        )

    def holds(self, place: Place) -> bool:
        """Whether a message is surely in it, and so handled.

        Sequences alone would not do: a stream that is made anew, or put back to an earlier copy,
        gives them out again. Then the time is another one, or the number, should a clock go back.
        """
        return (
            self.first <= place.sequence <= self.last
            and place.stored <= self.stored
            and place.emission <= self.emission
            and (
                place.durable == self.durable
                or (
                    place.durable.stream == self.durable.stream
                    and self.durable.is_given(place.subject)
                )
            )
        )


@dataclass(slots=True)
class Sorted:
    """What is known of messages of one shard, by their places in what was given.

    Attributes:
        new: They are not handled, and the mark will speak of them.
        unplaced: The mark will not: their ids are to be looked for and remembered.
        mark: What is to be remembered once all of them are handled.
    """

    new: list[int]
    unplaced: list[int]
    mark: Mark | None


def sort_out(committed: Mark | None, places: Sequence[Place | None]) -> Sorted:
    """Tell new messages of a shard from handled ones.

    Args:
        committed: How far the shard was handled before; None: not at all.
        places: The messages in the order of the stream; None: it is in no shard.
    """
    found = Sorted([], [], committed)
    for index, place in enumerate(places):
        mark = found.mark
        if place is None:
            found.unplaced.append(index)
        elif committed is not None and committed.holds(place):
            if mark is not None and _goes_on(mark.durable, place.durable):
                # Made anew, it has begun before the end of the stretch: nothing is left out.
                found.mark = replace(mark, durable=place.durable)
        elif not place.durable.one_reader:
            found.unplaced.append(index)
        elif mark is not None and (place.durable is mark.durable or place.durable == mark.durable):
            if place.sequence > mark.last and place.stored >= mark.stored:
                found.new.append(index)
                if mark is committed:
                    found.mark = mark = replace(mark, durable=place.durable)
                mark.last = place.sequence
                mark.stored = place.stored
                if place.emission > mark.emission:
                    mark.emission = place.emission
            else:
                found.unplaced.append(index)
        elif (
            mark is None
            or place.durable.stream != mark.durable.stream
            or place.stored > mark.stored
        ):
            # Nobody knows what lies between: begin anew here.
            found.new.append(index)
            found.mark = Mark.at(place)
        else:
            found.unplaced.append(index)
    return found


def _goes_on(before: Durable, now: Durable) -> bool:
    return before != now and now == replace(before, created=now.created)
