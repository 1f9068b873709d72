"""Handle each event once: remember its id in the transaction that holds the handler's writes.

Imported by applications that read a stream themselves, and by the inbox of the consumer runtime.
Never commits, never opens a connection.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from outbox_operator.client import drivers, encoding
from outbox_operator.client.awaiting import Awaited, refusing
from outbox_operator.client.connection_types import OutboxConnection
from outbox_operator.client.statements import Statement, table
from outbox_operator.wire import tables
from outbox_operator.wire.replay import replayed_id


class Inbox(Awaited):
    """The inbox table of one consumer.

    Args:
        consumer_name: Who handles; the same event may be handled once by each consumer.
        schema: Schema of the inbox table.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier.
    """

    def __init__(self, consumer_name: str, *, schema: str = "outbox") -> None:
        self.consumer_name = consumer_name
        place = table(schema, tables.INBOX)
        self._claim = Statement.of(_CLAIM.replace("%TABLE%", place))
        self._finish = Statement.of(_FINISH.replace("%TABLE%", place))

    @refusing
    async def claim(
        self,
        connection: OutboxConnection,
        event_id: uuid.UUID,
        *,
        source_topic: str,
        event_type: str,
        payload: object = None,
        replay: str | None = None,
    ) -> bool:
        """Record an event as handled by the transaction that is open on `connection`.

        Waits while another transaction that claimed the same event is open.

        Args:
            connection: As for `Outbox.add`.
            event_id: Id of the event.
            source_topic: Subject it came from.
            event_type: Its type.
            payload: What to keep with the record: bytes, or a value to encode as JSON, or None.
            replay: Header `Outbox-Replay` of its message, if it has one: what a replay sends again
                is new, once.

        Returns:
            True if the event is new: handle it, then commit. False if it was handled before.

        Raises:
            EventError: The payload has no JSON form.
            TransactionError: No transaction is open on the connection.
            Exception: Whatever the driver raises.
        """
        kept = payload
        if payload is not None and not isinstance(payload, bytes):
            kept = encoding.to_json(f"event {event_id}", "payload", payload).encode()
        values = (str(_known(event_id, replay)), self.consumer_name, source_topic, event_type, kept)
        driver, connection = drivers.driver_of(connection)
        return await driver.run(connection, self._claim, values) > 0

    @refusing
    async def finish(
        self,
        connection: OutboxConnection,
        event_id: uuid.UUID,
        seconds: float,
        *,
        replay: str | None = None,
    ) -> None:
        """Note how long handling took, in the same transaction; `replay` as for `claim`."""
        known = str(_known(event_id, replay))
        values = (str(round(seconds * 1000)), self.consumer_name, known)
        driver, connection = drivers.driver_of(connection)
        await driver.run(connection, self._finish, values)

    @refusing
    async def process_idempotent(
        self,
        connection: OutboxConnection,
        *,
        event_id: uuid.UUID,
        source_topic: str,
        event_type: str,
        payload: object,
        handler: Callable[[], Awaitable[object]],
        replay: str | None = None,
    ) -> bool:
        """Call `handler` unless this consumer handled the event before.

        The record and what the handler writes through `connection` are one transaction: the
        caller's. Roll it back when this raises. `replay` as for `claim`.

        Returns:
            True if the handler ran, False if the event was a duplicate.

        Raises:
            Exception: Whatever the handler or the driver raises.
        """
        new = await self.claim(
            connection,
            event_id,
            source_topic=source_topic,
            event_type=event_type,
            payload=payload,
            replay=replay,
        )
        if new:
            started = time.perf_counter()
            await handler()
            await self.finish(connection, event_id, time.perf_counter() - started, replay=replay)
        return new


def _known(event_id: uuid.UUID, replay: str | None) -> uuid.UUID:
    return event_id if replay is None else replayed_id(event_id, replay)


_CLAIM: Final = (
    "INSERT INTO %TABLE% (event_id, consumer_name, source_topic, event_type, payload) "
    "VALUES (CAST(CAST({1} AS text) AS uuid), CAST({2} AS text), CAST({3} AS text), "
    "CAST({4} AS text), CAST({5} AS bytea)) ON CONFLICT DO NOTHING"
)
_FINISH: Final = (
    "UPDATE %TABLE% SET processing_duration_ms = CAST(CAST({1} AS text) AS integer) "
    "WHERE consumer_name = CAST({2} AS text) AND event_id = CAST(CAST({3} AS text) AS uuid)"
)
