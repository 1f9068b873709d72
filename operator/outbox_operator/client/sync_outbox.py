# Generated from client/outbox.py by `make generate`. Do not edit.
"""Write events into the outbox table, inside the transaction the application has open.

Imported by applications. Never opens a connection, never commits a transaction that it was not
asked to open, never swallows an error: if `add` raises a driver's error, the caller's transaction
is to be rolled back like after any failed statement.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from outbox_operator.client import sending, sync_drivers, tracing
from outbox_operator.client.connection_types import SyncOutboxConnection
from outbox_operator.client.declaring import Catalog
from outbox_operator.client.explaining import Place
from outbox_operator.client.rows import DEFAULT_MAX_BYTES, PayloadType, Row, RowMaker, listed
from outbox_operator.client.sending import Nudge, Pending, Publish, Sender
from outbox_operator.client.statements import RECORDED, Inserts, chunks, keys_of
from outbox_operator.wire import tables
from outbox_operator.wire.event import Event


class SyncOutbox:
    """The outbox table of one pipeline, for synchronous drivers.

    Connections are psycopg's `Connection`, SQLAlchemy's `Connection` and `Session`, and Django's
    `connection`. The methods are those of `Outbox`, without `await`. Every method with a
    connection raises what its driver raises, besides what is listed.

    Args:
        schema: `database.schema` of the OutboxPipeline.
        payload_type: Its `outbox.payloadType`.
        max_bytes: Payload and headers of an event may be this large together, as the relay
            publishes them: jsonb as PostgreSQL writes it. Larger ones are refused before they are
            written, because NATS would refuse them later.
        strict_keys: Transactions that write events of the same key wait for each other, each
            until the one before has ended. For writers that do not lock what the key stands
            for; costs a statement.
        send: What `publish_after_commit` does: `Nudge` or `Publish`; None: the same as `add`.
        catalog: Events declared with `@event`: a module that has them, or their classes. Any other
            event is then refused, and so is a payload that does not fit, whatever its class.

    Raises:
        SpecError: `schema` is not a plain lower-case identifier, there is no such payload type,
            `send` or the catalog is none.
    """

    def __init__(
        self,
        *,
        schema: str = "outbox",
        payload_type: PayloadType = "jsonb",
        max_bytes: int = DEFAULT_MAX_BYTES,
        strict_keys: bool = False,
        send: Nudge | Publish | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self._schema = schema
        self._rows = RowMaker(payload_type, max_bytes, catalog)
        self._inserts = Inserts(schema, payload_type)
        self._place = Place(
            schema, tables.EVENTS, "the operator makes it, and `outbox dev` on a laptop",
            "in spec.database.grants.writers",
        )  # fmt: skip
        self._strict = strict_keys
        self._sender = (
            None if send is None else Sender(send, schema=schema, payload_type=payload_type)
        )

    def add(self, connection: SyncOutboxConnection, event: Event) -> uuid.UUID:
        """Write one event. It is published if, and only if, the caller's transaction commits.

        Args:
            connection: In the transaction of what the event tells. Sessions and connections of
                SQLAlchemy, and psycopg's, begin one by themselves: without a commit of yours there
                is no event.
            event: What happened.

        Returns:
            The event's id.

        Raises:
            EventError: The event cannot be stored or published; nothing was sent.
            TransactionError: Each statement would be committed by itself: no transaction is open,
                or the connection is in autocommit; nothing was sent.
            TypeError: Not a connection this class knows; nothing was sent.
        """
        with tracing.writing(self._schema, event) as trace:
            self._write(connection, [self._rows.one(event, trace)])
        return event.id

    def add_many(
        self, connection: SyncOutboxConnection, events: Iterable[Event]
    ) -> list[uuid.UUID]:
        """Write events, in their order, as fast as the driver can.

        All are checked before the first is written.

        Args:
            connection: In the transaction of what the event tells. Sessions and connections of
                SQLAlchemy, and psycopg's, begin one by themselves: without a commit of yours there
                is no event.
            events: What happened.

        Returns:
            Their ids.

        Raises:
            EventError: One of them cannot be stored or published; names its index. None is
                written.
            TransactionError: Each statement would be committed by itself: no transaction is open,
                or the connection is in autocommit; nothing was sent.
            TypeError: Not a connection this class knows; nothing was sent.
        """
        given = listed(events)
        with tracing.writing(self._schema, given and given[0], len(given)) as trace:
            rows = self._rows.many(given, trace)
            self._write(connection, rows)
        return [uuid.UUID(row.event_id) for row in rows]

    def publish_after_commit(self, connection: SyncOutboxConnection, event: Event) -> uuid.UUID:
        """Write one event as `add` does, and see to it that it arrives soon after the commit.

        What is done then is `send`'s business, happens in the background, and can neither fail
        nor delay the caller. If NATS is away or slow, the relay brings the event a little later.
        A transaction that is rolled back sends nothing, nor does a savepoint.

        Args:
            connection: A session of SQLAlchemy's ORM, Django's connection in an atomic block, or
                one whose transaction was opened with `transaction`: the others do not tell when
                they commit.
            event: What happened.

        Returns:
            The event's id.

        Raises:
            EventError: The event cannot be stored or published; nothing was sent.
            TransactionError: The transaction was opened in another way; nothing was sent.
            TypeError: Not a connection this class knows; nothing was sent.
        """
        with tracing.writing(self._schema, event) as trace:
            row = self._rows.one(event, trace)
            pending = self._pending(connection)
            sender = self._sender if self._sender and pending.accepts(self._sender) else None
            self._write(
                connection, [row], recorded=sender is not None and pending.must_record(sender)
            )
        if sender is not None:
            pending.add(sender, row)
        return event.id

    @contextmanager
    def transaction(self, connection: SyncOutboxConnection) -> Iterator[None]:
        """A transaction of the driver's, whose commit `publish_after_commit` learns of.

            with outbox.transaction(connection):
                connection.execute("INSERT INTO orders …")
                outbox.publish_after_commit(connection, event)

        Commits at the end of the block, rolls back when it raises. Events of other outboxes may
        be written in it too.

        Args:
            connection: Without an open transaction.

        Raises:
            TransactionError: A transaction is open on the connection; or, at the end, a statement
                had failed and its error was not let through, so that nothing can be committed.
            TypeError: Not a connection this class knows.
        """
        driver, connection = sync_drivers.driver_of(connection)
        if driver.in_transaction(connection):
            raise sending.transaction_is_open()
        with sending.collecting(connection) as pending:
            committed = False
            with driver.transaction(connection):
                yield
                surviving = _surviving(driver, connection, pending)
                committed = True
            # Not so when the driver ended the block quietly, as psycopg's Rollback asks for.
            if committed:
                pending.send(surviving)

    def _pending(self, connection: SyncOutboxConnection) -> Pending:
        driver, connection = sync_drivers.driver_of(connection)
        return driver.pending(connection)

    def _write(
        self, connection: SyncOutboxConnection, rows: Sequence[Row], *, recorded: bool = False
    ) -> None:
        driver, connection = sync_drivers.driver_of(connection)
        try:
            if self._strict and (keys := keys_of(rows)):
                driver.run(connection, self._inserts.lock, (keys,))
            if len(rows) == 1:
                values = (*rows[0], rows[0].event_id) if recorded else rows[0]
                insert = self._inserts.recorded if recorded else self._inserts.one
                driver.run(connection, insert, values)
            elif rows and not driver.copy(connection, self._inserts.copy, rows):
                for arrays in chunks(rows):
                    driver.run(connection, self._inserts.many, arrays)
        except Exception as error:
            self._place.explain(error)
            raise


def _surviving(driver: sync_drivers.Driver, connection: object, pending: Pending) -> str:
    """Which of the events to publish survive, asked just before the commit.

    Raises:
        TransactionError: COMMIT would roll back, without a word of the driver's.
    """
    try:
        if pending.recorded:
            return str(driver.value(connection, RECORDED) or "")
        failed = driver.failed(connection)
    except Exception as error:
        failed = sending.failed_transaction(error)
        if not failed:
            raise
    if failed:
        raise sending.rolled_back()
    return ""
