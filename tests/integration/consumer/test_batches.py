"""What a batch handler is given: whatever is routed to it."""

from __future__ import annotations

from itertools import chain

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Handlers, ReceivedEvent
from support.consuming import Source, calling, consuming

pytestmark = pytest.mark.integration


async def test_a_batch_is_what_is_routed_to_the_handler(client: Client, stream_prefix: str) -> None:
    """Types alternate, among themselves and with those of another batch and of a single handler."""
    source = await Source.create(client, stream_prefix, concurrency=1)
    app = Handlers()
    batches: dict[str, list[list[str]]] = {"rest": [], "orders": []}
    singles: list[str] = []

    @app.batch(">", size=500)
    async def rest(events: list[ReceivedEvent]) -> None:
        batches["rest"].append([event.type for event in events])

    @app.batch("order.created", "order.paid", size=500)
    async def orders(events: list[ReceivedEvent]) -> None:
        batches["orders"].append([event.type for event in events])

    @app.handler("click")
    async def single(event: ReceivedEvent) -> None:
        singles.append(event.type)

    kinds = ["a", "order.created", "b", "order.paid", "c", "click"] * 40
    for kind in kinds:
        await source.publish(type=kind)
    async with consuming(source.python(), calling(app)):
        await source.settled(len(kinds))
    handled = {name: list(chain.from_iterable(given)) for name, given in batches.items()}
    assert sorted([*handled["rest"], *handled["orders"], *singles]) == sorted(kinds)
    for name, types in (("rest", {"a", "b", "c"}), ("orders", {"order.created", "order.paid"})):
        assert set(handled[name]) == types
        assert max(len(batch) for batch in batches[name]) > 10, name
