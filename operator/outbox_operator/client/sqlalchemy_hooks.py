"""Learn from a SQLAlchemy session when its transaction is committed.

Called by `client.drivers` and `client.sync_drivers`. Events of savepoints and of flushes inside
the transaction are not its end.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.client.connections import clause
from outbox_operator.client.sending import Pending, failed_transaction
from outbox_operator.client.statements import RECORDED

_KEY: Final = "outbox_operator.pending"


def pending_of(session: Any) -> Pending:
    """The events that wait for the session's transaction; listens to the session from now on.

    Args:
        session: Of the ORM; an asynchronous one has a synchronous one inside, which is listened to.
    """
    session = getattr(session, "sync_session", session)
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
        self._surviving = ""
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
        self._surviving = ""
        if self.pending.recorded:
            try:
                found = self._connection.execute(clause(RECORDED)).scalar()
            except Exception as error:
                # Then COMMIT rolls back without a word, as it would without us.
                if not failed_transaction(error):
                    raise
            else:
                self._surviving = found or ""

    def _after_commit(self, session: Any) -> None:
        if session.in_nested_transaction():
            return
        # A session on a connection whose transaction somebody else began has not committed it.
        if self._connection is not None and not self._connection.in_transaction():
            self.pending.send(self._surviving)

    def _after_end(self, session: Any, transaction: Any) -> None:
        if transaction.parent is None:
            self.pending.clear()
            self._connection = None
