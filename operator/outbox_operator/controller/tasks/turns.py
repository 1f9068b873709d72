"""Which tasks are at work in this process, and whose turn is next; `plan.tasks.turns` decides.

A namespace may have hundreds of tasks that wait: each waits for the one right before it, so that
the end of one wakes one, and what is known of the others is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.resource import Task, parse_task
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.child_cache import owner_of
from outbox_operator.controller.runtime.objects import key_of
from outbox_operator.controller.runtime.own_writes import OwnWrites
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import SpecError
from outbox_operator.plan.tasks.status import is_finished, is_working
from outbox_operator.plan.tasks.target import Never, Ready, Waits, family_of, look_at
from outbox_operator.plan.tasks.traits import traits_of
from outbox_operator.plan.tasks.turns import Turn, ahead_of


class Turns:
    """Lets tasks go to work one after the other where they exclude each other.

    Args:
        context: With all tasks and what they name.
        own: What we wrote of tasks and the watch has not brought back yet.
    """

    def __init__(self, context: Context, own: OwnWrites) -> None:
        self._context = context
        self._own = own
        self._working: set[str] = set()
        """UIDs."""
        self._parsed: LastResult[Task | None] = LastResult()

    def look_at(self, task: Task) -> Ready | Waits | Never:
        """Whether a task may begin on what it names."""
        body = self._target(task)
        owner = None if body is None else owner_of(body)
        return look_at(task, body, None if owner is None else self._context.objects.get(owner))

    def take(self, task: Task, ready: Ready) -> Turn | None:
        """Go to work, if nobody is ahead; else the last who is. Does not wait in between."""
        mine = _turn(task, ready.target.uid, ready.family, working=self.is_working(task.meta.uid))
        tasks: dict[str, Task] = {}
        for ahead in reversed(ahead_of(mine, self._others(mine, task.meta.namespace, tasks))):
            if isinstance(self.look_at(tasks[ahead.uid]), Ready):
                return ahead
        self._working.add(task.meta.uid)
        return None

    def is_working(self, uid: str) -> bool:
        """Whether a task is at work in this process."""
        return uid in self._working

    async def leave(self, key: ObjectKey, uid: str) -> None:
        """A task ended, was suspended or is gone: who waits for it looks again.

        Before that its work beside the passes is cut and has ended: others exclude it.
        """
        await self._context.background.end(uid)
        self._context.comparisons.leave(uid)
        self._working.discard(uid)
        for body in self._context.objects.of_kind(meta.TASK, key.namespace):
            if self._own.status(body).get("waitsFor") == key.name:
                self._context.wake(key_of(body), f"turn:{key.name}")

    def forget(self, uid: str) -> None:
        """A task is gone."""
        self._parsed.forget(uid)

    def _others(self, mine: Turn, namespace: str, tasks: dict[str, Task]) -> Iterator[Turn]:
        """Those of a namespace that are neither at their end nor suspended; fills `tasks`."""
        if mine.working or mine.excludes == "nothing":
            return
        for body in self._context.objects.of_kind(meta.TASK, namespace):
            metadata, spec = body["metadata"], body.get("spec")
            conditions = self._own.status(body).get("conditions") or ()
            if metadata.get("deletionTimestamp") or is_finished(conditions):
                continue
            working = metadata["uid"] in self._working or is_working(conditions)
            suspended = isinstance(spec, Mapping) and spec.get("suspend") is True
            if suspended and not working:
                continue
            other = self._task(body)
            target = None if other is None else self._target(other)
            if other is not None and target is not None:
                tasks[other.meta.uid] = other
                yield _turn(other, target["metadata"]["uid"], family_of(target), working=working)

    def _task(self, body: Mapping[str, Any]) -> Task | None:
        def parse() -> Task | None:
            try:
                return parse_task({**body, "status": {}}, stored=True)
            except SpecError:
                return None

        metadata = body["metadata"]
        return self._parsed.get(metadata["uid"], metadata.get("generation"), parse)

    def _target(self, task: Task) -> Mapping[str, Any] | None:
        kind, name = task.spec.target
        return self._context.objects.get(ObjectKey(kind, task.meta.namespace, name))


def _turn(task: Task, target: str, family: str, *, working: bool) -> Turn:
    return Turn(
        uid=task.meta.uid,
        name=task.meta.name,
        created=task.meta.created,
        family=family,
        target=target,
        excludes=traits_of(task.spec).excludes,
        working=working,
    )
