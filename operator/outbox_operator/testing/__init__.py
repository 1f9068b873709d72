"""For the tests of applications: an outbox that records in memory, handlers that are called without
servers, and real servers by fixtures.

    from outbox_operator.testing import RecordingOutbox

    async def test_an_order_is_announced() -> None:
        outbox = RecordingOutbox()
        await place_order(FakeConnection(), outbox)
        assert [event.type for event in outbox.events] == ["order.created"]

Needs the standard library only. The fixtures of `testing.plugin` need no import.
"""

from __future__ import annotations

from outbox_operator.testing.handlers import Handled, RunningHandlers
from outbox_operator.testing.recorder import (
    RecordedEvent,
    RecordingConnection,
    RecordingOutbox,
    RecordingSyncOutbox,
)

__all__ = [
    "Handled",
    "RecordedEvent",
    "RecordingConnection",
    "RecordingOutbox",
    "RecordingSyncOutbox",
    "RunningHandlers",
]
