"""What works on the namespaces of this process: begins with those gained, ends in those left.

Called by `leadership`, which says who leads what; the queue, the caches and the reconcilers hang
together here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.queue import WorkQueue
from outbox_operator.controller.runtime.resync import Resync

PASSES_SECONDS: Final = 5.0
"""Passes that are under way get this long to end by themselves."""

EndBackground = Callable[[Collection[str]], Awaitable[None]]


class WorkedTerritory:
    """The namespaces that this process leads.

    Args:
        queue: Runs passes.
        objects: Our objects.
        children: What we made; None: followed where the operator is let in, and nowhere else.
        resync: Lists our objects.
        end_background: Ends what is done beside passes, for objects by UID.
    """

    def __init__(
        self,
        queue: WorkQueue,
        objects: Objects,
        children: Children | None,
        resync: Resync,
        end_background: EndBackground,
    ) -> None:
        self._queue = queue
        self._objects = objects
        self._children = children
        self._resync = resync
        self._end_background = end_background

    async def gained(self) -> None:
        """There are more: each object gets its first pass, when what was made for it is known."""
        if self._children is not None:
            await self._children.list_again()
        await self._resync.once()

    async def leave(self) -> None:
        """There are fewer: returns when nothing is done in the others, and nothing remembered."""
        await self._queue.leave_others(PASSES_SECONDS)
        left = self._objects.leave_others()
        await self._end_background(left.values())
        if self._children is not None:
            self._children.leave_others()
        await self._queue.forget(left)
