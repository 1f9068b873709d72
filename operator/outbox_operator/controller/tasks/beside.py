"""What takes longer than a slice: beside the passes, over a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from outbox_operator.adapters.postgres import connection as postgres
from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.controller.reconcile.postgres import forget_refused, read_logins
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Work
from outbox_operator.errors import CredentialsError
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.tasks.status import may_go_on

T = TypeVar("T")

_LOOK_SECONDS: Final = 1.0
_END_SECONDS: Final = 2.5


async def while_wanted(work: Work, doing: Coroutine[Any, Any, T]) -> T | None:
    """What came of it; None: the task was deleted or suspended, and it was cut."""
    task = asyncio.create_task(doing, name=f"beside {work.task.meta.name}")
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            now = work.context.objects.get(ObjectKey.of(work.task.meta))
            if not task.done() and not may_go_on(now, work.task.meta.uid):
                return None
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=_END_SECONDS)  # its session is closed then


async def log_in(
    work: Work, name: str, statement_timeout: float = postgres.STATEMENT_SECONDS
) -> tuple[Connection, PostgresTarget]:
    """A session of its own as owner of the tables: it keeps nobody from the shared ones.

    Args:
        work: On a pipeline.
        name: In `pg_stat_activity`.
        statement_timeout: Seconds.

    Raises:
        OutboxError: Why there is none now.
    """
    owner, database = work.pipeline.meta, work.pipeline.spec.database
    logins = await read_logins(work.context, owner, "spec.database", database)
    if isinstance(logins, SessionFailure):
        raise logins.error
    target = logins.owner
    try:
        session = await postgres.connect(
            target,
            application_name=name,
            statement_timeout=statement_timeout,
            guarded=True,
            statements_of_others=True,
        )
    except CredentialsError as error:
        forget_refused(work.context, owner, database, error)
        raise
    return session, target
