"""What autoscaling remembers between passes: rates, and since when other numbers are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.plan.scaling.decide import Memory
from outbox_operator.plan.scaling.limits import Limits
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.scaling.result import Scaled, scaled


class Scaling:
    """Decides for the objects of a kind, one pass after another.

    What is lost with the process makes the next one wait once more before it takes pods away; the
    last change and the rate of a pod are in the status.
    """

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def decide(
        self,
        owner: Meta,
        limits: Limits,
        load: Load | None,
        deployment: Mapping[str, Any] | None,
        last: AutoscalingStatus | None,
        stopped: str | None,
    ) -> Scaled:
        """How many pods an object's workload shall have; arguments as of `scaled`."""
        result = scaled(
            limits, load, deployment, last, self._memories.get(owner.uid),
            stopped=stopped, paused=owner.paused, now=datetime.now(UTC),
        )  # fmt: skip
        self._memories[owner.uid] = result.memory
        return result

    def forget(self, uid: str) -> None:
        """The object is gone, or its count is declared."""
        self._memories.pop(uid, None)
