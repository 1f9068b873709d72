"""Spans of events on their way through the outbox, as a collector gets them."""

from __future__ import annotations

import datetime as dt
import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.relaying import NAMESPACE, PIPELINE, Outbox
from support.spans import Receiver, Seen, a_parent, environment, place, receiving
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector of spans."""
    with receiving() as receiver:
        yield receiver


async def add(
    outbox: Outbox,
    number: int,
    *,
    sampled: bool = True,
    created: dt.datetime | None = None,
    **headers: str,
) -> str:
    columns: dict[str, Any] = {"created_at": created} if created else {}
    columns["headers"] = json.dumps({**a_parent(number, sampled=sampled), **headers})
    return await outbox.add(f"k{number}", value=number, **columns)


def by_trace(spans: list[Seen], number: int) -> Seen:
    [found] = [one for one in spans if one.trace_id == place(number)[0]]
    return found


async def test_the_time_in_the_outbox_is_a_span_within_the_producers(
    outbox: Outbox, receiver: Receiver
) -> None:
    written = time.time_ns()
    async with outbox.connection.transaction():
        ids = [await add(outbox, number) for number in (1, 2)]
        await add(outbox, 3, sampled=False)
        await outbox.add("k4", value=4)
        await outbox.add("k5", value=5, headers='{"traceparent": "00-1-1-01", "tracestate": "x"}')
        await add(outbox, 6, Status="no header of an event")
        # A clock of its own.
        await add(outbox, 7, created=dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
        await add(outbox, 8, created=dt.datetime(1, 1, 1, tzinfo=dt.UTC))
    relay = outbox.relay()
    relay.environment = environment(receiver, OTEL_RESOURCE_ATTRIBUTES="k8s.pod.name=here")
    await relay.start().ready()
    waits = await receiver.until(5, "outbox wait")
    [publish] = await receiver.until(1, "publish")
    first, second = by_trace(waits, 1), by_trace(waits, 2)

    assert {one.trace_id for one in waits} == {place(number)[0] for number in (1, 2, 6, 7, 8)}
    assert {one.parent_id for one in waits} == {place(number)[1] for number in (1, 2, 6, 7, 8)}
    assert (first.kind, first.error, first.links) == ("SPAN_KIND_INTERNAL", None, [])
    assert written - 1e9 < first.start < first.end < time.time_ns()
    assert first.attributes == {
        "messaging.system": "nats",
        "messaging.message.id": ids[0],
        "messaging.destination.name": f"{outbox.prefix}.created",
        "messaging.destination.template": f"{outbox.prefix}.{{event_type}}",
        "messaging.destination.partition.id": "0",
        "cloudevents.event_id": ids[0],
        "cloudevents.event_type": "created",
        "outbox.pipeline": f"{NAMESPACE}/{PIPELINE}",
        "outbox.position": 1,
        "outbox.since": "created_at",
    }
    assert first.service == f"{PIPELINE}-relay"
    assert first.resource["service.namespace"] == NAMESPACE
    assert first.resource["k8s.pod.name"] == "here"

    assert publish.name == f"publish {outbox.prefix}.{{event_type}}"
    assert (publish.trace_id, publish.parent_id) == first.place
    assert publish.kind == "SPAN_KIND_CLIENT"
    assert first.start <= publish.start <= publish.end == first.end
    assert publish.links == [place(2), place(7), place(8)]
    assert publish.attributes["messaging.operation.type"] == "send"
    assert publish.attributes["messaging.batch.message_count"] == 7
    assert second.links == [publish.place]

    dead = by_trace(waits, 6)
    assert dead.error == "InvalidHeaders", "not what the row says"
    assert dead.attributes["outbox.dead_letter.reason"] == "InvalidHeaders"
    ahead, long_ago = by_trace(waits, 7), by_trace(waits, 8)
    assert ahead.start == ahead.end
    assert long_ago.start == 0
    line = next(json.loads(line) for line in relay.log.splitlines() if "InvalidHeaders" in line)
    assert line["trace_id"] == place(6)[0]
    assert line["event_id"] == dead.attributes["cloudevents.event_id"]
    assert line["pipeline"] == f"{NAMESPACE}/{PIPELINE}"


async def test_keys_are_in_no_span(outbox: Outbox, receiver: Receiver) -> None:
    relay = outbox.relay(subject=f"{outbox.prefix}.{{event_type}}.{{partition_key}}")
    relay.environment = environment(receiver)
    await outbox.add("mr.smith@example.org", value=1, headers=json.dumps(a_parent(1)))
    await relay.start().ready()
    await receiver.until(2)
    assert {one.name.split()[0] for one in receiver.spans} == {"outbox", "publish"}
    assert "smith" not in str(receiver.spans)


async def test_a_collector_that_hangs_costs_spans_and_nothing_else(
    outbox: Outbox, receiver: Receiver
) -> None:
    asked = 0

    def hang() -> int:
        nonlocal asked
        asked += 1
        time.sleep(30)
        return 503

    receiver.answer = hang
    relay = outbox.relay()
    relay.environment = environment(
        receiver,
        OTEL_BSP_MAX_QUEUE_SIZE="16",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
        OTEL_EXPORTER_OTLP_TIMEOUT="600",
    )
    await relay.start().ready()
    await add(outbox, 1)
    await eventually(lambda: asked, "a request for the collector", relay=relay)
    for number in range(2, 80):
        await add(outbox, number)
    await outbox.published(79)
    relay.signal(signal.SIGTERM)
    assert relay.wait(SECONDS) == 0
    said = [line for line in relay.log.splitlines() if "spans" in line and "warning" in line]
    assert len(said) == 2, said  # that some are dropped, and that the last are lost


async def test_a_collector_that_is_away_is_said_once(outbox: Outbox) -> None:
    with receiving() as gone:
        pass
    relay = outbox.relay()
    relay.environment = environment(gone)
    await relay.start().ready()
    for number in range(1, 20):
        await add(outbox, number)
    await outbox.published(19)
    await eventually(lambda: "spans: " in relay.log, "a word about the collector", relay=relay)
    assert relay.terminate() == 0
    assert relay.log.count("events are not affected") == 1
