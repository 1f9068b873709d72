"""What a CloudEvents request looks like, and what an answer means."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import gzip
import json
import math
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.consumer.handlers.http_outcome import outcome
from outbox_operator.consumer.handlers.http_request import (
    binary_request,
    structured_request,
    with_fixed,
)
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


TRACE = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
SPAN = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


@pytest.mark.parametrize(
    ("own", "span", "told", "producer"),
    [
        ({}, None, {}, {}),
        (
            {"Traceparent": f"00-{TRACE}-00", "TraceState": "a=1"}, None,
            {"traceparent": f"00-{TRACE}-00", "tracestate": "a=1"},
            {"traceparent": f"00-{TRACE}-00", "tracestate": "a=1"},
        ),
        ({"traceparent": "nonsense", "tracestate": "a=1"}, None, {}, {}),
        (
            {"traceparent": f"00-{TRACE}-01", "tracestate": "k=" + "v" * 60_000}, None,
            {"traceparent": f"00-{TRACE}-01"}, {"traceparent": f"00-{TRACE}-01"},
        ),
        (
            {"traceparent": f"00-{TRACE}-01", "tracestate": "a=1"}, SPAN,
            SPAN, {"traceparent": f"00-{TRACE}-01", "tracestate": "a=1"},
        ),
        ({"traceparent": f"00-{TRACE}-01", "tracestate": "a=1,a=2"}, SPAN,
         SPAN, {"traceparent": f"00-{TRACE}-01"}),
    ],
)  # fmt: skip
def test_a_trace_is_handed_on_whole_or_not_at_all(
    own: dict[str, str], span: dict[str, str] | None, told: dict[str, str], producer: dict[str, str]
) -> None:
    """A `tracestate` belongs to its `traceparent`."""
    context = dataclasses.replace(CONTEXT, _span=span)
    headers, _ = binary_request(dataclasses.replace(EVENT, headers=own), context)
    traces = {name: value for name, value in headers.items() if "trace" in name.lower()}
    assert traces == {**told, **{f"ce-{name}": value for name, value in producer.items()}}


def test_structured_mode_is_one_json_document_with_the_payload_spelled_as_it_was() -> None:
    headers, body = structured_request(EVENT, CONTEXT)
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert b'"data":{"price": 12.30}}' in body
    document = json.loads(body)
    assert document["specversion"] == "1.0"
    assert document["partitionkey"] == EVENT.key
    assert document["datacontenttype"] == "application/json"


JSON = "application/json"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/octet-stream", b"\x00\xff"),
        (JSON, b"{broken"),
        (JSON, b""),
        (JSON, b"NaN"),
        (JSON, b"[-Infinity]"),
        (JSON, b"[1e5, Infinity]"),
        (JSON, b"\xef\xbb\xbf{}"),
        (JSON, b'"\xff"'),
        (JSON, b'"\xed\xa0\x80"'),
        (JSON, b'"\\ud800"'),
        (JSON, b'{"\\udC00x": 1}'),
        (JSON, "{}".encode("utf-16")),
        (JSON, "{}".encode("utf-16-le")),
        ("application/json; charset=utf-16", b"{}"),
        ("application/vnd.order+json", b"01"),
        (JSON, b"[" * 100_000 + b"]" * 100_000),
        (JSON, b"{} {}"),
        (JSON, b"'a'"),
        (JSON, b"[1,]"),
        (JSON, b'"\n"'),
    ],
)
def test_structured_mode_encodes_what_is_not_json(content_type: str, data: bytes) -> None:
    event = dataclasses.replace(EVENT, content_type=content_type, data=data)
    document = json.loads(structured_request(event, CONTEXT)[1])
    assert base64.b64decode(document["data_base64"]) == data
    assert "data" not in document


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (JSON, b" 1.0 "),
        (JSON, b"1" * 5000),
        (JSON, b"1e5000"),
        (JSON, b'{"a": 1, "a": 2}'),
        (JSON, b'"\\ud83d\\ude00 \\\\ud800"'),
        (JSON, '["\u2028 日"]'.encode()),
        ('application/json; charset="UTF-8"', b"{}"),
        ("Application/Vnd.Order+JSON", b"null"),
    ],
)
def test_structured_mode_leaves_json_as_it_is_spelled(content_type: str, data: bytes) -> None:
    event = dataclasses.replace(EVENT, content_type=content_type, data=data)
    body = structured_request(event, CONTEXT)[1]
    assert body.endswith(b',"data":' + data + b"}")
    json.loads(body, parse_int=str)


def test_the_encoding_of_a_payload_is_told() -> None:
    packed = gzip.compress(EVENT.data)
    encoded = {**EVENT.headers, "content-encoding": "gzip"}
    event = dataclasses.replace(EVENT, headers=encoded, data=packed)
    headers, body = binary_request(event, CONTEXT)
    assert (headers["Content-Encoding"], body) == ("gzip", packed)
    assert "content-encoding" not in headers
    headers, body = structured_request(event, CONTEXT)
    document = json.loads(body)
    assert not [name for name in headers if name.lower() == "content-encoding"]
    assert document["contentencoding"] == "gzip"
    assert base64.b64decode(document["data_base64"]) == packed
    # It is what the event says that counts, not whether the payload happens to be JSON.
    plain = dataclasses.replace(event, data=EVENT.data)
    assert "data" not in json.loads(structured_request(plain, CONTEXT)[1])


def test_an_event_adds_nothing_to_headers_that_the_consumer_sets() -> None:
    sent = with_fixed({"x-tenant": "forged", "other": "1"}, {"X-Tenant": "shop"})
    assert sent == {"X-Tenant": "shop", "other": "1"}


texts = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
values = texts.filter(lambda text: "\r" not in text and "\n" not in text)
payloads = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
events = st.builds(
    ReceivedEvent,
    id=values,
    type=values,
    source=values,
    key=values,
    time=st.datetimes(timezones=st.just(dt.UTC)),
    subject=values,
    content_type=st.one_of(
        st.sampled_from([JSON, "application/x+json;charset=utf8", "text/plain"]), values
    ),
    headers=st.dictionaries(
        st.one_of(
            values,
            st.sampled_from(["Traceparent", "Content-Encoding", "X-A", "tracestate", "Ce-X"]),
        ),
        values,
        max_size=5,
    ),
    data=payloads,
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in an envelope")


@settings(database=None, deadline=None, derandomize=True, max_examples=500)
@given(events)
def test_whatever_the_event_an_envelope_is_json_and_holds_its_payload(event: ReceivedEvent) -> None:
    document = json.loads(structured_request(event, CONTEXT)[1].decode(), parse_constant=refuse)
    json.dumps(document, ensure_ascii=False).encode()
    assert ("data" in document) != ("data_base64" in document)
    if "data" in document:
        assert document["data"] == json.loads(event.data)
    else:
        assert base64.b64decode(document["data_base64"]) == event.data


@settings(database=None, deadline=None, derandomize=True, max_examples=500)
@given(events)
def test_whatever_the_event_its_headers_can_be_sent(event: ReceivedEvent) -> None:
    for headers, _ in (binary_request(event, CONTEXT), structured_request(event, CONTEXT)):
        for name, value in headers.items():
            assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
            assert value.isascii()
            assert value.isprintable()
    headers, body = binary_request(event, CONTEXT)
    assert body == event.data
    found = unquote_to_bytes(headers["ce-type"]).decode("utf-8", "surrogateescape")
    assert found == event.type


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
        (429, "9" * 400, Busy(math.inf, "answered 429: why")),
        (429, f"Sat, 21 Nov {'9' * 20} 12:00:30 GMT", Busy(1.0, "answered 429: why")),
        (429, f"Sat, 21 Nov 2026 12:00:30 +{'9' * 20}", Busy(1.0, "answered 429: why")),
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
