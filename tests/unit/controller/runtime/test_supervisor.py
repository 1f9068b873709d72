"""Supervised tasks: none may end unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from outbox_operator.controller.runtime.supervisor import SupervisedTaskError, Supervisor
from outbox_operator.errors import NatsError


async def forever() -> None:
    await asyncio.Event().wait()


async def fails(error: Exception) -> None:
    raise error


async def grouped(error: Exception) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fails(error))


async def nothing() -> None:
    return


async def test_work_is_done_while_roots_run() -> None:
    supervisor = Supervisor(asyncio.Event())
    supervisor.start("a", forever())
    assert await supervisor.until(nothing())
    await supervisor.cancel()


async def test_a_stop_cuts_the_work() -> None:
    stop = asyncio.Event()
    stop.set()
    assert not await Supervisor(stop).until(forever())
    await Supervisor(stop).run()


async def test_an_error_of_the_work_is_raised() -> None:
    with pytest.raises(NatsError):
        await Supervisor(asyncio.Event()).until(fails(NatsError("away")))


@pytest.mark.parametrize("work", [fails, grouped])
async def test_our_error_that_ended_a_root_is_raised_as_it_is(work: object) -> None:
    supervisor = Supervisor(asyncio.Event())
    supervisor.start("a", work(NatsError("away")))  # type: ignore[operator]
    with pytest.raises(NatsError, match="away"):
        await supervisor.run()


async def test_any_other_end_of_a_root_names_it() -> None:
    for work, text in ((nothing(), "nobody asked"), (fails(KeyError("x")), "'x'")):
        supervisor = Supervisor(asyncio.Event())
        supervisor.start("the watch", work)
        with pytest.raises(SupervisedTaskError, match=f"the watch ended: .*{text}"):
            await supervisor.run()
