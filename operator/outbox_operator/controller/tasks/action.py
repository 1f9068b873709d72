"""What an action of an OutboxTask is: the protocol, and what it is given to work with.

How an action is added:

1. Its fields are a model in `api/v1alpha1/task_actions.py`, named in `task.py` (all of the
   vocabulary are); whom it excludes stands in `plan/tasks/traits.py`.
2. What it decides is a pure module in `plan/tasks/`, with tables of inputs and outputs.
3. A module beside this one holds a class with `freeze` and `step` as `Action` says them, and
   `controller/tasks/registry.py` has one entry for each kind of target.
4. A test kills the operator in the middle (`tests/cluster/operated/test_tasks_killed.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Pipeline, Stream, Task
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.plan.tasks.status import Progress

Target = Pipeline | Consumer | Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What a task is about, fixed when it starts.

    Attributes:
        selection: What tells those events from all others whenever somebody asks: bounds and
            snapshots. JSON, a few kilobytes.
        progress: What the first step finds.
    """

    selection: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an action is given.

    Attributes:
        context: Connections with their checks and limits: use them by `controller.tasks.sessions`.
        task: The task as it is now.
        target: What it names, as that is now. It has the UID that the task began with.
        selection: As `freeze` made it; empty in `freeze`.
        save: Writes progress down at once, for what has to be known before an effect. Raises when
            the task is gone or another process works on it: then there must be no effect.
        most: At most so many events in this slice: the rate limit allows no more.
        deadline: By the clock of the loop. No effect may begin later: another operator may have
            taken over.
    """

    context: Context
    task: Task
    target: Target
    selection: Mapping[str, Any]
    save: Callable[[Progress], Awaitable[None]]
    most: int
    deadline: float

    @property
    def pipeline(self) -> Pipeline:
        """The target of an action that is registered for pipelines."""
        return cast(Pipeline, self.target)

    @property
    def consumer(self) -> Consumer:
        """The target of an action that is registered for consumers."""
        return cast(Consumer, self.target)

    @property
    def event_stream(self) -> Mapping[str, Any] | None:
        """What the target, a consumer, names as its EventStream, if that exists."""
        ref = self.consumer.spec.streamRef
        key = ObjectKey(meta.STREAM, self.target.meta.namespace, ref.name if ref else "")
        return self.context.objects.get(key)

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return self.task.spec.dryRun

    @property
    def time_left(self) -> float:
        """Seconds in which an effect may begin; 0 or less: end the slice."""
        return self.deadline - asyncio.get_running_loop().time()


class Action(Protocol):
    """One kind of work. Has no state: what it has to remember is in `Progress.where`.

    The operator may be killed at any moment, and another one goes on from the progress that was
    written last. An effect that must not happen twice is therefore announced first
    (`await work.save(…)` with what is about to be done), and who finds such an announcement looks
    whether it was done, before doing it. The operator may also be stopped at any `await` and go on
    when another one has done the work: an effect that no transaction or condition of the server
    keeps from happening twice looks at `work.time_left` after the last `await` before it.

    Any `OutboxError` is told and tried again; `TaskFailedError` ends the task. What befalls a
    single event is no error: `Progress.failing` lists it, and the step goes on.
    """

    async def freeze(self, work: Work) -> Frozen:
        """Fix what the task is about. Only reads; may be repeated when what came of it is lost."""
        ...

    async def step(self, work: Work, progress: Progress) -> Progress:
        """Do one slice: a second or so, `work.most` events at most, until `work.time_left` ends.

        Called again and again, until it answers with `finished`. With `work.dry_run` it counts.

        Args:
            work: Where and on what.
            progress: As the last slice, or `work.save`, left it.
        """
        ...
