"""Statements that nobody awaited are known, and those that were are forgotten."""

from __future__ import annotations

import asyncio

from outbox_operator.adapters.postgres.unawaited import Statements, noting


class Plain:
    """The driver's."""

    def __init__(self) -> None:
        self.statements = Statements()

    def note_statement(self, statement: object) -> None:
        self.statements.note(statement)  # type: ignore[arg-type]

    async def execute(self, query: str) -> str:
        """Run one."""
        await self._internal()
        return query

    async def _internal(self) -> None:
        pass


@noting
class Connection(Plain):
    """One that notes."""


async def test_what_was_awaited_is_not_named() -> None:
    connection = Connection()
    assert await connection.execute("a") == "a"
    running = asyncio.create_task(connection.execute("b"))
    await asyncio.sleep(0)
    assert connection.statements.unawaited() == []
    await running


async def test_what_was_not_is_named_with_its_place() -> None:
    connection = Connection()
    connection.execute("a")  # type: ignore[unused-coroutine] # what this is about
    [place] = connection.statements.unawaited()
    assert place.rpartition(":")[0] == __file__
    assert connection.statements.unawaited() == []


async def test_a_task_that_did_not_begin_is_left_to_end_by_itself() -> None:
    connection = Connection()
    task = asyncio.create_task(connection.execute("a"))
    assert len(connection.statements.unawaited()) == 1
    assert await task == "a"


async def test_many_that_were_awaited_are_forgotten() -> None:
    connection = Connection()
    for number in range(100):
        connection.execute(str(number))  # type: ignore[unused-coroutine] # what this is about
    for number in range(1000):
        await connection.execute(str(number))
    assert len(connection.statements._made) < 200
    assert len(connection.statements.unawaited()) == 100
