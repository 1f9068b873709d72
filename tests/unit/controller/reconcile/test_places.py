"""Places for connections to one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outbox_operator.controller.reconcile.places import Places


async def none_to_spare() -> bool:
    return False


@asynccontextmanager
async def at_work(places: Places, *namespaces: str) -> AsyncIterator[tuple[list[str], list[str]]]:
    """Those who want to work, in their order; who did, and the end of each by its name."""
    begun: list[str] = []
    ends: list[str] = []
    changed = asyncio.Condition()

    async def work(name: str) -> None:
        async with places.work(name.partition("-")[0]):
            begun.append(name)
            async with changed:
                await changed.wait_for(lambda: name in ends)

    async def watch() -> None:
        while True:
            async with changed:
                changed.notify_all()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(name)) for name in namespaces]
    watching = asyncio.create_task(watch())
    await settle()
    try:
        yield begun, ends
    finally:
        for task in (*tasks, watching):
            task.cancel()
        await asyncio.gather(*tasks, watching, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_namespaces_take_turns() -> None:
    places = Places(4, none_to_spare)
    names = ("red-1", "red-2", "red-3", "red-4", "blue-1", "blue-2")
    async with at_work(places, *names) as (begun, ends):
        # Neither has more than it leaves free, and a place is left for the question.
        assert begun == ["red-1", "red-2", "blue-1"]
        for number in range(len(names)):
            ends.append(begun[number])
            await settle()
        # The next is of whom has the fewest at work, then of who came first.
        assert begun == ["red-1", "red-2", "blue-1", "red-3", "blue-2", "red-4"]
    assert places.is_unused


async def test_a_namespace_whose_work_never_ends_leaves_places_to_others() -> None:
    places = Places(20, none_to_spare)
    async with at_work(places, *(f"red-{number}" for number in range(50)), "blue-1") as (begun, _):
        assert begun[-1] == "blue-1"
        assert len(begun) == 11


async def test_who_is_cut_keeps_no_turn() -> None:
    places = Places(2, none_to_spare)
    async with at_work(places, "red-1", "red-2") as (begun, _):
        assert begun == ["red-1"]
    assert places.is_unused
    async with asyncio.timeout(5), places.work("red"):
        assert not places.is_unused


async def test_who_waits_for_a_place_hears_of_one_that_nobody_uses_any_more() -> None:
    spares = list[str]()

    async def spare() -> bool:
        if not spares:
            return False
        spares.pop()
        places.leave()
        return True

    places = Places(2, spare)
    await places.take()
    await places.take()
    taking = asyncio.create_task(places.take())
    await settle()
    assert not taking.done()
    spares.append("just given back")
    places.look()
    await settle()
    assert taking.done()


@pytest.mark.parametrize("spares", [1, 0])
async def test_a_new_connection_takes_the_place_of_one_that_nobody_uses(spares: int) -> None:
    closed = 0

    async def spare() -> bool:
        nonlocal closed
        if closed == spares:
            return False
        closed += 1
        places.leave()
        return True

    places = Places(2, spare)
    await places.take()
    await places.take()
    taking = asyncio.create_task(places.take())
    await settle()
    assert taking.done() is (spares == 1)
    if not spares:
        places.leave()  # one that was in use
        await settle()
        assert taking.done()
    assert closed == spares
