# Generated from client/inbox.py by `make generate`. Do not edit.
"""Handle each event once: remember its id in the transaction that holds the handler's writes.

Imported by applications that read a stream themselves, through synchronous drivers.
Never commits, never opens a connection.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from outbox_operator.client import encoding, sync_drivers
from outbox_operator.client.connection_types import SyncOutboxConnection
from outbox_operator.client.connections import not_async
from outbox_operator.client.explaining import Place
from outbox_operator.client.statements import Statement, table
from outbox_operator.errors import EventError, SpecError
from outbox_operator.wire import tables
from outbox_operator.wire.replay import replayed_id


class SyncInbox:
    """The inbox table of one consumer.

    Args:
        consumer_name: Who handles; the same event may be handled once by each consumer.
        schema: Schema of the inbox table.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier, or the name is none.
    """

    def __init__(self, consumer_name: str, *, schema: str = "outbox") -> None:
        if not _is_text(consumer_name) or consumer_name == "":
            found = type(consumer_name).__name__
            raise SpecError(f"consumer_name: wanted text, not empty, without NUL, found {found}")
        self.consumer_name = consumer_name
        self._place = Place(
            schema, tables.INBOX,
            "it is made where the consumer says `inbox`, with this database",
            "that of spec.inbox.connectionSecretRef",
        )  # fmt: skip
        place = table(schema, tables.INBOX)
        self._claim = Statement.of(_CLAIM.replace("%TABLE%", place))
        self._finish = Statement.of(_FINISH.replace("%TABLE%", place))

    def claim(
        self,
        connection: SyncOutboxConnection,
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
            connection: As for `SyncOutbox.add`.
            event_id: Id of the event.
            source_topic: Subject it came from.
            event_type: Its type.
            payload: What to keep with the record: bytes, or a value to encode as JSON, or None.
            replay: Header `Outbox-Replay` of its message, if it has one: what a replay sends again
                is new, once.

        Returns:
            True if the event is new: handle it, then commit. False if it was handled before.

        Raises:
            EventError: The payload has no JSON form, the id is none, or `source_topic` or
                `event_type` is no text.
            TransactionError: No transaction is open on the connection.
            Exception: Whatever the driver raises.
        """
        known, kept = _known(event_id, replay), payload
        where = f"event {known}"
        if payload is not None and not isinstance(payload, bytes):
            kept = encoding.to_json(where, "payload", payload).encode()
        values = (
            str(known),
            self.consumer_name,
            _text(where, "source_topic", source_topic),
            _text(where, "event_type", event_type),
            kept,
        )
        return self._run(connection, self._claim, values) > 0

    def finish(
        self,
        connection: SyncOutboxConnection,
        event_id: uuid.UUID,
        seconds: float,
        *,
        replay: str | None = None,
    ) -> None:
        """Note how long handling took, in the same transaction; `replay` as for `claim`."""
        known = str(_known(event_id, replay))
        values = (str(round(seconds * 1000)), self.consumer_name, known)
        self._run(connection, self._finish, values)

    def process_idempotent(
        self,
        connection: SyncOutboxConnection,
        *,
        event_id: uuid.UUID,
        source_topic: str,
        event_type: str,
        payload: object,
        handler: Callable[[], object],
        replay: str | None = None,
    ) -> bool:
        """Call `handler` unless this consumer handled the event before.

        The record and what the handler writes through `connection` are one transaction: the
        caller's. Roll it back when this raises. `replay` as for `claim`.

        Returns:
            True if the handler ran, False if the event was a duplicate.

        Raises:
            TypeError: The handler is async, so that nothing of it ran, or none at all.
            Exception: Whatever the handler or the driver raises.
        """
        if not callable(handler):
            raise TypeError(f"handler is {type(handler).__name__}, wanted a function")
        new = self.claim(
            connection,
            event_id,
            source_topic=source_topic,
            event_type=event_type,
            payload=payload,
            replay=replay,
        )
        if new:
            started = time.perf_counter()
            not_async(handler())
            self.finish(connection, event_id, time.perf_counter() - started, replay=replay)
        return new

    def _run(
        self, connection: SyncOutboxConnection, statement: Statement, values: Sequence[object]
    ) -> int:
        driver, connection = sync_drivers.driver_of(connection)
        try:
            return driver.run(connection, statement, values)
        except Exception as error:
            self._place.explain(error)
            raise


def _known(event_id: object, replay: str | None) -> uuid.UUID:
    if not isinstance(event_id, uuid.UUID):
        try:
            event_id = uuid.UUID(str(event_id)[:_LONGEST_ID])
        except ValueError:
            raise EventError(f"event_id is {event_id!r:.100}, wanted a uuid.UUID") from None
    return event_id if replay is None else replayed_id(event_id, replay)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and encoding.unstorable(value) is None


def _text(where: str, name: str, value: str) -> str:
    if not _is_text(value):
        raise EventError(f"{where}: {name} is {value!r:.100}, wanted text without NUL")
    return value


_LONGEST_ID: Final = 64
"""Of an id as text, in whatever form."""
_CLAIM: Final = (
    "INSERT INTO %TABLE% (event_id, consumer_name, source_topic, event_type, payload) "
    "VALUES (CAST(CAST({1} AS text) AS uuid), CAST({2} AS text), CAST({3} AS text), "
    "CAST({4} AS text), CAST({5} AS bytea)) ON CONFLICT DO NOTHING"
)
_FINISH: Final = (
    "UPDATE %TABLE% SET processing_duration_ms = CAST(CAST({1} AS text) AS integer) "
    "WHERE consumer_name = CAST({2} AS text) AND event_id = CAST(CAST({3} AS text) AS uuid)"
)
