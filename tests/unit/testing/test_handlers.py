"""Handlers without servers fail where the runtime fails them."""

from __future__ import annotations

import pytest

from outbox_operator.client import Event
from outbox_operator.consumer import Context, Handlers
from outbox_operator.testing import RecordingConnection, RecordingOutbox, RunningHandlers

SEEN = Event(type="order.seen", payload={})


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("waits", [True, False])
async def test_an_outbox_that_is_not_awaited_is_no_success(waits: bool) -> None:
    app, outbox, connection = Handlers(), RecordingOutbox(), RecordingConnection()

    @app.handler("order.created")
    async def handle(order: dict[str, int], context: Context) -> None:
        written = outbox.add(context.connection, SEEN)
        if waits:
            await written

    async with RunningHandlers(app, connection=connection) as handlers, connection.transaction():
        handled = await handlers.deliver("order.created", {"id": 1})
        later = await handlers.deliver("order.created", {"id": 1})
    if waits:
        assert (handled.end, later.end) == ("ack", "ack")
        assert [event.type for event in outbox.events] == ["order.seen"] * 2
    else:
        assert handled.end == later.end == "retry"
        assert "a coroutine was never awaited: 'Outbox.add'" in handled.reason
        assert outbox.events == []
