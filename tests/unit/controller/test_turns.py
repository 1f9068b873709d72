"""Tasks that wait: each for the one right before it, so that an end wakes one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from outbox_operator.api import meta
from outbox_operator.api.resource import parse_task
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.runtime.own_writes import OwnWrites
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.turns import Turns
from outbox_operator.plan.tasks.target import Ready


async def test_the_end_of_one_of_many_wakes_the_next_alone() -> None:
    """And not before all that it had going on has ended."""
    pipeline = {
        "kind": meta.PIPELINE,
        "metadata": {"name": "orders", "namespace": "shop", "uid": "p"},
        "spec": {},
    }
    tasks: list[dict[str, Any]] = [
        {
            "kind": meta.TASK,
            "metadata": {
                "name": f"t{number}", "namespace": "shop", "uid": f"{number:03}", "generation": 1,
                "resourceVersion": "1", "creationTimestamp": f"2026-01-01T00:{number:02}:00Z",
            },
            "spec": {"pipelineRef": {"name": "orders"}, "replayDeadLetters": {}},
            "status": {},
        }
        for number in range(50)
    ]  # fmt: skip
    there = {ObjectKey(one["kind"], "shop", one["metadata"]["name"]): one
             for one in (pipeline, *tasks)}  # fmt: skip
    woken: list[str] = []
    context = SimpleNamespace(
        objects=SimpleNamespace(get=there.get, of_kind=lambda kind, namespace: tasks),
        wake=lambda key, trigger: woken.append(key.name),
        comparisons=Room(lambda key, trigger: None),
        background=Background(lambda key, trigger: None, patience_seconds=0.01),
    )

    async def beside() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # as a session that is closed
            woken.append("closed")

    turns = Turns(cast(Context, context), OwnWrites())
    for body in tasks:
        task = parse_task(body)
        ready = turns.look_at(task)
        assert isinstance(ready, Ready), ready
        ahead = turns.take(task, ready)
        body["status"] = {"waitsFor": ahead.name} if ahead else {}
    assert [one["status"].get("waitsFor") for one in tasks] == [
        None, *(f"t{number}" for number in range(49)),
    ]  # fmt: skip
    assert await context.background.result(parse_task(tasks[0]).meta, 1, beside) is None
    await turns.leave(ObjectKey(meta.TASK, "shop", "t0"), "000")
    assert woken == ["closed", "t1"]
