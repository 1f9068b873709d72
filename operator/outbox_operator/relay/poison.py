"""Which events cannot be published, and what happens to them and to their keys. Pure.

Called by `relay.loop`. An event is poison when no amount of waiting helps: it is found here,
before it is sent, wherever possible. What a server refuses is sorted by `treat`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from outbox_operator.adapters.jetstream import Refusal, StreamLimits
from outbox_operator.adapters.outbox_store import Burial, Row
from outbox_operator.errors import EventError, SpecError
from outbox_operator.relay.message import Message, Renderer
from outbox_operator.wire.subjects import SubjectTemplate, covers, is_valid_filter, overlaps

Policy = Literal["BlockKey", "Skip", "Halt"]

KEY_BLOCKED: Final = "KeyBlocked"
MAX_HEADER_BYTES: Final = 65535
"""JetStream stores the length of headers in two bytes."""

_TOO_LARGE_CODES: Final = frozenset({10054, 10097})
_CHAIN_BROKEN_CODES: Final = frozenset({10070})


@dataclass(frozen=True, slots=True)
class Poison:
    """Why an event cannot be published: CamelCase reason and a sentence."""

    reason: str
    error: str


@dataclass(slots=True)
class Plan:
    """What to do with the rows of a page.

    Attributes:
        messages: To publish, in order, numbered.
        burials: To copy to the dead letters.
        halted: Set with policy Halt: the row at which everything stops, and why.
    """

    messages: list[Message] = field(default_factory=list)
    burials: list[Burial] = field(default_factory=list)
    halted: tuple[Row, Poison] | None = None

    @property
    def found_poison(self) -> bool:
        """Whether a row is poison by itself, not just of a blocked key."""
        return self.halted is not None or any(not burial.blocked for burial in self.burials)

    def done(self, rows: Sequence[Row], published: int) -> Sequence[Row]:
        """The leading rows that are dealt with once `published` messages are stored."""
        if published < len(self.messages):
            stop = self.messages[published].row.position
        elif self.halted is not None:
            stop = self.halted[0].position
        else:
            return rows
        return [row for row in rows if row.position < stop]


class Treatment(enum.Enum):
    """What a refusal means for the refused event."""

    RETRY = "retry"
    """Time helps: the server is away, electing, full, or slow."""
    POISON = "poison"
    """It will be refused for ever."""
    RESUME = "resume"
    """Not its fault: somebody else published in between; send it again at once."""


def plan_page(
    rows: Iterable[Row],
    *,
    renderer: Renderer,
    limits: StreamLimits,
    policy: Policy,
    blocked_keys: frozenset[str],
    refused: Mapping[int, Poison],
    emission: int,
) -> Plan:
    """Sort the rows of a page into messages and dead letters.

    Args:
        limits: Of stream and server.
        blocked_keys: Keys that already have an unresolved dead letter.
        refused: What the server found to be poison, by position.
        emission: Number of the last event published.
    """
    plan = Plan()
    blocked = set(blocked_keys)
    for row in rows:
        if policy == "BlockKey" and row.partition_key in blocked:
            error = f"an earlier event of key {row.partition_key!r} is a dead letter"
            plan.burials.append(Burial(row.position, KEY_BLOCKED, error, blocked=True))
            continue
        found = refused.get(row.position) or inspect(row, renderer, limits)
        if isinstance(found, Message):
            emission += 1
            found.number(emission)
            plan.messages.append(found)
            continue
        if policy == "Halt":
            plan.halted = (row, found)
            return plan
        plan.burials.append(Burial(row.position, found.reason, found.error, blocked=False))
        if policy == "BlockKey" and row.partition_key:
            blocked.add(row.partition_key)
    return plan


def keys_of(rows: Iterable[Row], burials: Iterable[Burial]) -> frozenset[str]:
    """Keys of the buried ones among `rows`; the empty key is no key."""
    buried = {burial.position for burial in burials}
    return frozenset(row.partition_key for row in rows if row.position in buried) - {""}


def inspect(row: Row, renderer: Renderer, limits: StreamLimits) -> Message | Poison:
    """The message of a row, or why it can never be published."""
    if row.payload is None or row.headers is None:
        # It was left unread for its size, which is as good as having seen it.
        return _too_large(row, limits, "far more")
    try:
        message = renderer.render(row, row.payload, row.headers)
    except EventError as error:
        return Poison(error.reason, error.message)
    problem = _subject_problem(message.subject, limits.subjects)
    if problem is not None:
        shown = message.subject if len(message.subject) < 200 else message.subject[:200] + "…"
        return Poison(
            problem,
            f"{_name(row)}: stream {limits.stream} takes {', '.join(limits.subjects)}, "
            f"the event's subject is {shown!r}",
        )
    if message.header_bytes > MAX_HEADER_BYTES:
        return Poison(
            "HeadersTooLarge",
            f"{_name(row)}: headers may take {MAX_HEADER_BYTES} bytes, "
            f"found {message.header_bytes}",
        )
    if message.size > limits.max_message_bytes:
        return _too_large(row, limits, str(message.size))
    return message


def _name(row: Row) -> str:
    return f"event {row.event_id} (position {row.position})"


def _too_large(row: Row, limits: StreamLimits, found: str) -> Poison:
    return Poison(
        "MessageTooLarge",
        f"{_name(row)}: stream {limits.stream} and its server take {limits.max_message_bytes} "
        f"bytes a message, headers included; found {found}",
    )


def check_template(template: SubjectTemplate, limits: StreamLimits) -> None:
    """Refuse to start when no event at all could enter the stream: that is not the events' fault.

    Raises:
        SpecError: Reason SubjectNotInStream.
    """
    wanted = template.filter()
    if not any(overlaps(subject, wanted) for subject in limits.subjects):
        raise SpecError(
            f"stream {limits.stream} takes {', '.join(limits.subjects) or 'no subjects'}, the "
            f"subject template {template.text} makes {wanted}: no event could be published",
            reason="SubjectNotInStream",
        )


def treat(refusal: Refusal) -> Treatment:
    """Sort a refusal. What is unknown is retried: an event is never given up by mistake."""
    if refusal.code in _TOO_LARGE_CODES:
        return Treatment.POISON
    if refusal.code in _CHAIN_BROKEN_CODES:
        return Treatment.RESUME
    return Treatment.RETRY


@lru_cache(maxsize=4096)
def _subject_problem(subject: str, subjects: tuple[str, ...]) -> str | None:
    """Reason why a stream with these filters cannot take a message on a subject."""
    if not is_valid_filter(subject):
        return "InvalidSubject"
    if not any(covers(wide, subject) for wide in subjects):
        return "SubjectNotInStream"
    return None
