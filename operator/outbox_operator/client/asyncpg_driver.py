"""Run statements through asyncpg, which is asynchronous only. An entry of `client.drivers`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from outbox_operator.client import sending
from outbox_operator.client.connections import no_transaction
from outbox_operator.client.sending import Pending
from outbox_operator.client.statements import PROBE, Statement


class _Asyncpg:
    async def run(self, connection: Any, statement: Statement, values: Sequence[object]) -> int:
        if not connection.is_in_transaction():
            raise no_transaction("asyncpg", "async with connection.transaction(): ...")
        status: str = await connection.execute(statement.dollar, *values)
        return int(status.rpartition(" ")[2])

    async def value(self, connection: Any, statement: Statement) -> object:
        return await connection.fetchval(statement.dollar)

    async def copy(self, connection: Any, sql: str, rows: Sequence[Sequence[object]]) -> bool:
        # Binary only, through whatever codecs the application has set. Arrays are as fast.
        return False

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.is_in_transaction())

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[object]:
        opened: AbstractAsyncContextManager[object] = connection.transaction()
        return opened

    async def failed(self, connection: Any) -> bool:
        await self.value(connection, PROBE)
        return False

    def pending(self, connection: Any) -> Pending:
        return sending.pending_of(connection)


DRIVERS: Final = {
    ("asyncpg", "Connection"): _Asyncpg(),
    ("asyncpg", "PoolConnectionProxy"): _Asyncpg(),
}
