"""Shards of a process read whole pages in turns, and none is kept from reading by others."""

from __future__ import annotations

import asyncio

import pytest

from outbox_operator.relay import turns
from outbox_operator.relay.turns import WHOLE_PAGES, Turn, Turns


def some(shared: Turns, count: int) -> list[Turn]:
    """The turns of so many shards."""
    return [Turn(shared) for _ in range(count)]


async def test_a_few_shards_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)
    few = some(Turns(), WHOLE_PAGES)
    for turn in few:
        assert not turn.must_wait
        await turn.take()
    assert all(turn.held and not turn.must_wait for turn in few)


async def test_who_waits_ends_turns_that_were_long_and_comes_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.01)
    shared = Turns()
    *first, second, third = some(shared, WHOLE_PAGES + 2)
    for turn in first:
        await turn.take()
    assert second.must_wait
    waiting = [asyncio.create_task(turn.take()) for turn in (second, third)]
    await asyncio.sleep(0.02)
    assert all(turn.must_wait for turn in first)
    first[0].leave()
    assert first[0].must_wait, "others have asked before"
    await waiting[0]
    assert (second.held, second.must_wait, third.held) == (True, False, False)
    first[1].leave()
    await waiting[1]
    assert third.held
    assert not first[2].must_wait, "nobody waits any more"


async def test_who_waited_in_vain_reads_on_until_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.01)
    shared = Turns()
    *first, late = some(shared, WHOLE_PAGES + 1)
    for turn in first:
        await turn.take()
    await late.take()
    assert (late.held, late.must_wait) == (False, False)
    await late.take()  # and is not kept again
    late.leave()
    assert late.must_wait
    first[0].leave()
    await late.take()
    assert late.held


async def test_a_wait_that_is_given_up_takes_no_turn_from_anybody() -> None:
    shared = Turns()
    *first, cancelled, last = some(shared, WHOLE_PAGES + 2)
    for turn in first:
        await turn.take()
    task = asyncio.create_task(cancelled.take())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not shared.awaited
    for turn in (cancelled, *first):
        turn.leave()
        turn.leave()  # twice is once
    for turn in first:
        await turn.take()
    assert last.must_wait
