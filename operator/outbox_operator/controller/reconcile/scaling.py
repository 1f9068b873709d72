"""What autoscaling remembers between passes: rates, and since when other numbers are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.plan.scaling.decide import Memory
from outbox_operator.plan.scaling.load import Load
from outbox_operator.plan.scaling.result import Scaled, consumer_scaled, relay_scaled


class Scaling:
    """Decides for the objects of a kind, one pass after another.

    What is lost with the process makes the next one wait once more before it takes pods away; the
    last change and the rate of a pod are in the status.
    """

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def of_relay(
        self, pipeline: Pipeline, load: Load | None, deployment: Mapping[str, Any] | None
    ) -> Scaled | None:
        """How many pods a relay shall have; see `relay_scaled`."""
        memory, now = self._memories.get(pipeline.meta.uid), datetime.now(UTC)
        return self._kept(pipeline.meta.uid, relay_scaled(pipeline, load, deployment, memory, now))

    def of_consumer(
        self,
        consumer: Consumer,
        load: Load | None,
        deployment: Mapping[str, Any] | None,
        *,
        resetting: str | None,
    ) -> Scaled | None:
        """The same for a consumer's pods; see `consumer_scaled`."""
        memory, now = self._memories.get(consumer.meta.uid), datetime.now(UTC)
        return self._kept(
            consumer.meta.uid,
            consumer_scaled(consumer, load, deployment, memory, now, resetting=resetting),
        )

    def _kept(self, uid: str, result: Scaled | None) -> Scaled | None:
        if result is None:
            self.forget(uid)
        else:
            self._memories[uid] = result.memory
        return result

    def forget(self, uid: str) -> None:
        """The object is gone, or its count is declared."""
        self._memories.pop(uid, None)
