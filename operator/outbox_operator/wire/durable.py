"""Which durable consumer of which stream messages come through, and which of them it is given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from outbox_operator.wire.subjects import covers

_NAME: Final = re.compile(r"[^\s.*>/\\]+")


def names_one(text: str) -> bool:
    """Whether a stream of JetStream, or a durable consumer, can have this name."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Durable:
    """A durable consumer as it is; made anew, or with other filters, it is another one.

    Attributes:
        stream: Name of its stream.
        created: When the server made it, as the server says it.
        filter: Its filters, sorted, with spaces between; empty: it is given every message.
        one_reader: Whether its messages go to one reader at a time. Else no reader knows what
            others were given, and so not what is handled.
    """

    stream: str
    created: str
    filter: str
    one_reader: bool = True

    def is_given(self, subject: str) -> bool:
        """Whether messages of a subject are for it."""
        filters = self.filter.split()
        return not filters or any(covers(wide, subject) for wide in filters)
