"""Events of the past that are sent again: what tells such a message from the first one. Pure.

The operator writes copies of rows, marked with what is here; the relay publishes them, and the
runtime, or whoever has an inbox, tells them from duplicates.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.errors import EventError, SpecError
from outbox_operator.reasons import Reason

MAX_NAME_CHARACTERS: Final = 72
"""Of a replay: each message id of it is so much longer."""
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARACTERS - 1}}}")
_TARGET: Final = re.compile(r"[^\s*>./\\\x00-\x20\x7f-\uffff]{1,255}")
FIRST_TIME: Final = -62_135_596_800_000_000
LAST_TIME: Final = 253_402_300_799_999_999


@dataclass(frozen=True, slots=True)
class Replay:
    """What a copy says of itself.

    Attributes:
        name: Of the replay; no two have the same.
        to: Durable consumer that is to handle it; None: all.
        time: When the event happened: microseconds since 1970.
    """

    name: str
    to: str | None
    time: int

    @property
    def mark(self) -> str:
        """Put behind the event's id to make the message id."""
        return f":{self.name}"

    @classmethod
    def read(cls, found: Any, where: str) -> Replay:
        """Read what is in the column `replay` of a row.

        Raises:
            EventError: It is not what the operator writes (reason InvalidHeaders).
        """
        name, to, time = _parts(found)
        if (
            not (isinstance(name, str) and _NAME.fullmatch(name))
            or not (to is None or (isinstance(to, str) and _TARGET.fullmatch(to)))
            or not (type(time) is int and FIRST_TIME <= time <= LAST_TIME)
        ):
            raise EventError(
                f"{where}: replay: wanted name, to and time as the operator writes them",
                reason=Reason.INVALID_HEADERS,
            )
        return cls(name, to, time)


def _parts(found: Any) -> tuple[Any, Any, Any]:
    if not isinstance(found, Mapping):
        return None, None, None
    return found.get("name"), found.get("to"), found.get("time")


def check_name(name: str) -> str:
    """Return a name that a replay may have.

    Raises:
        SpecError: It may not.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"replay {name[:100]!r}: wanted up to {MAX_NAME_CHARACTERS} letters, digits, '.', '_' "
            "and '-'"
        )
    return name


def check_target(durable: str) -> str:
    """Return the name of a durable consumer that a replay may be for.

    Raises:
        SpecError: It can be none's.
    """
    if not _TARGET.fullmatch(durable):
        raise SpecError(f"replay to {durable[:100]!r}: wanted the name of a durable consumer")
    return durable


def replayed_id(event_id: uuid.UUID, name: str) -> uuid.UUID:
    """Return what an inbox remembers of an event that a replay sent again.

    It is the UUID of version 5 of the replay's name, in the namespace that the event's id is.
    """
    return uuid.uuid5(event_id, name)
