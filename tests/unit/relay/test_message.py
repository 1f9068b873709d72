"""A row becomes a CloudEvent in binary mode."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from outbox_operator.adapters.outbox_store import Row
from outbox_operator.errors import EventError
from outbox_operator.relay.message import Message, Renderer
from outbox_operator.wire.headers import decode_value, encode_value
from outbox_operator.wire.subjects import SubjectTemplate

EVENT_ID = "0191f0c5-0000-7000-8000-000000000001"


def row(**changes: Any) -> Row:
    base = Row(
        position=17,
        event_id=EVENT_ID,
        event_type="order.created",
        partition_key="order-1",
        routing_key=None,
        payload=b'{"id": 1}',
        headers="{}",
        created_at=dt.datetime(2026, 11, 21, 10, 0, 0, 5000, dt.UTC),
    )
    return base._replace(**changes)


def renderer(template: str = "shop.{event_type}", **changes: Any) -> Renderer:
    arguments: dict[str, Any] = {
        "template": SubjectTemplate.parse(template),
        "schema": "outbox",
        "shard": 0,
        "source": "/shop/orders",
        "payload_type": "jsonb",
    }
    return Renderer(**{**arguments, **changes})


def render(row: Row, by: Renderer) -> Message:
    assert row.payload is not None
    assert row.headers is not None
    return by.render(row, row.payload, row.headers)


def test_headers_of_an_ordinary_event() -> None:
    message = render(row(), renderer())
    message.number(5)
    assert message.subject == "shop.order.created"
    assert message.headers == {
        "Nats-Msg-Id": EVENT_ID,
        "Ce-Specversion": "1.0",
        "Ce-Id": EVENT_ID,
        "Ce-Type": "order.created",
        "Ce-Source": "/shop/orders",
        "Ce-Time": "2026-11-21T10:00:00.005000Z",
        "Ce-Partitionkey": "order-1",
        "Content-Type": "application/json",
        "Outbox-Shard": "0",
        "Outbox-Position": "17",
        "Outbox-Emission": "5",
    }


def test_headers_of_the_application_travel_and_trace_context_with_them() -> None:
    own = {"traceparent": "00-aa-bb-01", "tenant": "büro", "content-type": "application/avro"}
    headers = render(row(headers=json.dumps(own)), renderer(payload_type="bytea")).headers
    assert headers["traceparent"] == "00-aa-bb-01"
    assert headers["tenant"] == "büro"
    assert headers["Content-Type"] == "application/avro"
    assert "content-type" not in headers


def test_a_keyless_event_has_no_key_header() -> None:
    assert "Ce-Partitionkey" not in render(row(partition_key=""), renderer()).headers


@pytest.mark.parametrize(
    ("template", "changes", "subject"),
    [
        ("shop.{event_type}", {"routing_key": "eu.order"}, "shop.eu.order"),
        ("shop.{event_type}", {"routing_key": ""}, "shop.order.created"),
        ("shop.{routing_key}", {}, "shop.order.created"),
        ("shop.{partition_key}.x", {"partition_key": "a.b c"}, "shop.a%2Eb%20c.x"),
        ("{schema}.{shard}.{event_type}", {}, "outbox.0.order.created"),
        ("shop.{event_type}", {"event_type": "a.*.>"}, "shop.a.%2A.%3E"),
        ("shop.{partition_key}", {"partition_key": ""}, "shop._"),
    ],
)
def test_subjects(template: str, changes: dict[str, Any], subject: str) -> None:
    assert render(row(**changes), renderer(template)).subject == subject


@pytest.mark.parametrize(
    "headers",
    [
        '{"n": 1}',
        '{"n": null}',
        '{"bad name": "x"}',
        '{"Nats-Msg-Id": "x"}',
        '{"ce-type": "x"}',
        '{"OUTBOX-Shard": "1"}',
        '{"n": "two\\r\\nlines"}',
        "[]",
        "3",
    ],
)
def test_headers_nats_cannot_carry_or_that_are_ours_are_refused(headers: str) -> None:
    with pytest.raises(EventError) as caught:
        render(row(headers=headers), renderer())
    assert caught.value.reason == "InvalidHeaders"
    assert EVENT_ID in caught.value.message


@pytest.mark.parametrize(
    "text", ["plain", "with space", 'quo"te', "100%", "büro", "tab\there", "line\nbreak", "日本"]
)
def test_any_key_survives_its_header(text: str) -> None:
    value = encode_value(text)
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    assert decode_value(value) == text


def test_the_size_counts_what_is_really_sent() -> None:
    message = render(row(headers='{"tenant": "büro"}'), renderer())
    message.number(2**63 - 1)
    message.headers["Nats-Expected-Last-Msg-Id"] = EVENT_ID
    lines = "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
    assert message.header_bytes == len(f"NATS/1.0\r\n{lines}\r\n".encode())
    assert message.size == message.header_bytes + len(b'{"id": 1}')
