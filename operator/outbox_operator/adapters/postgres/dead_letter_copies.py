"""Copies rows that cannot be published to the dead letters, whatever is in them.

Used by `adapters.postgres.outbox`, in the transaction that moves the cursor past them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import UnreadableRowsError, rows_at_fault
from outbox_operator.adapters.postgres.rows import NewDeadLetter
from outbox_operator.adapters.postgres.url import PostgresTarget


class DeadLetterCopies:
    """The ways to copy rows: together, and one by one when that fails for what is in them.

    Args:
        connection: In a transaction.
        target: For messages.
        sql: Gives the text of a statement by its name.
    """

    def __init__(
        self, connection: Connection, target: PostgresTarget, sql: Callable[[str], str]
    ) -> None:
        self._connection = connection
        self._target = target
        self._sql = sql

    async def together(self, letters: Sequence[NewDeadLetter]) -> None:
        """Copy rows as they are.

        Raises:
            UnreadableRowsError: One of them cannot be copied.
        """
        with rows_at_fault(self._target):
            await self._connection.execute(
                self._sql("relay_dead_letters"),
                [letter.position for letter in letters],
                [letter.reason for letter in letters],
                [letter.error for letter in letters],
                [letter.blocked for letter in letters],
            )

    async def one_by_one(self, letters: Sequence[NewDeadLetter]) -> None:
        """Copy rows, and of what cannot be copied make a record.

        Errors are written in ASCII, which every encoding of a server has.

        Raises:
            UnreadableRowsError: It took too long, which may be the server's fault.
        """
        for letter in letters:
            plain = replace(letter, error=_ascii(letter.error))
            try:
                async with self._connection.transaction():
                    await self.together([plain])
            except UnreadableRowsError as error:
                if not error.blames_rows:
                    raise
                said = f"{plain.error}; cannot be copied: {_ascii(error.message)}"
                await self._connection.execute(
                    self._sql("relay_dead_letter_bare"),
                    letter.position, letter.key, letter.reason, said, letter.blocked,
                )  # fmt: skip


def _ascii(text: str) -> str:
    return ascii(text)[1:-1]
