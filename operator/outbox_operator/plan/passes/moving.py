"""An outbox or a stream that is declared elsewhere than it was, and what waits where it was. Pure.

A Secret that names another database, or an address that leads to one, leaves rows behind that
nobody would ever publish; another NATS, messages that nobody would ever handle. Such a move waits
for a person, or until they are published and handled; what runs is left as it is meanwhile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.plan.postgres.state import ObservedDatabase, OutboxNumbers
from outbox_operator.plan.status.conditions import Part
from outbox_operator.reasons import Reason

KEPT_WHERE_IT_WAS = "left as it is until the outbox may move, see SchemaApplied"
KEPT_WHERE_STREAM_WAS = "left as it is until the stream may move, see StreamReady"
"""Of the relay."""
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
        count = f"{self.rows}{' or more' if self.more else ''}"
        when = "wait" if self.numbers else "waited when it was looked at last"
        return f"{count} rows {when} in the database where the outbox was (identity {self.before})"


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
        hash=digest[:_HASH_LENGTH],
    )  # fmt: skip


def move_held(pipeline: Pipeline, move: Move) -> Part:
    """SchemaApplied while rows wait where the outbox was."""
    ref = pipeline.spec.database.connectionSecretRef.name
    return Part(
        type=ConditionType.SCHEMA_APPLIED,
        status="False",
        reason=Reason.APPROVAL_PENDING,
        message=f"spec.database.connectionSecretRef: Secret {ref} leads to another database "
        f"(identity {move.now}), and {move.leaves}. Point it back, or wait until they are "
        "published there, or leave them there unpublished: annotation "
        f"{meta.APPROVE_PLAN_ANNOTATION}={move.hash}",
        stalled=True,
    )


def moved_text(move: Move) -> str:
    """What is said once the outbox has moved."""
    nothing = _nothing(seen=move.numbers is not None)
    left = f"{move.leaves}, and stay there" if move.rows else nothing
    return f"the outbox is in another database now (identity {move.now}); {left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMove:
    """A stream that is declared elsewhere than it was.

    Attributes:
        before: Where it was, for people.
        now: Where it is declared.
        waiting: Messages there that consumers have not handled; when nobody can look, those of
            the last statuses.
        seen: Whether that was looked at in this pass.
        hash: What a person approves.
    """

    before: str
    now: str
    waiting: int
    seen: bool
    hash: str

    @property
    def leaves(self) -> str:
        """What stays where it was, for people."""
        when = "wait" if self.seen else "waited when they were counted last"
        return f"{self.waiting} messages {when} for consumers at {self.before}"

    @property
    def text(self) -> str:
        """What is said once the stream has moved."""
        left = f"{self.leaves}, and stay there" if self.waiting else _nothing(seen=self.seen)
        return f"the stream is declared at {self.now} now; {left}"


def stream_move(
    pipeline: Pipeline, before: NatsConnection, waiting: int, *, seen: bool
) -> StreamMove:
    """A move to where a pipeline declares its stream now; arguments as `StreamMove`."""
    now = pipeline.spec.nats
    said = f"{pipeline.meta.uid} {before.model_dump_json()} {now.model_dump_json()}"
    return StreamMove(
        before=_place(before), now=_place(now), waiting=waiting, seen=seen,
        hash=hashlib.sha256(said.encode()).hexdigest()[:_HASH_LENGTH],
    )  # fmt: skip


def stream_held(pipeline: Pipeline, move: StreamMove) -> Part | None:
    """StreamReady while messages wait where the stream was; None: it may move."""
    approved = pipeline.meta.annotations.get(meta.APPROVE_PLAN_ANNOTATION)
    if not move.waiting or approved == move.hash:
        return None
    return Part(
        type=ConditionType.STREAM_READY,
        status="False",
        reason=Reason.APPROVAL_PENDING,
        message=f"spec.nats: the stream would be another one at {move.now}, and {move.leaves}. Set "
        "it back and stop the relay, or wait until they are handled there, or leave them there: "
        f"annotation {meta.APPROVE_PLAN_ANNOTATION}={move.hash}",
        stalled=True,
    )


def _nothing(*, seen: bool) -> str:
    """That it may move: what nobody could look at may hold what came since."""
    said = "nothing waited where it was"
    return said if seen else f"{said} when it was looked at last, and nobody can look there now"


def _place(nats: NatsConnection) -> str:
    domain = "" if nats.domain is None else f" (domain {nats.domain})"
    return f"{nats.url}{domain}"
