"""What one process writes, the next one reads: application, relay, consumer, handler, controller.

Each pair is tested on its own elsewhere; here their two ends meet, without a server in between.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import yaml

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.api import meta
from outbox_operator.api.resource import parse_consumer, parse_pipeline
from outbox_operator.consumer import Context
from outbox_operator.consumer import settings as consumer_settings
from outbox_operator.consumer.events import inbox_id, received
from outbox_operator.consumer.handlers.http_request import binary_request, structured_request
from outbox_operator.consumer.handlers.types import ReceivedEvent
from outbox_operator.plan.kubernetes import runtime_config
from outbox_operator.plan.sources import Source
from outbox_operator.relay import settings as relay_settings
from outbox_operator.relay.chain import Naming
from outbox_operator.relay.message import Renderer, name_predecessor, say_reached
from outbox_operator.wire import config, subjects
from outbox_operator.wire.dead_letters import replayed
from outbox_operator.wire.event import Event
from outbox_operator.wire.subjects import SubjectTemplate
from support.kube import ROOT

CONTEXT = Context(consumer="orders-billing", deliveries=2, stream="ORDERS", sequence=7)
WRITTEN = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
EVENTS = [
    Event(type="order.created", payload={"id": 42}, key="42"),
    Event(
        type="Bestellung.geändert", payload=[1, 2.50, "ü"], key="Zürich 8 %", headers={"X-A": "b"}
    ),
    Event(type="a", payload=None),
    Event(type="order.created", payload="x", key="\r\nNats-Msg-Id: forged", routing_key="eu.>"),
    Event(type="image", payload=b"\x00\xff", headers={"Content-Type": "image/png"}),
]


def stored_row(event: Event, position: int = 9) -> Row:
    """The row that the library's INSERT leaves in the table."""
    payload = event.payload
    text = (
        payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    )
    return Row(
        position, str(event.id), event.type, event.key, event.routing_key, text,
        json.dumps(dict(event.headers)) if event.headers else None,
        round(WRITTEN.timestamp() * 1e6),
    )  # fmt: skip


def delivered(event: Event, naming: Naming | None = None) -> ReceivedEvent:
    """The event after relay, stream and consumer."""
    renderer = Renderer(
        template=SubjectTemplate.parse("orders.{event_type}"),
        schema="outbox",
        shard=0,
        source="/shop/orders",
        payload_type="bytea" if isinstance(event.payload, bytes) else "jsonb",
    )
    row = stored_row(event)
    message = renderer.render(row, row.payload or b"", 1)
    if naming is not None:
        [message] = name_predecessor(say_reached([message], 1, 9), naming)
    assert subjects.covers("orders.>", message.subject)
    headers = parse_headers(message.head.encode("latin-1"))
    assert len(headers) == message.head.count("\r\n") - 2
    return received(
        subject=message.subject,
        headers=headers,
        data=message.payload,
        stream="ORDERS",
        sequence=7,
        stored=lambda: WRITTEN,
    )


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_a_handler_sees_what_the_application_wrote(event: Event) -> None:
    got = delivered(event)
    assert got.id == str(event.id)
    assert inbox_id(got) == event.id
    assert got.type == event.type
    assert got.key == event.key
    assert got.time == WRITTEN
    assert got.source == "/shop/orders"
    if isinstance(event.payload, bytes):
        assert got.data == event.payload
    else:
        assert got.json() == event.payload
    for name, value in event.headers.items():
        assert got.headers[name] == value


def test_a_jump_in_the_numbers_is_between_relay_and_reader() -> None:
    got, plain = delivered(EVENTS[0], Naming(7, every=True)), delivered(EVENTS[0])
    assert got.headers == {**plain.headers, "Outbox-Reached": "9", "Outbox-Predecessor": "7"}
    assert binary_request(got, CONTEXT) == binary_request(plain, CONTEXT)
    assert replayed(got.headers, "dead", 1) == replayed(plain.headers, "dead", 1)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_an_http_endpoint_gets_the_same_event_in_both_modes(event: Event) -> None:
    got = delivered(event)
    headers, body = binary_request(got, CONTEXT)
    assert headers["ce-id"] == str(event.id)
    assert body == got.data
    _, document_text = structured_request(got, CONTEXT)
    document = json.loads(document_text)
    assert document["id"] == headers["ce-id"]
    assert document["type"] == event.type
    assert document.get("partitionkey", "") == event.key
    if not isinstance(event.payload, bytes):
        assert document["data"] == event.payload


def pipeline_body(path: str) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    body["metadata"].setdefault("namespace", "default")
    return body


@pytest.mark.parametrize("path", ["examples/smallest/pipeline.yaml", "examples/shop/pipeline.yaml"])
def test_relays_read_what_the_controller_writes(path: str) -> None:
    written = runtime_config.relay_config(parse_pipeline(pipeline_body(path)), stream_name="ORDERS")
    assert relay_settings.parse(config.encode(written)).config == written


SECRET = {"name": "s", "key": "k"}


@pytest.mark.parametrize(
    "spec",
    [
        {"handler": {"http": {"url": "http://billing/events"}}},
        {
            "handler": {"python": {"image": "i", "module": "m:f"}},
            "inbox": {"connectionSecretRef": {"name": "db"}, "schema": "other"},
            "backoff": ["500ms", "1m30s"],
            "maxDeliver": -1,
            "concurrency": 1,
            "ackWait": "1s",
        },
        {
            "handler": {
                "http": {
                    "url": "https://x",
                    "mode": "Structured",
                    "headers": {"A": "b"},
                    "timeout": "1s",
                }
            },
            "nats": {
                "url": "tls://a:4222,tls://b:4222",
                "userSecretRef": {"name": "u"},
                "tls": {"caSecretRef": SECRET, "certSecretRef": SECRET, "keySecretRef": SECRET},
                "domain": "hub",
            },
        },
    ],
    ids=["smallest", "python with inbox", "everything"],
)
def test_consumers_read_what_the_controller_writes(spec: dict[str, Any]) -> None:
    spec = {"nats": {"url": "nats://nats:4222"}, "streamRef": {"name": "orders"}, **spec}
    body = {
        "apiVersion": meta.API_VERSION,
        "kind": meta.CONSUMER,
        "metadata": {"name": "billing", "namespace": "shop", "uid": "u"},
        "spec": spec,
    }
    consumer = parse_consumer(body)
    assert consumer.spec.nats is not None
    source = Source(stream="ORDERS", nats=consumer.spec.nats, dead_letter_prefix="dlq.ORDERS")
    written = runtime_config.consumer_config(consumer, source)
    assert consumer_settings.parse(config.encode(written), where="test") == written
