"""What is said again, and for how long that is remembered."""

from __future__ import annotations

import time
from typing import Any, cast

from outbox_operator.adapters.kubernetes.events import MOST_REMEMBERED, EventRecorder
from outbox_operator.adapters.kubernetes.transport import Transport
from outbox_operator.reasons import Reason

BODY = {
    "apiVersion": "outbox.dev/v1alpha1",
    "kind": "OutboxPipeline",
    "metadata": {"name": "orders", "namespace": "shop", "uid": "u"},
}


class ApiServer:
    """Takes everything."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def request(self, method: str, _path: str, **_: Any) -> None:
        self.methods.append(method)


async def test_who_says_something_new_all_the_time_takes_little() -> None:
    """Drift that has another name each time, for example."""
    server, now = ApiServer(), time.monotonic()
    recorder = EventRecorder(cast(Transport, server), "operator", lambda: now)

    async def say(note: str) -> str:
        await recorder.record(
            BODY, type="Warning", reason=Reason.DRIFT_CORRECTED, note=note, action="Reconcile"
        )
        return server.methods[-1]

    assert [await say("first"), await say("first")] == ["POST", "PATCH"]
    for number in range(2 * MOST_REMEMBERED):
        assert await say(f"{number}") == "POST"
    # The oldest is forgotten, the last ones are not.
    assert [await say("first"), await say(f"{2 * MOST_REMEMBERED - 1}")] == ["POST", "PATCH"]
    now += 700
    assert await say("first") == "POST"
