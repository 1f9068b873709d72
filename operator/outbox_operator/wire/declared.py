"""Types of events that an application declares once, on the class of their payload. Pure.

`client.declaring` writes the mark, `Event.of` and the registry of handlers read it.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from typing import Final

from outbox_operator.errors import EventError

MARK: Final = "__outbox_event__"
"""Attribute of a class that is the payload of an event."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a class says of the events whose payload it is.

    Attributes:
        name: Dotted name, for example `order.created`.
        version: 1, or more after a change that readers could not follow.
        key: Field of the payload that is the ordering key; None: there is no order.
        deprecated: Whether nobody shall begin to read it.
    """

    name: str
    version: int
    key: str | None
    deprecated: bool

    @property
    def type(self) -> str:
        """The type on the wire. A later version is a type, and so a subject, of its own: whoever
        reads the first is not given it."""
        return self.name if self.version == 1 else f"{self.name}.v{self.version}"


def declared(kind: type) -> Declared | None:
    """What a class itself says; None: it, whatever it inherits from, is declared as no event."""
    found = kind.__dict__.get(MARK)
    return found if isinstance(found, Declared) else None


def key_of(payload: object, told: Declared) -> str:
    """The ordering key of a declared payload.

    Raises:
        EventError: The field holds nothing that could be one; names it.
    """
    if told.key is None:
        return ""
    value = getattr(payload, told.key)
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, str | int | uuid.UUID) or value == "":
        raise EventError(
            f"event of type {told.type!r}: key field {told.key!r}: wanted text, an integer or a "
            f"UUID, found {'empty text' if value == '' else type(value).__name__}"
        )
    return str(value)
