"""The status of one task during a pass: what is written is what a crash leaves.

Every write is refused when somebody else wrote the object meanwhile, so that an operator that was
frozen and wakes up does nothing on the word of an old status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import OutboxTaskStatus
from outbox_operator.controller.runtime.own_writes import OwnWrites
from outbox_operator.errors import OutboxError, TaskFailedError
from outbox_operator.reasons import Reason


class TaskVanishedError(OutboxError):
    """The task was deleted; what is under way stops."""

    reason = Reason.NOT_FOUND


class Ledger:
    """Reads and writes the status of one task.

    Args:
        kube: The API server.
        own: Our last writes, which the watch may not have brought back yet.
        body: The task.
    """

    def __init__(self, kube: Kube, own: OwnWrites, body: Mapping[str, Any]) -> None:
        self._kube = kube
        self._own = own
        self._body = body
        self._raw = own.status(body)
        self._version = str(own.newest(body))

    @property
    def conditions(self) -> list[Mapping[str, Any]]:
        """As they were written last."""
        return list(self._raw.get("conditions") or ())

    def read(self) -> OutboxTaskStatus:
        """The status as it was written last.

        Raises:
            TaskFailedError: It cannot be read: nobody knows what was done already.
        """
        try:
            return OutboxTaskStatus.model_validate(self._raw, extra="ignore")
        except ValidationError as error:
            raise TaskFailedError(
                "its status cannot be read, so nobody knows what was done until now: "
                f"{error.error_count()} fields are not as this version writes them",
                reason=Reason.STATUS_UNREADABLE,
            ) from error

    async def write(self, status: OutboxTaskStatus) -> None:
        """Write a status, unless it says nothing new.

        Raises:
            TaskVanishedError: The task is gone.
            WriteConflictError: Somebody wrote it meanwhile; look again.
        """
        after = status.model_dump(mode="json", exclude_none=True)
        if after == self._raw:
            return
        metadata = self._body["metadata"]
        written = await self._kube.apply_status(
            {
                "apiVersion": meta.API_VERSION,
                "kind": meta.TASK,
                "metadata": {
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                    "resourceVersion": self._version,
                },
                "status": after,
            }
        )
        if written is None:
            raise TaskVanishedError("the task is gone")
        self._own.wrote_status(written, after)
        self._raw, self._version = after, str(written["metadata"]["resourceVersion"])
