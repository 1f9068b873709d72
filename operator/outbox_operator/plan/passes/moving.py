"""An outbox that is declared elsewhere than it was, and what waits where it was. Pure.

A Secret that names another database, or an address that leads to one, leaves rows behind that
nobody would ever publish. That waits for a person, or until the relay, which is left as it is
meanwhile, has published them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.plan.postgres.state import ObservedDatabase, OutboxNumbers
from outbox_operator.plan.status.conditions import Part
from outbox_operator.reasons import Reason

KEPT_WHERE_IT_WAS = "left as it is until the outbox may move, see SchemaApplied"
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
    left = f"{move.leaves}, and stay there" if move.rows else "nothing waited where it was"
    return f"the outbox is in another database now (identity {move.now}); {left}"
