"""The tables of an EventConsumer: an inbox, or an archive."""

from __future__ import annotations

from collections.abc import Sequence

from outbox_operator.api.resource import Consumer
from outbox_operator.controller.reconcile.consumer_archive import ensure_archive
from outbox_operator.controller.reconcile.consumer_inbox import ensure_inbox
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.postgres import Logins
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.inbox import InboxResult


async def ensure_tables(
    context: Context,
    consumer: Consumer,
    tried: dict[str, Logins],
    unacknowledged: int,
    votes: Sequence[Vote],
) -> InboxResult:
    """Make the inbox or the archive as declared; arguments as `ensure_inbox`."""
    archive = archive_of(consumer.spec)
    if archive is not None:
        return await ensure_archive(context, consumer, archive, tried, votes)
    return await ensure_inbox(context, consumer, tried, unacknowledged, votes)
