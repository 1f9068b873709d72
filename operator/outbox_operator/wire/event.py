"""One outbox event as an application writes it. Standard library only."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from outbox_operator.errors import EventError
from outbox_operator.wire.declared import declared, key_of
from outbox_operator.wire.headers import (
    DELIVER_AFTER,
    LONGEST_DELAY,
    RESERVED_NAMES,
    RESERVED_PREFIXES,
)
from outbox_operator.wire.times import format_time

_DOTTED_NAME: Final = re.compile(r"^[^\s*>\x00-\x1f\x7f.]+(\.[^\s*>\x00-\x1f\x7f.]+)*$")
_LONGEST_SHOWN: Final = 100
_HEADER_NAME: Final = re.compile(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact to publish.

    Attributes:
        type: Dotted name, for example `order.created`; becomes subject tokens.
        payload: JSON-serialisable value (payloadType jsonb) or bytes (payloadType bytea).
        key: Ordering key, usually the aggregate's id. Empty: no order is promised.
        headers: Extra headers; names starting with `Nats-`, `Outbox-` or `Ce-` are reserved, and
            `Status` and `Description`. No two may differ in the case of letters alone.
        routing_key: Replaces `{event_type}` in the subject template when set.
        id: The event's id; a fresh random UUID unless given.
        deliver_after: When consumers of our runtime are to handle it at the earliest: a time with a
            zone, or from now on; at most 7 days. It becomes the header `Deliver-After`. In order,
            what is behind it waits, too.
    """

    type: str
    payload: object
    key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    routing_key: str | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    deliver_after: dt.datetime | dt.timedelta | None = None

    @classmethod
    def of(
        cls,
        payload: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        routing_key: str | None = None,
        id: uuid.UUID | None = None,
        deliver_after: dt.datetime | dt.timedelta | None = None,
    ) -> Event:
        """Make an event of a payload whose class is declared with `@event`.

        Args:
            payload: Says type and key.
            key: Instead of the declared one.
            headers: As of `Event`.
            routing_key: As of `Event`.
            id: As of `Event`.
            deliver_after: As of `Event`.

        Raises:
            EventError: Its class is not declared, its key field holds no key, or as of `Event`.
        """
        told = declared(type(payload))
        if told is None and isinstance(payload, type):
            raise EventError(
                f"wanted the payload of an event, found the class {payload.__name__} itself; write "
                f"Event.of({payload.__name__}(…))"
            )
        if told is None:
            raise EventError(
                f"{type(payload).__name__} is not declared as the payload of an event; write "
                '@event("order.created") above the class, or Event(type=…, key=…, payload=…)'
            )
        return cls(
            type=told.type,
            payload=payload,
            key=key_of(payload, told) if key is None else key,
            headers=headers or {},
            routing_key=routing_key,
            id=id or uuid.uuid4(),
            deliver_after=deliver_after,
        )

    def __post_init__(self) -> None:
        if not is_dotted_name(str(self.type)):
            raise EventError(
                f"event {self.id}: type {shown(self.type)!r} is not a dotted name "
                "(no spaces, wildcards or empty parts), for example 'order.created'"
            )
        if not isinstance(self.headers, Mapping):
            raise EventError(
                f"event {self.id} ({shown(self.type)}): headers are "
                f"{type(self.headers).__name__}, wanted a mapping of texts"
            )
        where = f"event {self.id} ({shown(self.type)})"
        if self.deliver_after is not None:
            later = {DELIVER_AFTER: _due(where, self.deliver_after)}
            object.__setattr__(self, "headers", {**self.headers, **later})
        for name, value in self.headers.items():
            check_header(where, name, value)
        if len(self.headers) > 1:
            _check_names(where, self.headers)


def _due(where: str, after: object) -> str:
    """Return the text of the time at which an event may be handled. Raises EventError."""
    now = dt.datetime.now(dt.UTC)
    try:
        due = now + after if isinstance(after, dt.timedelta) else after
        if isinstance(due, dt.datetime) and due.utcoffset() is not None:
            text = format_time(due)
            if due - now <= LONGEST_DELAY:
                return text
    except OverflowError:  # before the first year, or after the last
        pass
    raise EventError(
        f"{where}: deliver_after: wanted a time with a zone, or a timedelta, within "
        f"{LONGEST_DELAY.days} days, found {shown(after)!r}"
    )


def shown(text: object) -> str:
    """The beginning of a text, for messages: nobody reads a megabyte."""
    found = str(text)
    return found if len(found) <= _LONGEST_SHOWN else f"{found[:_LONGEST_SHOWN]}…"


def is_dotted_name(text: str) -> bool:
    """Whether a text is subject tokens: no spaces, wildcards, control characters, empty parts."""
    return _DOTTED_NAME.fullmatch(text) is not None


def _check_names(where: str, headers: Mapping[str, str]) -> None:
    """Refuse names that differ in case alone: whoever reads them as HTTP does has one of two."""
    seen: dict[str, str] = {}
    for name in headers:
        before = seen.setdefault(name.lower(), name)
        if before is not name:
            raise EventError(
                f"{where}: headers {shown(before)!r} and {shown(name)!r} are one name to readers, "
                "which do not tell the cases of letters apart"
            )


def check_header(where: str, name: object, value: object) -> None:
    """Refuse a header that NATS cannot carry or that is ours.

    Raises:
        EventError: Names the event, the header, what is wanted and found.
    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise EventError(
            f"{where}: header name {shown(name)!r} is not a token (letters, digits, - and the like)"
        )
    if name.lower().startswith(RESERVED_PREFIXES) or name.lower() in RESERVED_NAMES:
        raise EventError(
            f"{where}: header {shown(name)!r} is reserved (Nats-, Outbox- and Ce- belong to the "
            "system, Status and Description to answers of NATS)"
        )
    if not isinstance(value, str) or "\r" in value or "\n" in value:
        raise EventError(
            f"{where}: header {shown(name)!r} must be text in one line, "
            f"found {type(value).__name__}"
        )
