"""What the library can write through, for type checkers: pools, engines, cursors and connections of
the other kind are found at the desk.

Structural, so that no driver is needed. At run time `client.connections` decides by class.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class AsyncpgConnection(Protocol):
    """An asyncpg connection, or a pool's; and the recorder of tests."""

    def is_in_transaction(self) -> bool: ...


class AsyncPsycopgConnection(Protocol):
    async def commit(self) -> None: ...

    @property
    def autocommit(self) -> bool: ...

    @property
    def closed(self) -> bool: ...


class AsyncSqlalchemyConnection(Protocol):
    async def commit(self) -> None: ...

    def in_transaction(self) -> bool: ...


class AsyncSqlalchemySession(Protocol):
    """Of SQLAlchemy's ORM; also a scoped one, which does not say whether it is in a transaction."""

    async def commit(self) -> None: ...

    async def flush(self) -> None: ...


class PsycopgConnection(Protocol):
    def commit(self) -> None: ...

    @property
    def autocommit(self) -> bool: ...

    @property
    def closed(self) -> bool: ...


class SqlalchemyConnection(Protocol):
    def commit(self) -> None: ...

    def in_transaction(self) -> bool: ...


class SqlalchemySession(Protocol):
    def commit(self) -> None: ...

    def flush(self) -> None: ...


class SyncRecordingConnection(Protocol):
    def is_in_transaction(self) -> bool: ...

    def transaction(self) -> AbstractContextManager[object]: ...


class DjangoConnection(Protocol):
    """What Django calls `connection`, or one of its `connections`."""

    alias: str

    def commit(self) -> None: ...


OutboxConnection = (
    AsyncpgConnection | AsyncPsycopgConnection | AsyncSqlalchemyConnection | AsyncSqlalchemySession
)
"""What `Outbox` and `Inbox` write through."""

SyncOutboxConnection = (
    PsycopgConnection
    | SqlalchemyConnection
    | SqlalchemySession
    | DjangoConnection
    | SyncRecordingConnection
)
"""What `SyncOutbox` and `SyncInbox` write through."""
