"""What applications import: write events in their transaction, handle each event once.

    from outbox_operator.client import Event, Outbox

    outbox = Outbox()
    async with connection.transaction():
        await connection.execute("INSERT INTO orders ...")
        await outbox.add(connection, Event(type="order.created", key=order_id, payload=order))

Needs the standard library only; the database driver is the application's own.
"""

from __future__ import annotations

from outbox_operator.client.connection_types import OutboxConnection, SyncOutboxConnection
from outbox_operator.client.declaring import event
from outbox_operator.client.inbox import Inbox
from outbox_operator.client.nats_link import NatsLink
from outbox_operator.client.outbox import Outbox
from outbox_operator.client.sending import Nudge, Publish
from outbox_operator.client.sync_inbox import SyncInbox
from outbox_operator.client.sync_outbox import SyncOutbox
from outbox_operator.errors import EventError, SpecError, TransactionError
from outbox_operator.wire.event import Event

__all__ = [
    "Event",
    "EventError",
    "Inbox",
    "NatsLink",
    "Nudge",
    "Outbox",
    "OutboxConnection",
    "Publish",
    "SpecError",
    "SyncInbox",
    "SyncOutbox",
    "SyncOutboxConnection",
    "TransactionError",
    "event",
]
