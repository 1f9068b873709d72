"""Work beside the passes over its object."""

from __future__ import annotations

import asyncio
import dataclasses
import math

import pytest

from outbox_operator.api.resource import Meta
from outbox_operator.controller.reconcile import background as background_module
from outbox_operator.controller.reconcile.background import Background
from support.resources import pipeline
from support.waiting import SECONDS


@pytest.fixture
def owner() -> Meta:
    return pipeline().meta


async def test_work_for_what_is_no_longer_wanted_is_cut(owner: Meta) -> None:
    """A person who mends the login does not wait for what hangs because of the old one."""
    woken: list[str] = []
    background = Background(lambda _key, trigger: woken.append(trigger), patience_seconds=0.01)
    cut = asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return "never"

    async def answer() -> str:
        return "done"

    assert await background.result(owner, 1, hang) is None
    assert await background.result(owner, 1, answer) is None  # still the first
    assert await background.result(owner, 2, answer) == "done"
    await asyncio.wait_for(cut.wait(), SECONDS)
    assert woken == []


@pytest.mark.parametrize("end", ["cut", "fails"])
async def test_what_ended_badly_is_raised_to_the_next_pass(owner: Meta, end: str) -> None:
    news = asyncio.Event()
    background = Background(
        lambda _key, _trigger: news.set(), patience_seconds=0.01,
        longest_seconds=0.1 if end == "cut" else SECONDS,
    )  # fmt: skip
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        raise ValueError

    assert await background.result(owner, 1, work) is None
    if end == "fails":
        go.set()
    await asyncio.wait_for(news.wait(), SECONDS)
    wanted: type[Exception] = ValueError if end == "fails" else TimeoutError
    with pytest.raises(wanted):
        await background.result(owner, 1, work)
    go.clear()
    assert await background.result(owner, 1, work) is None  # begins anew
    await background.close()


async def test_nobody_waits_for_a_server_that_kept_one_waiting(
    owner: Meta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has answered in time: hundreds of passes would each wait a moment."""
    monkeypatch.setattr(background_module, "LATE_SECONDS", math.inf)  # of a busy machine
    background = Background(lambda _key, _trigger: None, patience_seconds=0.01)
    others = [dataclasses.replace(owner, uid=f"uid-{number}") for number in range(3)]

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    async def answer() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await background.result(owner, 1, hang, "slow") is None
    background._patience_seconds = 10 * SECONDS
    async with asyncio.timeout(SECONDS):
        assert await background.result(others[0], 1, hang, "slow") is None
        assert await background.result(others[1], 1, answer, "another") == "done"
        background.answers("slow", 10 * SECONDS)  # late
        assert await background.result(others[2], 1, hang, "slow") is None
    background.cancel(others[2].uid)
    background.answers("slow", 0.0)
    assert await background.result(others[2], 1, answer, "slow") == "done"
    await background.close()


async def test_a_server_is_not_blamed_for_what_this_process_is_late(
    owner: Meta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_module, "LATE_SECONDS", 0.0)
    background = Background(lambda _key, _trigger: None, patience_seconds=0.01)
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    assert await background.result(owner, 1, work, "well") is None
    background._patience_seconds = SECONDS
    other = dataclasses.replace(owner, uid="uid-other")
    asyncio.get_running_loop().call_soon(go.set)
    assert await background.result(other, 1, work, "well") == "done"
    await background.close()
