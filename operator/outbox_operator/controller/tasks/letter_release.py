"""Releases a dead letter of a relay, and all of its key: in a slice, or beside the passes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import close
from outbox_operator.adapters.postgres.dead_letters import DeadLetter, DeadLetterStore
from outbox_operator.adapters.postgres.errors import UnreadableRowsError
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.beside import log_in, while_wanted
from outbox_operator.controller.tasks.sessions import check_outbox
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason

_NAME: Final = "outbox-dead-letters"
"""In `pg_stat_activity`."""
_INLINE_SECONDS: Final = 2.0
"""A key whose letters take longer to move is moved beside the passes."""


async def release(store: DeadLetterStore, letter: DeadLetter) -> int | str | None:
    """As `DeadLetterStore.release_key`, of a letter's key or of the letter that has none.

    Returns:
        None: it takes longer than a slice, and nothing was done.
    """
    if letter.partition_key:
        return await store.release_key(letter.partition_key, within=_INLINE_SECONDS)
    return len(await store.release([letter.position]))


async def release_beside(work: Work, letter: DeadLetter | None) -> int | str | None:
    """The same, however long it takes.

    Args:
        work: On the pipeline.
        letter: Of the key; None: an operator that is no more has released it already.

    Returns:
        None: the task was deleted or suspended, and nothing was done.
    """
    if letter is None:
        return 0
    return await while_wanted(work, _release_alone(work, letter.partition_key))


async def _release_alone(work: Work, key: str) -> int | str | None:
    session, target = await log_in(work, _NAME)
    try:
        admin = PostgresAdmin(session, target)
        await check_outbox(work, admin, target.address)
        return await admin.dead_letters(work.pipeline.spec.database.schema_).release_key(key)
    except BaseException:
        session.terminate()  # what was not committed is undone
        raise
    finally:
        await close(session)


async def of_the_letter(
    releasing: Awaitable[int | str | None],
) -> int | str | OutboxError | None:
    """What came of it; an error as well, if it is this letter's and says nothing of the next."""
    try:
        return await releasing
    except OutboxError as error:
        if error.reason is Reason.COLUMN_TOO_LONG or isinstance(error, UnreadableRowsError):
            return error
        raise
