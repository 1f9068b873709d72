"""One pass over an OutboxTask: whose turn it is, freeze, slices, and the status after each.

A pass lasts a moment: it does slices for about a second, writes down how far it is, and the task
comes again through the queue, so that long tasks keep nobody from a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api.resource import Meta, parse_meta
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.controller.runtime.own_writes import OwnWrites
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.controller.tasks.ledger import Ledger, TaskVanishedError
from outbox_operator.controller.tasks.task_pass import TaskPass, export_end
from outbox_operator.controller.tasks.turns import Turns
from outbox_operator.plan.tasks.status import is_finished, seconds_to_live

log = logging.getLogger(__name__)

LOST_RACE_SECONDS: Final = 1.0


class TaskReconciler:
    """One pass over one OutboxTask."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.events = EventReporter(context.kube)
        self._own = OwnWrites()
        self._uids: dict[ObjectKey, str] = {}
        self._turns = Turns(context, self._own)
        self._rests: dict[str, float] = {}

    async def reconcile(self, key: ObjectKey, trigger: str) -> ReconcileResult:
        """One pass. Called by the work queue, never twice at once for one object."""
        body = self.context.objects.get(key)
        known = self._uids.get(key)
        if known is not None and (body is None or body["metadata"]["uid"] != known):
            await self._forget(key, known)
        if body is None:
            return ReconcileResult()
        metadata = parse_meta(body)
        self._uids[key] = metadata.uid
        if metadata.deleted_at is not None:  # somebody else's finalizer keeps it
            await self._turns.leave(key, metadata.uid)
            return ReconcileResult()
        ledger = Ledger(self.context.kube, self._own, body)
        if is_finished(ledger.conditions):
            return await self._finished(key, metadata, ledger, body)
        try:
            return await TaskPass(
                self.context, self.events, self._turns, key, body, ledger, self._rests
            ).run()
        except TaskVanishedError:
            log.info("deleted while it was worked on; stopped")
            return ReconcileResult()
        except WriteConflictError as error:  # the watch brings the newer object
            log.info("lost a race, trying again: %s", error)
            return ReconcileResult(requeue_after=LOST_RACE_SECONDS)

    async def _finished(
        self, key: ObjectKey, metadata: Meta, ledger: Ledger, body: Mapping[str, Any]
    ) -> ReconcileResult:
        """At its end: it goes when its time has come."""
        if self._turns.is_working(metadata.uid):
            await self._turns.leave(key, metadata.uid)
        status = ledger.read()
        export_end(self.context.exported, body, status)
        ttl = (body.get("spec") or {}).get("ttlSecondsAfterFinished")
        left = seconds_to_live(status, ttl, datetime.now(UTC))
        if left:
            return ReconcileResult(requeue_after=left)
        if left is not None:
            log.info("deleted %d s after its end", ttl)
            await self.context.kube.delete(self.context.ref(key), uid=metadata.uid)
        return ReconcileResult()

    async def _forget(self, key: ObjectKey, uid: str) -> None:
        self._own.forget(uid)
        self._uids.pop(key, None)
        self._rests.pop(uid, None)
        await self._turns.leave(key, uid)
        self._turns.forget(uid)
        self.context.exported.forget(key)
        self.context.nats.forget(key)
        self.context.postgres.forget(key)
