"""Actions `approveMigration` and `rejectMigration`: a person's word on a plan that waits.

Nothing is done here: the task waits until the pass over its target has taken note of it, which it
learns of by `controller.reconcile.votes`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.errors import TaskFailedError
from outbox_operator.plan.passes.approval import Decided
from outbox_operator.plan.tasks.approval import Noted, Outdated, look, look_again_seconds
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason


class Decide:
    """Both actions, on pipelines, consumers and streams."""

    async def freeze(self, work: Work) -> Frozen:
        """Nothing: the hash says what it is about."""
        return Frozen()

    async def step(self, work: Work, progress: Progress) -> Progress:
        """See whether the pass over the target has taken note; ask for that pass."""
        target: Decided = work.target
        found = look(target, work.task)
        if isinstance(found, Outdated):
            raise TaskFailedError(found.text, reason=Reason.PLAN_OUTDATED)
        if isinstance(found, Noted):
            return replace(progress, finished=True, note=found.text)
        if work.dry_run:
            return replace(progress, finished=True, note=f"the plan waits: {found.text}")
        key = ObjectKey.of(target.meta)
        work.context.wake(key, "task")
        pause = look_again_seconds(work.task, datetime.now(UTC))
        return replace(progress, pause_seconds=pause, note=f"{key} has yet to take note")
