"""Moves dead letters of an outbox back among its events. Used by `adapters.postgres.dead_letters`.

A key goes in one transaction, or its order would change, but in steps, so that no statement takes
long however many letters it has. What it holds meanwhile keeps nobody waiting. At the end the
tables are locked for a moment, in which the server commits or lets go of them again; what is looked
at in that moment is what came since the last step, and not how many letters there are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Final

from asyncpg import exceptions as pg

from outbox_operator.adapters.postgres.connection import Connection
from outbox_operator.adapters.postgres.errors import UnreadableRowsError, errors, rows_at_fault
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.errors import ConflictError, PostgresError
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import MAX_NAME_BYTES

STEP_ROWS: Final = 500
STEP_BYTES: Final = 8 * 1024 * 1024
_LOCK_MILLISECONDS: Final = 50
"""Writers may queue behind us for that long."""
_HELD_MILLISECONDS: Final = 1000
"""And then no longer than that for us, whatever becomes of our process."""
_IDLE_MILLISECONDS: Final = 10_000
"""So long the server keeps what we have moved for a process that stands still. Nobody waits."""
_FINISH_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 0.05
_AT_POSITIONS: Final = "position IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint)"
_KEY: Final = "current_setting('outbox.key')"
_SINCE: Final = "current_setting('outbox.since')"
_WAITING: Final = "events of the key wait for the relay"


class DeadLetterRelease:
    """Releases over one connection, of the role that owns the tables.

    Args:
        connection: In no transaction.
        target: For messages.
        schema: Of the tables.
    """

    def __init__(self, connection: Connection, target: PostgresTarget, schema: str) -> None:
        self._connection = connection
        self._target = target
        self._schema = schema

    async def at(self, positions: Collection[int]) -> list[int]:
        """As `DeadLetterStore.release`."""
        with errors(self._target):
            return await self._move(_AT_POSITIONS, json.dumps(list(positions)))

    async def of_key(self, key: str, within: float | None) -> int | str | None:
        """As `DeadLetterStore.release_key`."""
        try:
            with errors(self._target):
                try:
                    return await self._of_key(key, within)
                finally:
                    if not self._connection.is_closed() and self._connection.is_in_transaction():
                        await self._connection.execute(statement("session_undo"))
        except PostgresError as error:
            if error.reason not in (Reason.LOCK_TIMEOUT, Reason.STATEMENT_TIMEOUT):
                raise
            return f"its letters cannot be moved at the moment: {error.message}"

    async def _of_key(self, key: str, within: float | None) -> int | str | None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self._connection.execute(
            self._sql("dead_letters_begin", lock=_LOCK_MILLISECONDS, idle=_IDLE_MILLISECONDS)
        )
        since, waits = await self._look(key)
        if waits:
            return _WAITING
        await self._set(key, since)
        await self._connection.execute(self._sql("dead_letters_cursor"))
        moved = 0
        while rows := await self._connection.fetch(self._sql("dead_letters_fetch", rows=STEP_ROWS)):
            for positions in _steps([(row["position"], row["size"]) for row in rows]):
                moved += len(await self._move(_AT_POSITIONS, json.dumps(positions)))
                if within is not None and loop.time() - begun > within:
                    return None
        # Many letters take long to move: then it is worth while to try for as long.
        until = loop.time() + min(loop.time() - begun, _FINISH_SECONDS)
        while busy := await self._finish():
            if loop.time() > until:
                return busy
            await asyncio.sleep(_AGAIN_SECONDS)
            now, waits = await self._look(key)
            # Those that the relay has set aside meanwhile.
            late = f"position IN ({self._come_since('$1')})"
            moved += len(await self._move(late, key))
            if not waits:
                await self._set(key, now)
        return moved

    async def _look(self, key: str) -> tuple[str, bool]:
        """Snapshot of now, and whether events of the key wait in it.

        If none do, each event of the key that it sees is published or among the letters.
        """
        row = await self._connection.fetchrow(
            self._sql("dead_letters_look", pending=self._pending("$1")), key
        )
        assert row is not None  # noqa: S101  (it selects values)
        return row["snapshot"], row["waits"]

    async def _set(self, key: str, since: str) -> None:
        """What `_come_since` and `_finish` are about."""
        await self._connection.execute(self._sql("dead_letters_key"), key, since)

    async def _finish(self) -> str:
        """Commit, or say what is in the way."""
        finish = self._sql(
            "dead_letters_finish",
            held=_HELD_MILLISECONDS,
            letters=self._come_since(_KEY),
            pending=self._pending(_KEY),
        )
        try:
            await self._connection.execute(finish)
        except pg.LockNotAvailableError:
            busy = "a transaction that writes events has been open for a while"
        except pg.ObjectNotInPrerequisiteStateError:  # of which the one before is a kind
            busy = _WAITING
        except pg.QueryCanceledError:
            busy = "too many events wait for the relay to look through them while writers wait"
        else:
            return ""
        await self._connection.execute(self._sql("dead_letters_again"))
        return busy

    async def _check_fit(self, these: str, which: str) -> None:
        """See that the table of events takes them; raises the driver's errors too."""
        unfit = await self._connection.fetch(
            self._sql("dead_letters_unfit", these=these), which, MAX_NAME_BYTES
        )
        if unfit:
            raise ConflictError(
                f"{unfit[0]['name']} of the event at position {unfit[0]['position']} has "
                f"{unfit[0]['bytes']} bytes, the table of events takes {MAX_NAME_BYTES}; it "
                "can only be purged",
                reason=Reason.COLUMN_TOO_LONG,
            )

    async def _move(self, these: str, which: str) -> list[int]:
        """Write them as new rows; returns their positions. Raises the driver's errors too."""
        await self._check_fit(these, which)
        try:
            with rows_at_fault(self._target):
                rows = await self._connection.fetch(
                    self._sql("dead_letters_replay", these=these), which
                )
        except UnreadableRowsError as error:
            if error.blames_rows:
                raise
            raise PostgresError(error.message, reason=Reason.STATEMENT_TIMEOUT) from error
        return [row["position"] for row in rows]

    def _come_since(self, key: str) -> str:
        """Positions of the letters of the key whose events the snapshot did not see."""
        return self._sql("dead_letters_since", key=key, unseen=self._unseen(key, _SINCE))

    def _pending(self, key: str) -> str:
        unseen = self._unseen(key, "c.snapshot_from")
        return self._sql("dead_letters_pending", unseen=unseen)

    def _unseen(self, key: str, snapshot: str) -> str:
        return self._sql("dead_letters_unseen", key=key, snapshot=f"{snapshot}::pg_snapshot")

    def _sql(self, name: str, **parts: str | int) -> str:
        return statement(name, schema=self._schema, **parts)


def _steps(letters: list[tuple[int, int]]) -> list[list[int]]:
    """Positions of letters, given with their sizes, in parts of not too many bytes."""
    steps: list[list[int]] = [[]]
    size = 0
    for position, bytes_each in letters:
        if steps[-1] and size + bytes_each > STEP_BYTES:
            steps.append([])
            size = 0
        steps[-1].append(position)
        size += bytes_each
    return steps
