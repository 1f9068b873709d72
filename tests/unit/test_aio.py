from __future__ import annotations

import asyncio
import contextlib

import pytest

from outbox_operator.aio import Backoff, heed_cancellation, jittered, pause_after, wait


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 0.5), (2, 1), (3, 2), (5, 8), (6, 10), (10_000, 10)]
)
def test_pauses_double_up_to_the_ceiling(failures: int, expected: float) -> None:
    assert pause_after(failures, 0.5, 10) == expected


def test_jitter_only_ever_shortens() -> None:
    assert jittered(10, 0.0) == 10
    assert jittered(10, 1.0) == pytest.approx(8)
    assert jittered(10, 0.5, share=0.5) == pytest.approx(7.5)


def test_each_failure_in_a_row_waits_longer() -> None:
    retry = Backoff(0.2, 1.0, jitter=lambda: 0.0)
    assert [retry.next() for _ in range(4)] == [0.2, 0.4, 0.8, 1.0]
    retry.reset()
    assert retry.next() == 0.2


def test_what_worked_for_long_starts_anew() -> None:
    retry = Backoff(1, 10, stable_after=30, jitter=lambda: 0.0)
    assert [retry.next(lasted) for lasted in (0, 29, 31, 30)] == [1, 2, 1, 2]


def test_pauses_are_spread() -> None:
    pauses = {Backoff(1, 10).next() for _ in range(20)}
    assert len(pauses) > 1
    assert all(0.8 <= pause <= 1 for pause in pauses)


async def test_an_event_ends_a_wait() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    assert await wait(event, 60)
    assert await wait(event, None)
    assert await wait(event, 0)


async def test_a_wait_ends_without_its_event() -> None:
    assert not await wait(asyncio.Event(), 0.001)
    assert not await wait(asyncio.Event(), 0)


async def test_a_cancellation_that_is_lost_in_the_work_is_raised() -> None:
    async def forgetful() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return "answer"

    task = asyncio.create_task(heed_cancellation(forgetful()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_cleans_up_after_a_cancellation_is_not_cancelled_again() -> None:
    done = asyncio.Event()

    async def work() -> str:
        try:
            await asyncio.sleep(30)
        finally:
            assert await heed_cancellation(asyncio.sleep(0, "cleaned")) == "cleaned"
            done.set()
        return ""

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_time_limit_within_the_work_is_no_cancellation() -> None:
    async def limited() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(30)
        return "answer"

    assert await heed_cancellation(limited()) == "answer"
