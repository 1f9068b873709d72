"""Become the one active relay of a shard, or stand by until that is possible.

Called by `relay.app`. Three barriers keep a second writer away: the session lock in PostgreSQL,
which ends with our connection; the owner epoch, which every write of the cursor demands; and
de-duplication in the stream for what a frozen process may still send.
"""

from __future__ import annotations

import logging
from typing import Final

from outbox_operator.adapters.jetstream import Publisher
from outbox_operator.adapters.outbox_store import Cursor, OutboxStore
from outbox_operator.relay.paging import check_cursor
from outbox_operator.relay.progress import Progress
from outbox_operator.relay.signals import Signals

log = logging.getLogger(__name__)

STANDBY_POLL_SECONDS: Final = 1.0


async def acquire(
    store: OutboxStore, publisher: Publisher, *, owner: str, signals: Signals, progress: Progress
) -> Cursor | None:
    """Wait for the shard and claim it; None when asked to stop first.

    Raises:
        OutboxError: A connection is lost, or the cursor belongs to another server.
    """
    waiting = False
    while not signals.stopping:
        if publisher.lost:
            raise publisher.lost_error()
        if await store.try_lock():
            cursor = await store.read_cursor()
            check_cursor(cursor, store.address)
            epoch = await store.claim(owner, cursor.server_system)
            progress.active(epoch)
            log.info("active relay of the shard", extra={"epoch": epoch})
            return cursor
        if not waiting:
            log.info("standing by, another relay is active")
            waiting = True
        progress.standby()
        await signals.rest(STANDBY_POLL_SECONDS)
    return None
