"""Comparisons of many pipelines at once: a few at work, the others wait and say so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.compare import Bounds, Compared
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.verify import VerifyOutbox
from outbox_operator.errors import DependencyError
from outbox_operator.plan.doctor.delivery_result import kept_verdict
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.plan.tasks.status import Progress
from support import resources
from support.waiting import SECONDS


class Windows(VerifyOutbox):
    """The first window of each task ends when it is told to."""

    def __init__(self) -> None:
        self.at_work = 0
        self.go = asyncio.Event()

    async def _window(self, work: Work, within: Bounds) -> Compared:
        self.at_work += 1
        try:
            await self.go.wait()
        finally:
            self.at_work -= 1
        return Compared(next=within.low + 5, verdict=Verdict(rows=5))


async def test_a_few_are_at_work_and_the_others_say_that_they_wait() -> None:
    woken, ended = list[str](), asyncio.Event()

    def wake(key: ObjectKey, _: str) -> None:
        woken.append(key.name)
        if key.name == "a":
            ended.set()

    room = Room(wake, places=2)
    context = SimpleNamespace(background=Background(wake, patience_seconds=0.01), comparisons=room)
    spec = OutboxTaskSpec.model_validate({"pipelineRef": {"name": "orders"}, "verify": {}})
    begin = Progress(where={"next": 0, "verdict": kept_verdict(Verdict())})

    def work(name: str) -> Work:
        owner = resources.pipeline(name=name).meta
        task: Any = SimpleNamespace(meta=owner, spec=spec)
        return cast(
            Work,
            SimpleNamespace(context=context, task=task, pipeline=None, selection={"high": 10}),
        )

    windows = Windows()
    notes = {name: (await windows.step(work(name), begin)).note for name in "abc"}
    assert [notes[name].startswith("compares from position 0") for name in "ab"] == [True] * 2
    assert notes["c"] == (
        "waits to compare from position 0 on: this operator compares 2 outboxes at once, and 1 "
        "wait, whose namespaces take turns"
    )
    assert windows.at_work == 2
    windows.go.set()
    await asyncio.wait_for(ended.wait(), SECONDS)
    after = await windows.step(work("a"), begin)
    assert after.where["next"] == 5
    assert "c" in woken
    # One that goes away leaves its place to the next.
    assert room.enter(ObjectKey(meta.TASK, "shop", "d"), "d") == 1
    room.leave(work("c").task.meta.uid)
    assert "d" in woken
    assert begin.where["next"] == 0


async def test_a_window_that_never_ends_is_no_defect_and_keeps_no_place() -> None:
    cut = asyncio.Event()
    background = Background(lambda *_: cut.set(), patience_seconds=0.01, longest_seconds=0.05)
    room = Room(lambda *_: None, places=1)
    context = SimpleNamespace(background=background, comparisons=room)
    spec = OutboxTaskSpec.model_validate({"pipelineRef": {"name": "orders"}, "verify": {}})
    task: Any = SimpleNamespace(meta=resources.pipeline().meta, spec=spec)
    work: Any = SimpleNamespace(context=context, task=task, pipeline=None, selection={"high": 10})
    begin = Progress(where={"next": 0, "verdict": kept_verdict(Verdict())})
    windows = Windows()
    assert (await windows.step(work, begin)).note.startswith("compares from position 0")
    await asyncio.wait_for(cut.wait(), SECONDS)
    with pytest.raises(DependencyError, match="from position 0 on were not compared within"):
        await windows.step(work, begin)
    assert room.enter(ObjectKey(meta.TASK, "shop", "d"), "d") is None
