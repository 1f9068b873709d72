"""Run statements through Django, which is synchronous only. An entry of `client.sync_drivers`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from outbox_operator.client.connections import failed, no_transaction
from outbox_operator.client.sending import Pending
from outbox_operator.client.statements import Statement


class _Django:
    def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        if connection.vendor != "postgresql":
            raise TypeError(
                f"database {connection.alias!r} of Django is {connection.vendor}, wanted "
                "postgresql; pass django.db.connections['<alias>']"
            )
        if not connection.in_atomic_block and connection.get_autocommit():
            raise no_transaction("Django (autocommit)", "with transaction.atomic(): ...")
        with connection.cursor() as cursor:
            cursor.execute(statement.percent, values)
            return int(cursor.rowcount)

    def value(self, connection: Any, statement: Statement) -> object:
        with connection.cursor() as cursor:
            cursor.execute(statement.percent)
            return cursor.fetchone()[0]

    def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        return False  # its cursors are psycopg 3's or psycopg2's

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.in_atomic_block)

    def transaction(self, connection: Any) -> AbstractContextManager[object]:
        from django.db import transaction

        opened: AbstractContextManager[object]
        opened = transaction.atomic(using=connection.alias)
        return opened

    def failed(self, connection: Any) -> bool:
        return failed(connection.connection) or False

    def pending(self, connection: Any) -> Pending:
        if not connection.in_atomic_block:
            raise no_transaction("Django", "with transaction.atomic(): ...")
        # Django tells of its commits itself, and forgets the call when a savepoint around it is
        # rolled back.
        pending = Pending(follows_savepoints=True)
        connection.on_commit(pending.send, robust=True)
        return pending


DRIVERS: Final = {("django", "BaseDatabaseWrapper"): _Django()}
