"""When a pass over a task that was woken goes on, and when it rests."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.api import meta
from outbox_operator.api.resource import parse_task
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.ledger import Ledger
from outbox_operator.controller.tasks.task_pass import TaskPass
from outbox_operator.controller.tasks.turns import Turns
from outbox_operator.plan.tasks.status import Progress
from support import resources


class Steps:
    """An action whose steps handle some events and want a pause."""

    def __init__(self, handled: int, pause: float | None) -> None:
        self.handled, self.pause, self.steps = handled, pause, 0

    async def freeze(self, work: Work) -> Frozen:
        """Not asked for."""
        raise NotImplementedError

    async def step(self, work: Work, progress: Progress) -> Progress:
        """One."""
        self.steps += 1
        return replace(progress, done=progress.done + self.handled, pause_seconds=self.pause)


@pytest.mark.parametrize(
    ("action", "limit", "steps"),
    [
        (Steps(0, 30.0), None, 2),  # what it waits for has come
        (Steps(10, None), 1, 1),  # the rate limit is a limit
    ],
)
async def test_who_is_woken_goes_on_unless_its_rate_is_limited(
    action: Steps, limit: int | None, steps: int
) -> None:
    spec: dict[str, Any] = {"pipelineRef": {"name": "orders"}, "replayDeadLetters": {}}
    body: dict[str, Any] = {
        "kind": meta.TASK,
        "metadata": {
            "name": "t", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec if limit is None else {**spec, "eventsPerSecond": limit},
    }  # fmt: skip

    async def nothing(*_: object, **__: object) -> None:
        """Nobody reads it."""

    context = SimpleNamespace(
        objects=SimpleNamespace(get=lambda _: body),
        exported=SimpleNamespace(put=lambda *_: None),
    )
    rests: dict[str, float] = {}
    for _ in range(2):
        one = TaskPass(
            cast(Context, context), cast(EventReporter, SimpleNamespace(event=nothing)),
            cast(Turns, None), ObjectKey(meta.TASK, "shop", "t"), body,
            cast(Ledger, SimpleNamespace(conditions=[], write=nothing)), rests,
        )  # fmt: skip
        result = await one._work(parse_task(body), resources.pipeline(), action)
        assert result.requeue_after is not None
        assert result.requeue_after > 5
    assert action.steps == steps
