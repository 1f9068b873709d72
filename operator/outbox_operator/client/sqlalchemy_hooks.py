"""Learn from a SQLAlchemy session when its transaction is committed.

Called by `client.outbox` and `client.sync_outbox` with the synchronous session, which an
asynchronous one has inside. Events of savepoints and of flushes inside the transaction are not
its end.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.client.drivers import clause
from outbox_operator.client.sending import Pending, failed_transaction
from outbox_operator.client.statements import NOTED

_KEY: Final = "outbox_operator.pending"


def is_session(connection: object) -> bool:
    """Whether it is a session of the ORM, of whatever kind."""
    names = {kind.__name__ for kind in type(connection).__mro__}
    return bool(names & {"Session", "AsyncSession", "scoped_session", "async_scoped_session"})


def sync_session(connection: Any) -> Any:
    """The session that has the events: inside an asynchronous or a scoped one."""
    for kind in type(connection).__mro__:
        if kind.__name__ in ("scoped_session", "async_scoped_session"):
            return sync_session(connection())
        if kind.__name__ == "AsyncSession":
            return connection.sync_session
    return connection


def pending_of(session: Any) -> Pending:
    """The events that wait for the session's transaction; listens to the session from now on."""
    found = session.info.get(_KEY)
    if isinstance(found, _Watch):
        return found.pending
    watch = session.info[_KEY] = _Watch()
    watch.listen(session)
    return watch.pending


class _Watch:
    """What one session is about to commit."""

    def __init__(self) -> None:
        self.pending = Pending()
        self._standing = ""
        self._connection: Any = None

    def listen(self, session: Any) -> None:
        from sqlalchemy import event

        event.listen(session, "before_commit", self._before_commit)
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    def _before_commit(self, session: Any) -> None:
        if session.in_nested_transaction() or not self.pending.some:
            return
        self._connection = session.connection()
        self._standing = ""
        if self.pending.noted:
            try:
                found = self._connection.execute(clause(NOTED)).scalar()
            except Exception as error:
                # Then COMMIT rolls back without a word, as it would without us.
                if not failed_transaction(error):
                    raise
            else:
                self._standing = found or ""

    def _after_commit(self, session: Any) -> None:
        if session.in_nested_transaction():
            return
        # A session on a connection whose transaction somebody else began has not committed it.
        if self._connection is not None and not self._connection.in_transaction():
            self.pending.send(self._standing)

    def _after_end(self, session: Any, transaction: Any) -> None:
        if transaction.parent is None:
            self.pending.clear()
            self._connection = None
