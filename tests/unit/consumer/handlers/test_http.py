"""What a CloudEvents request looks like, and what an answer means."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json

import pytest

from outbox_operator.consumer.handlers.http_outcome import outcome
from outbox_operator.consumer.handlers.http_request import binary_request, structured_request
from outbox_operator.consumer.handlers.types import (
    Ack,
    Busy,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
    Unanswered,
)

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
CONTEXT = Context(consumer="billing", deliveries=2, stream="ORDERS", sequence=7)
EVENT = ReceivedEvent(
    id="e-1",
    type="order.created",
    source="/shop/orders",
    key='Größe "7" %',
    time=NOW,
    subject="orders.order.created",
    content_type="application/json",
    headers={
        "Ce-Id": "e-1",
        "Nats-Msg-Id": "e-1",
        "Outbox-Position": "4",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tenant": "a b",
        "Host": "evil.example",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
    },
    data=b'{"price": 12.30}',
)


def test_binary_mode_carries_attributes_as_headers_and_the_payload_untouched() -> None:
    headers, body = binary_request(EVENT, CONTEXT)
    assert body == EVENT.data
    assert headers == {
        "ce-specversion": "1.0",
        "ce-id": "e-1",
        "ce-type": "order.created",
        "ce-source": "/shop/orders",
        "ce-time": "2026-11-21T12:00:00Z",
        "ce-subject": "orders.order.created",
        "ce-partitionkey": "Gr%C3%B6%C3%9Fe%20%227%22%20%25",
        "ce-traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tenant": "a b",
        "Outbox-Consumer": "billing",
        "Outbox-Deliveries": "2",
        "Content-Type": "application/json",
    }


def test_structured_mode_is_one_json_document_with_the_payload_spelled_as_it_was() -> None:
    headers, body = structured_request(EVENT, CONTEXT)
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert b'"data":{"price": 12.30}}' in body
    document = json.loads(body)
    assert document["specversion"] == "1.0"
    assert document["partitionkey"] == EVENT.key
    assert document["datacontenttype"] == "application/json"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [("application/octet-stream", b"\x00\xff"), ("application/json", b"{broken")],
)
def test_structured_mode_encodes_what_is_not_json(content_type: str, data: bytes) -> None:
    event = dataclasses.replace(EVENT, content_type=content_type, data=data)
    document = json.loads(structured_request(event, CONTEXT)[1])
    assert base64.b64decode(document["data_base64"]) == data
    assert "data" not in document


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (200, None, Ack()),
        (202, None, Ack()),
        (204, "5", Ack()),
        (400, None, DeadLetter("answered 400: why")),
        (401, None, RetryAfter(None, "answered 401: why")),
        (404, None, RetryAfter(None, "answered 404: why")),
        (409, None, RetryAfter(None, "answered 409: why")),
        (410, None, DeadLetter("answered 410: why")),
        (410, "5", DeadLetter("answered 410: why")),
        (408, None, RetryAfter(None, "answered 408: why")),
        (425, None, RetryAfter(None, "answered 425: why")),
        (429, None, Busy(1.0, "answered 429: why")),
        (429, "7", Busy(7.0, "answered 429: why")),
        (429, "Sat, 21 Nov 2026 12:00:30 GMT", Busy(30.0, "answered 429: why")),
        (429, "Sat, 21 Nov 2026 11:00:00 GMT", Busy(0.0, "answered 429: why")),
        (429, "soon", Busy(1.0, "answered 429: why")),
        (429, "-1", Busy(1.0, "answered 429: why")),
        (429, "٣", Busy(1.0, "answered 429: why")),
        (500, "7", RetryAfter(None, "answered 500: why")),
        (503, "7", Busy(7.0, "answered 503: why")),
        (503, None, Unanswered("answered 503: why")),
        (503, "soon", Unanswered("answered 503: why")),
        (502, "7", Unanswered("answered 502: why")),
        (504, None, Unanswered("answered 504: why")),
        (
            302,
            None,
            RetryAfter(None, "answered 302; redirects are not followed, set the final URL: why"),
        ),
    ],
)
def test_answers(status: int, retry_after: str | None, expected: Outcome) -> None:
    assert outcome(status, retry_after, "why", NOW) == expected
