"""Which events cannot be published, and what happens to them and to their keys. Pure.

Called by `relay.loop` and `relay.retrying`. An event is poison when no amount of waiting helps:
it is found here, before it is sent, wherever possible. What a server refuses is sorted by
`treat`.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from outbox_operator.adapters.postgres.rows import (
    EVENT_ID,
    PARTITION_KEY,
    POSITION,
    NewDeadLetter,
    Row,
    Rows,
    is_copy,
)
from outbox_operator.adapters.sink import Message, Refusal, RefusalKind, StreamFacts
from outbox_operator.errors import EventError, SpecError
from outbox_operator.reasons import Reason
from outbox_operator.relay.chain import Naming
from outbox_operator.relay.message import Renderer, name_predecessor, say_reached
from outbox_operator.wire.headers import MAX_HEADER_BYTES
from outbox_operator.wire.subjects import (
    MAX_SUBJECT_BYTES,
    SubjectTemplate,
    covers,
    is_valid_filter,
    overlaps,
)
from outbox_operator.wire.tables import MAX_NAME_BYTES
from outbox_operator.wire.trace_context import trace_id_in

Policy = Literal["BlockKey", "Skip", "Halt"]

_ERROR_CHARACTERS: Final = 300
_SHOWN_CHARACTERS: Final = 200
"""What a sentence shows of a text that a row brought: rows may be large."""


@dataclass(frozen=True, slots=True)
class Poison:
    """Why an event cannot be published: reason and a sentence."""

    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class PagePlan:
    """What to do with the rows of a page; those it does not mention are published already.

    Attributes:
        messages: To publish, in order, numbered.
        positions: Of their rows, in order.
        dead_letters: To copy to the dead letters.
        halted: Set with policy Halt: the row at which everything stops, and why.
    """

    messages: Sequence[Message]
    positions: Sequence[int]
    dead_letters: Sequence[NewDeadLetter] = ()
    halted: tuple[Row, Poison] | None = None

    def naming(self, naming: Naming) -> PagePlan:
        """Return the plan with messages that name the number before theirs."""
        return replace(self, messages=name_predecessor(self.messages, naming))

    def reaching(self, position: int) -> PagePlan:
        """Return the plan with messages of rows below a position saying that it was sent before."""
        below = bisect_left(self.positions, position)
        if not below:
            return self
        return replace(self, messages=say_reached(self.messages, below, position))

    @property
    def found_poison(self) -> bool:
        """Whether a row is poison by itself, not just of a blocked key."""
        return self.halted is not None or any(not letter.blocked for letter in self.dead_letters)

    @property
    def given_up(self) -> Set[int]:
        """Positions of the rows that are not published as they are."""
        halted = () if self.halted is None else (self.halted[0].position,)
        return {*halted, *(letter.position for letter in self.dead_letters)}


class Treatment(enum.Enum):
    """What a refusal means for the refused event."""

    RETRY = "retry"
    """Time helps: the server is away, electing, full, or slow."""
    POISON = "poison"
    """It will be refused for ever."""
    FENCE = "fence"
    """Somebody published behind our last message, or that is gone."""
    RESEND = "resend"
    """Not its fault: somebody else published in between; send it again at once."""


def plan_page(
    rows: Rows,
    *,
    renderer: Renderer,
    facts: StreamFacts,
    policy: Policy,
    blocked_keys: Set[str],
    refused: Mapping[int, Poison],
    published: Mapping[int, str],
    guessed: Container[int] = (),
    repeated: Set[int] = frozenset(),
    emission: int,
) -> PagePlan:
    """Sort the rows of a page into messages and dead letters.

    Copies of a replay are past and over: whatever becomes of one, its key flows, and the shard.

    Args:
        facts: About stream and server.
        blocked_keys: Keys that already have an unresolved dead letter.
        refused: What the server found to be poison, by position.
        published: Event ids by position of what is in the stream although it is read again.
        guessed: Positions of those of them that no message shows. What cannot be sent was not: a
            row behind it was, and its relay died before it had stored the dead letter.
        repeated: Positions of rows with the event id of another row.
        emission: Number of the last event published.
    """
    if published:
        rows = [
            row
            for row in rows
            if published.get(row[POSITION]) != row[EVENT_ID]
            or (
                row[POSITION] in guessed
                and _is_given_up(Row.named(row), renderer, facts, policy, emission + 1)
            )
        ]
    blocked = blocked_keys if policy == "BlockKey" else frozenset()
    if not (refused or repeated) and (
        not blocked or blocked.isdisjoint([row[PARTITION_KEY] for row in rows])
    ):
        messages = _render_ordinary(renderer, rows, emission)
        if messages is not None and _all_fit(messages, renderer, facts):
            return PagePlan(messages, [row[POSITION] for row in rows])
    return _plan_one_by_one(rows, renderer, facts, policy, blocked, refused, repeated, emission)


def _is_given_up(
    row: Row, renderer: Renderer, facts: StreamFacts, policy: Policy, number: int
) -> bool:
    """Return whether a row can never be sent, and what is behind it goes on."""
    if policy == "Halt" and not is_copy(row.headers):
        return False
    return isinstance(inspect(row, renderer, facts, number), Poison)


def _plan_one_by_one(
    rows: Rows,
    renderer: Renderer,
    facts: StreamFacts,
    policy: Policy,
    blocked_keys: Set[str],
    refused: Mapping[int, Poison],
    repeated: Set[int],
    emission: int,
) -> PagePlan:
    blocked = set(blocked_keys)
    messages: list[Message] = []
    positions: list[int] = []
    dead: list[NewDeadLetter] = []
    for row in map(Row.named, rows):
        copied = is_copy(row.headers)
        if row.partition_key in blocked and not copied:
            key = row.partition_key[:_SHOWN_CHARACTERS]
            error = f"an earlier event of key {key!r} is a dead letter"
            dead.append(
                NewDeadLetter(
                    row.position,
                    row.partition_key,
                    Reason.KEY_BLOCKED,
                    error,
                    blocked=True,
                    event_id=row.event_id,
                )
            )
            continue
        number = emission + len(messages) + 1
        mark = f".{row.position}" if row.position in repeated else ""
        found = refused.get(row.position) or inspect(row, renderer, facts, number, mark)
        if isinstance(found, Message):
            messages.append(found)
            positions.append(row.position)
            continue
        if policy == "Halt" and not copied:
            return PagePlan(messages, positions, dead, halted=(row, found))
        dead.append(
            NewDeadLetter(
                row.position,
                row.partition_key,
                found.reason,
                found.error,
                blocked=False,
                event_id=row.event_id,
                trace_id=trace_id_in(row.headers),
            )
        )
        if policy == "BlockKey" and row.partition_key and not copied:
            blocked.add(row.partition_key)
    return PagePlan(messages, positions, dead)


def _render_ordinary(renderer: Renderer, rows: Rows, emission: int) -> list[Message] | None:
    """Make the messages of a page; None: one by one, to know which row is at fault."""
    try:
        return renderer.page(rows, emission)
    except Exception:  # noqa: BLE001 - said of the row, by `inspect`
        return None


def _all_fit(messages: Sequence[Message], renderer: Renderer, facts: StreamFacts) -> bool:
    """Return whether nothing can be wrong with any of them; False: they must be inspected."""
    subjects = {message[0] for message in messages}
    if (
        not _accepts_all(renderer.subjects, facts.subjects)
        or max(map(len, subjects), default=0) > MAX_SUBJECT_BYTES
    ):
        return False
    longest = max([len(message[1]) for message in messages], default=0)
    head = longest + renderer.reserve + renderer.left_out
    payload = max([len(message[2]) for message in messages], default=0)
    return head <= MAX_HEADER_BYTES and head + payload <= facts.max_message_bytes


def inspect(
    row: Row, renderer: Renderer, facts: StreamFacts, emission: int, mark: str = ""
) -> Message | Poison:
    """Make the message of a row, or say why it can never be published.

    Args:
        mark: Put behind the event's id to make a message id of its own.
    """
    if row.payload is None:
        return _not_read(row, facts)
    try:
        message = renderer.render(row, row.payload, emission, mark)
    except EventError as error:
        return Poison(error.reason, error.message)
    except Exception as error:  # noqa: BLE001 - whatever a row does is about that row alone
        return _unreadable(row, f"{type(error).__name__}: {error}")
    problem = _subject_problem(message.subject, facts.subjects)
    if problem is not None:
        shown = message.subject if len(message.subject) < 200 else message.subject[:200] + "…"
        return Poison(
            problem,
            f"{_name(row)}: stream {facts.stream} takes {', '.join(facts.subjects)}, "
            f"the event's subject is {shown!r}",
        )
    head = len(message.head) + renderer.reserve
    if head > MAX_HEADER_BYTES:
        return _headers_too_large(row, str(head))
    if head + len(message.payload) > facts.max_message_bytes:
        return _too_large(row, facts, str(head + len(message.payload)))
    return renderer.without_id(message)


def _name(row: Row) -> str:
    return f"event {row.event_id} (position {row.position})"


def _not_read(row: Row, facts: StreamFacts) -> Poison:
    """Say why a row was left unread: for something too large in it, most likely."""
    column, _, found = (row.headers or "").partition(" ")
    if not found.isdecimal():
        return _unreadable(row, row.headers or "nobody knows why")
    if column == "payload":
        return _too_large(row, facts, f"at least {found}")
    if column == "headers":
        return _headers_too_large(row, f"at least {found}")
    return Poison(
        Reason.COLUMN_TOO_LONG,
        f"{_name(row)}: {column} may have {MAX_NAME_BYTES} bytes, found {found}",
    )


def _unreadable(row: Row, why: str) -> Poison:
    return Poison(Reason.UNREADABLE, f"{_name(row)}: cannot be read: {why[:_ERROR_CHARACTERS]}")


def _headers_too_large(row: Row, found: str) -> Poison:
    return Poison(
        Reason.HEADERS_TOO_LARGE,
        f"{_name(row)}: headers may take {MAX_HEADER_BYTES} bytes, found {found}",
    )


def _too_large(row: Row, facts: StreamFacts, found: str) -> Poison:
    return Poison(
        Reason.MESSAGE_TOO_LARGE,
        f"{_name(row)}: stream {facts.stream} and its server take {facts.max_message_bytes} "
        f"bytes a message, headers included; found {found}",
    )


def check_stream(template: SubjectTemplate, facts: StreamFacts) -> None:
    """Refuse to start when no event at all could enter the stream: that is not the events' fault.

    Raises:
        SpecError: Reason SubjectNotInStream, or InvalidSpec for a setting of the stream.
    """
    if facts.unfit:
        raise SpecError(
            f"stream {facts.stream} has {facts.unfit} set, with which it does not store events as "
            'they are sent; take it away (the reference "Options of streams and consumers in a '
            'pipeline")'
        )
    wanted = template.filter()
    if not any(overlaps(subject, wanted) for subject in facts.subjects):
        raise SpecError(
            f"stream {facts.stream} takes {', '.join(facts.subjects) or 'no subjects'}, the "
            f"subject template {template.text} makes {wanted}: no event could be published",
            reason=Reason.SUBJECT_NOT_IN_STREAM,
        )


def treat(refusal: Refusal) -> Treatment:
    """Sort a refusal. What is unknown is retried: an event is never given up by mistake."""
    return _TREATMENTS.get(refusal.kind, Treatment.RETRY)


_TREATMENTS: Final = {
    RefusalKind.TOO_LARGE: Treatment.POISON,
    RefusalKind.FENCE_BROKEN: Treatment.FENCE,
    RefusalKind.INTERLEAVED: Treatment.RESEND,
}


@lru_cache(maxsize=64)
def _accepts_all(subjects: str, stream_subjects: tuple[str, ...]) -> bool:
    """Return whether a stream accepts every subject under a filter."""
    return any(covers(wide, subjects) for wide in stream_subjects)


@lru_cache(maxsize=4096)
def _subject_problem(subject: str, subjects: tuple[str, ...]) -> Reason | None:
    """Return the reason why a stream with these filters does not accept a subject."""
    if not is_valid_filter(subject):
        return Reason.INVALID_SUBJECT
    if not any(covers(wide, subject) for wide in subjects):
        return Reason.SUBJECT_NOT_IN_STREAM
    return None
