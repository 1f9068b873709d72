"""Statements that nobody awaited are known, and those that were are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from outbox_operator.adapters.postgres.unawaited import Made, Statements, noting


class Plain:
    """The driver's."""

    def __init__(self) -> None:
        self.statements = Statements()

    def outbox_note_statement(self, statement: object) -> None:
        self.statements.note(statement)  # type: ignore[arg-type]

    async def execute(self, query: str) -> str:
        """Run one."""
        await self._internal()
        return query

    async def _internal(self) -> None:
        await asyncio.sleep(0)


@noting
class Connection(Plain):
    """One that notes."""


async def test_what_was_awaited_is_not_named() -> None:
    connection = Connection()
    assert await connection.execute("a") == "a"
    assert connection.statements.left_out() == ""


async def test_what_was_not_is_named_with_its_place() -> None:
    connection = Connection()
    connection.execute("a")  # type: ignore[unused-coroutine] # what this is about
    connection.execute("b")  # type: ignore[unused-coroutine]
    left_out = connection.statements.left_out()
    assert f"never awaited what it asked of context.connection at {__file__}:" in left_out
    assert "and 1 more, so that nothing of it ran" in left_out
    assert connection.statements.left_out() == ""


async def test_a_task_that_did_not_begin_is_left_to_end_by_itself() -> None:
    connection = Connection()
    task = asyncio.create_task(connection.execute("a"))
    assert "never awaited" in connection.statements.left_out()
    assert await task == "a"


async def test_a_task_that_goes_on_is_named_too() -> None:
    connection = Connection()
    running = asyncio.create_task(connection.execute("b"))
    await asyncio.sleep(0)
    left_out = connection.statements.left_out()
    assert f"did not wait for the end of what it asked of context.connection at {__file__}:" in (
        left_out
    )
    await running
    assert connection.statements.left_out() == ""


async def test_many_that_were_awaited_are_forgotten() -> None:
    connection = Connection()
    for number in range(100):
        connection.execute(str(number))  # type: ignore[unused-coroutine] # what this is about
    for number in range(1000):
        await connection.execute(str(number))
    assert len(connection.statements._made) < 300
    assert "and 99 more" in connection.statements.left_out()


async def test_to_note_one_costs_the_same_however_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, looks = Connection(), 0
    original = Statements._not_ended

    def looking(statements: Statements) -> list[Made]:
        nonlocal looks
        looks += 1
        return original(statements)

    monkeypatch.setattr(Statements, "_not_ended", looking)
    made = [connection.execute(str(number)) for number in range(32_000)]
    assert looks < 12
    for one in made:
        one.close()


async def test_code_of_no_module_is_named_by_what_it_is() -> None:
    names: dict[str, Callable[[Connection], Awaitable[None]]] = {}
    exec("async def use(connection):\n    await connection.execute('a')\n", names)
    connection = Connection()
    await names["use"](connection)
    assert connection.statements.left_out() == ""
