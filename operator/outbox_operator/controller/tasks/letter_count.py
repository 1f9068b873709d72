"""Counting the dead letters of a consumer that a task is about: what it does first, in slices.

Called by `consumer_letters` and `group_letters`, which know where letters are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

from outbox_operator.controller.tasks.action import Work
from outbox_operator.plan.tasks.letters import Counted, kept, not_found, wanted_letters
from outbox_operator.plan.tasks.status import Progress

PlaceT = TypeVar("PlaceT", int, str)


async def count(
    work: Work,
    progress: Progress,
    where: Counted,
    letters: AsyncIterator[tuple[PlaceT, str | None]],
    up_to: PlaceT,
    *,
    most: int,
) -> Progress:
    """Count a stretch; at the end, what was asked for by id and is not there has failed.

    Args:
        work: What is to be counted.
        progress: Up to here.
        where: The same.
        letters: What is behind that, up to the last one: its place, and the id of the event if the
            task is about it.
        up_to: Place of the last one.
        most: At most so many are looked at.
    """
    wanted = wanted_letters(work.task.spec)
    missing = set(range(len(wanted.ids)) if where.missing is None else where.missing)
    selected, after, looked, at_end = progress.selected or 0, where.after, 0, False
    async for place, event_id in letters:
        after, looked = place, looked + 1
        if event_id is not None:
            selected += 1
            missing -= {n for n, one in enumerate(wanted.ids) if one == event_id}
            at_end = selected == wanted.limit
        if at_end or looked >= most or work.time_left <= 0:
            break
    else:
        at_end = True
    progress = replace(progress, selected=selected)
    if not at_end:
        going_on = where.model_copy(update={"after": after, "missing": tuple(sorted(missing))})
        return replace(progress, where=kept(going_on))
    last = after if wanted.limit is not None and after is not None else up_to
    work_begins = type(where).model_validate({"counted": True, "up_to": last})
    progress = not_found(progress, [wanted.ids[number] for number in sorted(missing)])
    return replace(progress, where=kept(work_begins))
