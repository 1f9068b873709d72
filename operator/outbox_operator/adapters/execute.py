"""Carries out the steps of a plan, in order, and says what became of each."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from outbox_operator.errors import OutboxError
from outbox_operator.plan.steps import Applied, Change, Step

log = logging.getLogger(__name__)

T = TypeVar("T")
Write = Callable[[dict[str, Any]], Awaitable[T]]


async def execute(
    steps: Iterable[Step[T]],
    *,
    create: Write[T],
    patch: Write[T],
    delete: Callable[[T], Awaitable[object]] | None = None,
) -> list[Applied[T]]:
    """Do what was planned; the first step that is refused or fails is the last one tried.

    Args:
        steps: In order.
        create: Makes a resource; returns it as it is then.
        patch: Changes one.
        delete: Removes one that was found.

    Returns:
        One for each step that was come to.
    """
    applied: list[Applied[T]] = []
    for step in steps:
        now, error = step.found, step.refused
        if error is None:
            try:
                now = await _one(step, create, patch, delete)
            except OutboxError as problem:
                now, error = None, problem
        change = step.change if error is None else Change.NOOP
        if error is None and change not in (Change.NOOP, Change.FROZEN):
            log.info("%s %s", change, step.what)
        applied.append(Applied(step=step, change=change, now=now, error=error))
        if error is not None:
            break
    return applied


async def _one(
    step: Step[T],
    create: Write[T],
    patch: Write[T],
    delete: Callable[[T], Awaitable[object]] | None,
) -> T | None:
    match step.change:
        case Change.CREATED:
            return await create(step.wanted)
        case Change.PATCHED:
            return await patch(step.wanted)
        case Change.DELETED if delete is not None and step.found is not None:
            await delete(step.found)
            return None
        case _:
            return step.found
