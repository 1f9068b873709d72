"""An outbox or an inbox that is declared elsewhere than it was, and what waits where it was. Pure.

A Secret that names another database, or an address that leads to one, leaves rows behind that
nobody would ever publish. Such a move waits for a person, or until they are published; what runs is
left as it is meanwhile. `stream_moving` says the same of streams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.counted import counted
from outbox_operator.plan.passes.approval import Vote, allows, held, last_word
from outbox_operator.plan.plan_hash import plan_hash
from outbox_operator.plan.postgres.state import ObservedDatabase, OutboxNumbers
from outbox_operator.plan.status.conditions import Part

KEPT_WHERE_IT_WAS = "left as it is until the outbox may move, see SchemaApplied"
"""Of the relay."""
KEPT_WHERE_INBOX_WAS = "left as it is until the inbox may move, see SchemaApplied"
"""Of a consumer's pods."""
KEPT_UNTIL_DATABASE_SEEN = (
    "left as it is until it is known which database the changed login leads to, see "
    "DatabaseReachable and SchemaApplied"
)
"""Of both."""
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An outbox that was elsewhere when it was as wanted last.

    Attributes:
        before: Identity of the database where it was.
        now: Identity of the one that is declared now.
        rows: How many rows wait there; when nobody can look, how many waited.
        more: Whether it is at least that many.
        numbers: Of the outbox there, read in this pass; None: nobody could.
        hash: What a person approves.
    """

    before: str
    now: str
    rows: int
    more: bool
    numbers: OutboxNumbers | None
    hash: str

    @property
    def leaves(self) -> str:
        """What stays where it was, for people."""
        more = " or more" if self.more else ""
        late = " waited when it was looked at last"
        rows = counted(self.rows, f"row{late}", f"rows{late}", more=more)
        if self.numbers:
            rows = counted(self.rows, "row waits", "rows wait", more=more)
        return f"{rows} in the database where the outbox was (identity {self.before})"


def move_of(pipeline: Pipeline, found: ObservedDatabase, left: OutboxNumbers | None) -> Move | None:
    """Whether the outbox is declared elsewhere than it was; None: it is where it was.

    A database that came here with its rows, from a dump for example, leaves nothing behind; its
    cursors tell.

    Args:
        pipeline: With the last status.
        found: The database that is declared now.
        left: Numbers of the one where it was, read in this pass; None: nobody could.
    """
    schema, outbox = pipeline.status.schema_, pipeline.status.outbox
    before = None if schema is None else schema.database
    if before is None or found.identity is None or found.identity == before or found.is_copy:
        return None
    if left is not None:
        rows, more = left.backlog_rows, left.backlog_is_estimate
    else:
        rows = 0 if outbox is None else outbox.backlogRows
        more = outbox is not None and outbox.backlogIsEstimate
    digest = hashlib.sha256(f"{pipeline.meta.uid} {before} {found.identity}".encode()).hexdigest()
    return Move(
        before=before, now=found.identity, rows=rows, more=more, numbers=left,
        hash=plan_hash(digest, _HASH_LENGTH),
    )  # fmt: skip


def move_held(pipeline: Pipeline, move: Move, votes: Sequence[Vote] = ()) -> Part | None:
    """SchemaApplied while rows wait where the outbox was; None: it may move."""
    word = last_word(pipeline, "Schema", move.hash, votes)
    if not move.rows or allows(word):
        return None
    ref = pipeline.spec.database.connectionSecretRef.name
    text = (
        f"spec.database.connectionSecretRef: Secret {ref} leads to another database (identity "
        f"{move.now}), and {move.leaves}. Point it back, or wait until they are published there, "
        "or approve that they stay there unpublished"
    )
    return held(pipeline, ConditionType.SCHEMA_APPLIED, move.hash, word, text)


def moved_text(move: Move) -> str:
    """What is said once the outbox has moved."""
    nothing = nothing_waited(seen=move.numbers is not None)
    left = f"{move.leaves}, and stay there" if move.rows else nothing
    return f"the outbox is in another database now (identity {move.now}); {left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxMove:
    """An inbox whose login leads to another database than before.

    Attributes:
        before: Identity of the database where it was.
        now: Identity of the one that the login leads to.
        unacknowledged: Messages that were handed out and may come again, although handled.
        copied: The inbox there knows the consumer already, from a dump for example.
        hash: What a person approves.
    """

    before: str
    now: str
    unacknowledged: int
    copied: bool
    hash: str

    @property
    def leaves(self) -> str:
        """What may come again, for people."""
        return (
            f"{counted(self.unacknowledged, 'message is', 'messages are')} handed out and not "
            "acknowledged: which of them "
            f"were handled is known where the inbox was (identity {self.before})"
        )

    @property
    def text(self) -> str:
        """What is said once the inbox has moved."""
        there = "what had been handled is known where it was alone"
        if self.copied:
            there = "the inbox there knew the consumer already"
        return (
            f"the inbox is in another database now (identity {self.now}, before {self.before}); "
            f"{counted(self.unacknowledged, 'message was', 'messages were')} handed out and not "
            f"acknowledged; {there}"
        )


def inbox_move(
    consumer: Consumer, found: ObservedDatabase, unacknowledged: int, *, known: bool
) -> InboxMove | None:
    """Whether an inbox is elsewhere than it was; None: it is where it was, or new.

    Args:
        consumer: With the last status.
        found: The database that is declared now.
        unacknowledged: Messages that were handed out and not acknowledged.
        known: Whether the inbox there has anything of the consumer.
    """
    before, now = consumer.status.inboxDatabase, found.identity
    if before is None or now is None or now == before:
        return None
    digest = hashlib.sha256(f"{consumer.meta.uid} inbox {before} {now}".encode()).hexdigest()
    return InboxMove(
        before=before, now=now, unacknowledged=unacknowledged, copied=known,
        hash=plan_hash(digest, _HASH_LENGTH),
    )  # fmt: skip


def inbox_held(consumer: Consumer, move: InboxMove, votes: Sequence[Vote] = ()) -> Part | None:
    """SchemaApplied while handled messages may come again; None: it may move."""
    word = last_word(consumer, "Inbox", move.hash, votes)
    if not move.unacknowledged or move.copied or allows(word):
        return None
    text = (
        f"spec.inbox.connectionSecretRef: the login leads to another database (identity {move.now})"
        f", and {move.leaves}. Point it back, or stop the consumer until none are left, or copy "
        "the tables, or approve that they may be handled again"
    )
    return held(consumer, ConditionType.SCHEMA_APPLIED, move.hash, word, text)


def nothing_waited(*, seen: bool) -> str:
    """That it may move: what nobody could look at may hold what came since."""
    said = "nothing waited where it was"
    return said if seen else f"{said} when it was looked at last, and nobody can look there now"
