"""Events that no handler of an application takes: said, and not lost unless somebody says so."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, Handlers, ReceivedEvent
from outbox_operator.consumer.handlers.python import PythonHandler
from support.consuming import Source, consuming, metric

pytestmark = pytest.mark.integration


def taking(*types: str, seen: list[str], unhandled: str = "DeadLetter") -> PythonHandler:
    app = Handlers()

    @app.handler(*types)
    async def note(event: ReceivedEvent, context: Context) -> None:
        seen.append(event.type)

    return PythonHandler("tests:app", app, timeout=5.0, threads=1, unhandled=unhandled)  # type: ignore[arg-type]


async def test_an_event_that_no_handler_takes_is_a_dead_letter(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    seen: list[str] = []
    for kind in ("order.created", "order.paid", "order.created"):
        await source.publish(type=kind)
    async with consuming(source.python(), taking("order.created", seen=seen)) as app:
        await source.settled(3)
        assert metric(app, "outbox_consumer_dead_lettered_total", reason="Unhandled") == 1
    assert seen == ["order.created"] * 2
    [letter] = await source.dead_letters()
    headers = letter.headers or {}
    assert headers["Outbox-Dead-Letter-Reason"] == "Unhandled"
    assert "no handler for events of type 'order.paid'" in headers["Outbox-Dead-Letter-Error"]


async def test_or_is_acknowledged_if_that_is_wanted_and_counted_as_what_it_is(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    seen: list[str] = []
    for kind in ("order.created", "order.paid", "order.created"):
        await source.publish(type=kind)
    handler = taking("order.created", seen=seen, unhandled="Ack")
    async with consuming(source.python(), handler) as app:
        await source.settled(3)
    outcomes = {
        outcome: sum(
            metric(app, "outbox_consumer_processed_total", outcome=outcome, event_type=kind)
            for kind in ("order.created", "order.paid")
        )
        for outcome in ("ack", "unhandled", "dead_letter")
    }
    assert outcomes == {"ack": 2, "unhandled": 1, "dead_letter": 0}
    assert await source.dead_letters() == []


async def test_a_message_that_says_no_type_has_its_subject_as_one(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    seen: list[str] = []
    js = client.jetstream()
    await js.publish(f"{stream_prefix}.evt.order.created", b"{}")
    await js.publish(f"{stream_prefix}.evt.order.created", b"{}", headers={"Ce-Type": ""})
    async with consuming(source.python(), taking(f"{stream_prefix}.evt.order.*", seen=seen)):
        await source.settled(2)
    assert seen == [f"{stream_prefix}.evt.order.created"] * 2
    assert await source.dead_letters() == []
