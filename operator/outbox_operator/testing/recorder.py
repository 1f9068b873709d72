"""An outbox in memory, for unit tests of applications.

It refuses what the real one refuses, with the same words, and knows what was committed. A suite
in `tests/integration/client` runs on it and on every driver.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from outbox_operator.client.connections import no_transaction
from outbox_operator.client.declaring import Catalog
from outbox_operator.client.outbox import Outbox
from outbox_operator.client.rows import DEFAULT_MAX_BYTES, PayloadType, Row
from outbox_operator.client.sending import Pending
from outbox_operator.client.sync_outbox import SyncOutbox
from outbox_operator.errors import TransactionError

if TYPE_CHECKING:
    from outbox_operator.wire.event import Event


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it would be in the table.

    Attributes:
        id: Its id.
        type: Its type.
        key: Its ordering key; empty without one.
        payload: As a consumer would read it: JSON decoded again, or bytes.
        headers: Those of the application, and the trace.
        routing_key: None unless given.
    """

    id: uuid.UUID
    type: str
    key: str
    payload: Any
    headers: Mapping[str, str]
    routing_key: str | None


class RecordingConnection:
    """Stands for a connection in tests that roll back: transactions and savepoints in memory.

    It knows no SQL. Its transactions are entered with `with` or `async with`.
    """

    def __init__(self) -> None:
        self._frames: list[list[tuple[list[RecordedEvent], RecordedEvent]]] = []
        self._observed: list[bool] = []

    def transaction(self) -> _Transaction:
        """A transaction, or within one a savepoint."""
        return _Transaction(self, observed=False)

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._frames)

    def _begin(self, *, observed: bool) -> None:
        """Open a transaction or savepoint; `observed`: somebody learns of its commit."""
        self._frames.append([])
        self._observed.append(observed)

    def _end(self, *, commit: bool) -> None:
        """Close the innermost one."""
        written = self._frames.pop()
        self._observed.pop()
        if commit and self._frames:
            self._frames[-1].extend(written)
        elif commit:
            for events, event in written:
                events.append(event)

    def _write(self, events: list[RecordedEvent], event: RecordedEvent) -> None:
        """Append an event to a list when the transaction commits."""
        if not self._frames:
            raise no_transaction("recording", "async with connection.transaction(): ...")
        self._frames[-1].append((events, event))

    @property
    def _is_observed(self) -> bool:
        """Whether somebody learns of the commit of the open transaction."""
        return bool(self._observed) and self._observed[0]


class _Transaction:
    def __init__(self, connection: RecordingConnection, *, observed: bool) -> None:
        self._connection = connection
        self._observed = observed

    def __enter__(self) -> Self:
        self._connection._begin(observed=self._observed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection._end(commit=kind is None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


class _Memory:
    """What both recorders share."""

    def __init__(self) -> None:
        self.events: Final[list[RecordedEvent]] = []
        self._stands_for: dict[int, RecordingConnection] = {}

    def write(self, connection: object, rows: Sequence[Row]) -> None:
        into = self._recording(connection)
        for row in rows:
            event = RecordedEvent(
                id=uuid.UUID(row.event_id),
                type=row.event_type,
                key=row.partition_key,
                payload=row.payload if isinstance(row.payload, bytes) else json.loads(row.payload),
                headers=json.loads(row.headers),
                routing_key=row.routing_key,
            )
            if into is None:
                self.events.append(event)
            else:
                into._write(self.events, event)

    def check_observed(self, connection: object) -> None:
        into = self._recording(connection)
        if into is not None and not into._is_observed:
            raise TransactionError(
                "nobody tells when the transaction of this recording connection is committed; "
                "open it with outbox.transaction(connection), or use add"
            )

    @contextmanager
    def transaction(self, connection: object) -> Iterator[None]:
        recording = self._recording(connection)
        if recording is not None and recording.is_in_transaction():
            raise TransactionError(
                "a transaction is open on this connection already, so the end of an inner one "
                "would not be its commit; open the outermost with outbox.transaction(connection)"
            )
        recording = recording or RecordingConnection()
        self._stands_for[id(connection)] = recording
        try:
            with _Transaction(recording, observed=True):
                yield
        finally:
            del self._stands_for[id(connection)]

    def _recording(self, connection: object) -> RecordingConnection | None:
        if isinstance(connection, RecordingConnection):
            return connection
        return self._stands_for.get(id(connection))


class RecordingOutbox(Outbox):
    """Records events instead of writing them; otherwise an `Outbox`.

    Any object does as connection. With a `RecordingConnection`, and within `transaction`, events
    are recorded when the transaction commits, else at once.

    Args:
        payload_type: As of `Outbox`.
        max_bytes: As of `Outbox`.
        catalog: As of `Outbox`.
    """

    def __init__(
        self,
        *,
        payload_type: PayloadType = "jsonb",
        max_bytes: int = DEFAULT_MAX_BYTES,
        catalog: Catalog | None = None,
    ) -> None:
        super().__init__(payload_type=payload_type, max_bytes=max_bytes, catalog=catalog)
        self._memory = _Memory()

    if TYPE_CHECKING:  # in memory any object does as connection

        async def add(self, connection: object, event: Event) -> uuid.UUID: ...

        async def add_many(
            self, connection: object, events: Iterable[Event]
        ) -> list[uuid.UUID]: ...

        async def publish_after_commit(self, connection: object, event: Event) -> uuid.UUID: ...

    @property
    def events(self) -> list[RecordedEvent]:
        """What was committed, in the order of the table."""
        return self._memory.events

    @asynccontextmanager
    async def transaction(self, connection: object) -> AsyncIterator[None]:
        """As of `Outbox`, in memory."""
        with self._memory.transaction(connection):
            yield

    def _check_at_the_call(self, connection: object) -> None:
        """Any object does."""

    async def _write(
        self, connection: object, rows: Sequence[Row], *, recorded: bool = False
    ) -> None:
        self._memory.write(connection, rows)

    def _pending(self, connection: object) -> Pending:
        self._memory.check_observed(connection)
        return Pending()


class RecordingSyncOutbox(SyncOutbox):
    """Records events instead of writing them; otherwise a `SyncOutbox`. See `RecordingOutbox`.

    Args:
        payload_type: As of `SyncOutbox`.
        max_bytes: As of `SyncOutbox`.
        catalog: As of `SyncOutbox`.
    """

    def __init__(
        self,
        *,
        payload_type: PayloadType = "jsonb",
        max_bytes: int = DEFAULT_MAX_BYTES,
        catalog: Catalog | None = None,
    ) -> None:
        super().__init__(payload_type=payload_type, max_bytes=max_bytes, catalog=catalog)
        self._memory = _Memory()

    if TYPE_CHECKING:  # in memory any object does as connection

        def add(self, connection: object, event: Event) -> uuid.UUID: ...

        def add_many(self, connection: object, events: Iterable[Event]) -> list[uuid.UUID]: ...

        def publish_after_commit(self, connection: object, event: Event) -> uuid.UUID: ...

    @property
    def events(self) -> list[RecordedEvent]:
        """What was committed, in the order of the table."""
        return self._memory.events

    @contextmanager
    def transaction(self, connection: object) -> Iterator[None]:
        """As of `SyncOutbox`, in memory."""
        with self._memory.transaction(connection):
            yield

    def _write(self, connection: object, rows: Sequence[Row], *, recorded: bool = False) -> None:
        self._memory.write(connection, rows)

    def _pending(self, connection: object) -> Pending:
        self._memory.check_observed(connection)
        return Pending()
