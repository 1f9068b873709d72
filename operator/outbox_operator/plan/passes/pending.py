"""What a pass says of a database while a look at it is under way beside the passes. Pure.

What was known of this generation, by this process or by the one before, still holds; the look
will say when it does not. It says nothing of another database, to which a Secret leads by now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.plan.passes.archive import ArchiveResult
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.status.conditions import as_before, unknown
from outbox_operator.reasons import Reason

NOT_LOOKED: Final = (
    "not looked at yet: waits for an answer of the database, or for a connection to it"
)
_KINDS: Final = (ConditionType.DATABASE_REACHABLE, ConditionType.SCHEMA_APPLIED)


def database_pending(
    pipeline: Pipeline, last: DatabaseResult | None, *, elsewhere: bool
) -> DatabaseResult:
    """What is said of the database of a pipeline.

    Args:
        pipeline: The resource.
        last: Of the last look of this process at this generation, with this login.
        elsewhere: Whether what is known was found with another login.
    """
    if last is not None:
        return replace(last, sample=None, waiting=True, drifts=(), question=None, moved=None)
    reachable, schema_applied = (as_before(pipeline, kind) for kind in _KINDS)
    if elsewhere or reachable is None or schema_applied is None:
        reachable, schema_applied = (
            unknown(kind, Reason.NOT_OBSERVED, NOT_LOOKED) for kind in _KINDS
        )
    return DatabaseResult(
        reachable=reachable,
        schema_applied=schema_applied,
        schema=pipeline.status.schema_,
        pending=True,
        waiting=True,
    )


def inbox_pending(consumer: Consumer, *, elsewhere: bool) -> InboxResult:
    """What is said of the inbox of a consumer; arguments as `database_pending`."""
    known = [as_before(consumer, kind) for kind in _KINDS]
    if None not in known and not elsewhere:
        return InboxResult(reachable=known[0], schema_applied=known[1])
    reachable, schema_applied = (unknown(kind, Reason.NOT_OBSERVED, NOT_LOOKED) for kind in _KINDS)
    return InboxResult(reachable=reachable, schema_applied=schema_applied, pending=True)


def archive_pending(consumer: Consumer, *, elsewhere: bool) -> ArchiveResult:
    """What is said of the archive of a consumer; arguments as `database_pending`."""
    inbox = inbox_pending(consumer, elsewhere=elsewhere)
    return ArchiveResult(
        reachable=inbox.reachable,
        schema_applied=inbox.schema_applied,
        pending=inbox.pending,
        state=consumer.status.archive,
        fresh=None,
    )
