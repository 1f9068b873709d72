"""Spans of messages while they are handled, and what handlers are told of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.client import Client
from opentelemetry import trace

from outbox_operator.consumer import Context, DeadLetter, Handlers, ReceivedEvent, RetryAfter
from outbox_operator.consumer.handlers.types import Handler
from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from support.consuming import Endpoint, Source, calling, consuming
from support.outbox import migrate_inbox
from support.spans import Recorded, Seen, a_parent, place

pytestmark = pytest.mark.integration


@pytest.fixture
async def source(client: Client, stream_prefix: str) -> Source:
    """A stream with a durable consumer."""
    return await Source.create(client, stream_prefix, max_deliver=2)


async def spans_of(
    source: Source, config: ConsumerConfig, handler: Handler | None = None, *, events: int
) -> list[Seen]:
    """The spans of a consumer that handles all there is."""
    recorded = Recorded()
    async with consuming(config, handler, tracer=recorded.tracer):
        await source.settled(events)
    return recorded.spans


async def test_the_span_of_a_handler_is_linked_to_the_producer(
    source: Source, endpoint: Endpoint
) -> None:
    ids = [await source.publish(type="a", **a_parent(1)), await source.publish(type="a")]
    ids.append(await source.publish(type="a", **a_parent(2, sampled=False)))
    ids.append(await source.publish(type="a", traceparent="00-1-1-01"))
    [span] = await spans_of(source, source.http(endpoint), events=4)
    assert (span.name, span.kind, span.error) == ("process billing", "SPAN_KIND_CONSUMER", None)
    assert (span.parent_id, span.links) == ("", [place(1)])
    assert span.trace_id != place(1)[0]
    assert span.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": f"{source.prefix}.evt.a",
        "messaging.consumer.group.name": "billing",
        "messaging.message.id": ids[0],
        "messaging.message.body.size": 4,
        "cloudevents.event_id": ids[0],
        "cloudevents.event_type": "a",
        "cloudevents.event_source": "/shop/orders",
        "outbox.consumer": "shop/billing",
        "outbox.stream": source.prefix,
        "outbox.stream.sequence": 1,
        "outbox.deliveries": 1,
        "outbox.outcome": "ack",
    }
    told = {request.id: request.headers for request in endpoint.requests}
    assert told[ids[0]]["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
    assert told[ids[0]]["ce-traceparent"] == a_parent(1)["traceparent"]
    assert "traceparent" not in told[ids[1]]
    assert told[ids[2]]["traceparent"] == a_parent(2, sampled=False)["traceparent"]


async def test_the_code_of_a_handler_runs_within_the_span(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OUTBOX_PROCESS_SPANS", "child")
    seen: dict[str, trace.SpanContext] = {}
    told: dict[str, dict[str, str]] = {}
    app = Handlers()

    @app.handler("here")
    async def here(event: ReceivedEvent, context: Context) -> None:
        await asyncio.sleep(0)
        seen[event.id] = trace.get_current_span().get_span_context()
        told[event.id] = dict(context.trace)

    @app.handler("thread")
    def there(event: ReceivedEvent) -> None:
        seen[event.id] = trace.get_current_span().get_span_context()

    first = await source.publish(type="here", **a_parent(1))
    second = await source.publish(type="thread", **a_parent(2))
    unsampled = await source.publish(type="here", **a_parent(3, sampled=False))
    alone = await source.publish(type="here")
    config, handler = source.python(), calling(app)
    one, two = await spans_of(source, config, handler, events=4)
    assert {(one.trace_id, one.parent_id), (two.trace_id, two.parent_id)} == {place(1), place(2)}
    assert {f"{seen[event].span_id:016x}" for event in (first, second)} == {
        one.span_id, two.span_id,
    }  # fmt: skip
    # What the handler begins stays unrecorded as well.
    assert f"{seen[unsampled].trace_id:032x}" == place(3)[0]
    assert not seen[unsampled].trace_flags.sampled
    assert not seen[alone].is_valid
    # To hand on by whoever does not use OpenTelemetry.
    assert told[unsampled] == a_parent(3, sampled=False)
    assert told[alone] == {}
    mine = next(span for span in (one, two) if span.span_id == f"{seen[first].span_id:016x}")
    assert told[first] == {"traceparent": f"00-{mine.trace_id}-{mine.span_id}-01"}


async def test_a_batch_is_one_call_within_the_first_span(source: Source) -> None:
    app = Handlers()
    current: list[int] = []

    @app.batch(">", size=20)
    async def handle(events: Sequence[ReceivedEvent]) -> None:
        current.append(trace.get_current_span().get_span_context().span_id)

    for number in range(1, 21):
        await source.publish(**(a_parent(number) if number > 1 else {}))
    config = replace(source.python(), ordering="None", concurrency=1)
    spans = await spans_of(source, config, calling(app), events=20)
    assert len(spans) == 19, "one each"
    by_number = {span.links[0]: span for span in spans}
    assert by_number.keys() == {place(number) for number in range(2, 21)}
    roots = [one for one in spans if len(one.links) > 2]
    for root in roots:
        assert len(root.links) <= 8
    called = {f"{span_id:016x}" for span_id in current if span_id}
    for span in spans:
        if span.span_id not in called:
            assert span.links[1][1] in called, "linked to the one of the call"


async def test_what_becomes_of_an_event_is_told(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handlers()
    times = 0

    @app.handler("twice")
    async def twice(event: ReceivedEvent) -> RetryAfter | None:
        nonlocal times
        times += 1
        return RetryAfter(reason="not yet, password=secret") if times == 1 else None

    @app.handler("never")
    async def never(event: ReceivedEvent) -> DeadLetter:
        return DeadLetter("no such order: card 4111 1111 1111 1111")

    await source.publish(type="twice", **a_parent(1))
    key = {"Outbox-Shard": "0", "Ce-Partitionkey": "never"}
    await source.publish(type="never", **a_parent(2), **key)
    with caplog.at_level(logging.WARNING):
        spans = await spans_of(source, source.python(), calling(app), events=2)
    tries = [one for one in spans if one.links == [place(1)]]
    assert [one.attributes["outbox.outcome"] for one in tries] == ["retry", "ack"]
    assert [one.attributes["outbox.deliveries"] for one in tries] == [1, 2]
    assert tries[0].error == "not yet, password=***"
    [refused] = [one for one in spans if one.links == [place(2)]]
    assert refused.attributes["outbox.outcome"] == "dead_letter"
    assert refused.error == "no such order"
    assert "messaging.destination.name" not in refused.attributes, "it has the key in it"
    [letter] = [one for one in spans if one.name == "dead letter billing"]
    assert (letter.trace_id, letter.parent_id) == refused.place
    assert letter.kind == "SPAN_KIND_PRODUCER"
    assert letter.attributes["messaging.destination.name"] == f"{source.prefix}.dead.billing"
    assert letter.attributes["outbox.dead_letter.reason"] == "Refused"
    [stored] = await source.dead_letters()
    assert stored.headers is not None
    assert stored.headers["traceparent"] == a_parent(2)["traceparent"]
    [line] = [vars(record) for record in caplog.records if "is a dead letter" in record.message]
    assert line["trace_id"] == place(2)[0]
    assert line["pipeline"] == "shop/orders"


async def test_the_transaction_of_the_inbox_is_a_span(
    source: Source, database: str, tmp_path: Any
) -> None:
    await migrate_inbox(database)
    (tmp_path / "url").write_text(database)
    inbox = InboxConfig(url_file=str(tmp_path / "url"))
    times = 0

    async def handle(event: ReceivedEvent, context: Context) -> RetryAfter | None:
        nonlocal times
        times += 1
        await context.connection.execute("SELECT 1")
        return RetryAfter(reason="not yet") if times == 1 else None

    event = await source.publish(**a_parent(1))
    config = replace(source.python(), inbox=inbox)
    first, second = [
        one
        for one in await spans_of(source, config, calling(handle), events=1)
        if one.name == "inbox transaction billing"
    ]
    assert (first.error, second.error) == ("rolled back", None)
    assert second.kind == "SPAN_KIND_CLIENT"
    assert second.attributes["db.system.name"] == "postgresql"
    assert second.attributes["outbox.inbox.duplicates"] == 0
    await source.client.jetstream().delete_consumer(source.prefix, "billing")
    await source.create_durable()
    spans = await spans_of(source, config, calling(handle), events=1)
    [again, process] = spans
    assert times == 2, f"event {event} is known"
    assert (again.trace_id, again.parent_id) == process.place
    assert again.attributes["outbox.inbox.duplicates"] == 1
