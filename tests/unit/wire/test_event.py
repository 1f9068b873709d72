"""What an event may look like."""

from __future__ import annotations

import uuid

import pytest

from outbox_operator.errors import EventError
from outbox_operator.wire.event import Event


def test_every_event_has_an_id_of_its_own() -> None:
    first, second = Event(type="a", payload={}), Event(type="a", payload={})
    assert first.id != second.id
    assert first.id.version == 4


@pytest.mark.parametrize("name", ["created", "order.created", "a-b_c.d:e", "Bestellung.verändert"])
def test_good_types(name: str) -> None:
    assert Event(type=name, payload=None).type == name


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n", "a\x7f"])
def test_bad_types_are_named(name: str) -> None:
    with pytest.raises(EventError) as caught:
        Event(type=name, payload=None)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Nats-Msg-Id": "x"}, "reserved"),
        ({"nats-anything": "x"}, "reserved"),
        ({"OUTBOX-Shard": "x"}, "reserved"),
        ({"ce-id": "x"}, "reserved"),
        ({"Status": "100"}, "reserved"),
        ({"DESCRIPTION": "x"}, "reserved"),
        ({"": "x"}, "not a token"),
        ({"a b": "x"}, "not a token"),
        ({"a\n": "x"}, "not a token"),
        ({"a:": "x"}, "not a token"),
        ({"ä": "x"}, "not a token"),
        ({"a": "two\nlines"}, "one line"),
        ({"a": "x\r"}, "one line"),
        ({"a": 1}, "found int"),
        ({"x": "1", "X-Tenant": "a", "x-tenant": "b"}, "'X-Tenant' and 'x-tenant' are one name"),
        ({"content-type": "a", "Content-Type": "b"}, "'content-type' and 'Content-Type' are one"),
    ],
)
def test_bad_headers_are_named(headers: dict[str, str], words: str) -> None:
    event_id = uuid.uuid4()
    with pytest.raises(EventError) as caught:
        Event(type="order.created", payload=None, headers=headers, id=event_id)
    assert words in str(caught.value)
    assert str(event_id) in str(caught.value)


def test_good_headers() -> None:
    headers = {"traceparent": "00-x", "X-Tenant": 'a, b; c="d"', "natsy": "fine"}
    assert Event(type="a", payload=None, headers=headers).headers == headers
