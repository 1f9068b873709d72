"""Learn from a SQLAlchemy session when its transaction is committed.

Called by `client.drivers` and `client.sync_drivers`. Events of savepoints and of flushes inside
the transaction are not its end.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.client.connections import clause
from outbox_operator.client.sending import Pending, failed_transaction
from outbox_operator.client.statements import RECORDED
from outbox_operator.errors import TransactionError

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


def bind_arguments(session: Any) -> dict[str, Any]:
    """What names the engine of a session that has one only.

    Raises:
        TransactionError: It has several, and each has a transaction of its own.
    """
    session = getattr(session, "sync_session", session)
    from sqlalchemy.orm import Session

    # The second name is that of SQLAlchemy 2.0.
    named_binds = getattr(session, "binds", None) or getattr(session, "_Session__binds", None)
    binds = list((named_binds or {}).values())
    if session.bind is not None:
        binds.append(session.bind)
    if type(session).get_bind is not Session.get_bind:
        # It chooses by rules of its own; what it would choose for what it holds is known.
        binds.append(session.get_bind())
        binds += [session.get_bind(mapper=kind) for kind in {type(one) for one in session}]
    if len({id(bind) for bind in binds}) > 1:
        raise TransactionError(
            "this session has several engines, each with a transaction of its own, and the event "
            "can be part of one only; name it, by passing the connection that the other rows go "
            "through: session.connection(bind_arguments={'mapper': Order})"
        )
    return {"bind": binds[0]} if binds else {}


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
        self._connection = session.connection(bind_arguments=bind_arguments(session))
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
