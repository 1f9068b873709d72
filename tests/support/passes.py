"""What tests of passes share: a clock that stands, and a server that does what was planned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from outbox_operator.api import meta
from outbox_operator.api.resource import Resource
from outbox_operator.errors import OutboxError
from outbox_operator.plan.passes.result import PassPlan
from outbox_operator.plan.steps import Applied, Change

T = TypeVar("T")
SpecT = TypeVar("SpecT", bound=BaseModel)
StatusT = TypeVar("StatusT", bound=BaseModel)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def carried_out(
    plan: PassPlan[T],
    written: Callable[[dict[str, Any]], T],
    error: OutboxError | None = None,
    fails: int = -1,
) -> list[Applied[T]]:
    """What becomes of a plan's steps: all are done, up to one that is refused or fails.

    Args:
        plan: The plan.
        written: The resource that a configuration or manifest becomes.
        error: Why the step `fails` (an index) fails.
    """
    applied: list[Applied[T]] = []
    for index, step in enumerate(plan.steps):
        problem = error if index == fails else step.refused
        if problem is not None:
            now = None if index == fails else step.found
            return [*applied, Applied(step=step, change=Change.NOOP, now=now, error=problem)]
        now = step.found
        if step.change in (Change.CREATED, Change.PATCHED):
            now = written(step.wanted)
        elif step.change is Change.DELETED:
            now = None
        applied.append(Applied(step=step, change=step.change, now=now))
    return applied


def paused(resource: Resource[SpecT, StatusT]) -> Resource[SpecT, StatusT]:
    """The same with the pause annotation."""
    changed = dataclasses.replace(resource.meta, annotations={meta.PAUSE_ANNOTATION: "true"})
    return dataclasses.replace(resource, meta=changed)
