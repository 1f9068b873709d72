"""An action on a consumer that is another one in JetStream and in Redis."""

from __future__ import annotations

from outbox_operator.controller.tasks.action import Action, Frozen, Work
from outbox_operator.plan.tasks.status import Progress


class ByBroker:
    """See `Action`. Where the consumer's stream is decides, whenever it is asked.

    Args:
        jetstream: What is done there, and where nobody knows the stream.
        redis: What is done there.
    """

    def __init__(self, *, jetstream: Action, redis: Action) -> None:
        self._jetstream = jetstream
        self._redis = redis

    async def freeze(self, work: Work) -> Frozen:
        """See `Action`."""
        return await self._of(work).freeze(work)

    async def step(self, work: Work, progress: Progress) -> Progress:
        """See `Action`."""
        return await self._of(work).step(work, progress)

    def _of(self, work: Work) -> Action:
        body = work.event_stream
        return self._redis if body and body["spec"].get("redis") else self._jetstream
