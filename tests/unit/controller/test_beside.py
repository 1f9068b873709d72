"""What goes on beside the passes over a task."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.beside import while_wanted
from support import resources


@pytest.mark.parametrize("how", ["cut", "suspended"])
async def test_it_has_ended_when_it_is_said_to(how: str) -> None:
    owner = resources.pipeline().meta
    body: dict[str, Any] = {"metadata": {"uid": owner.uid}, "spec": {}}
    context = SimpleNamespace(objects=SimpleNamespace(get=lambda key: body))
    work = cast(Work, SimpleNamespace(context=context, task=SimpleNamespace(meta=owner)))
    begun, said = asyncio.Event(), list[str]()

    async def doing() -> str:
        try:
            begun.set()
            await asyncio.Event().wait()
            return "never"
        finally:
            await asyncio.sleep(0.05)  # as a session that is closed
            said.append("closed")

    running = asyncio.create_task(while_wanted(work, doing()))
    await begun.wait()
    if how == "cut":
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        body["spec"] = {"suspend": True}
        assert await running is None
    assert said == ["closed"]
