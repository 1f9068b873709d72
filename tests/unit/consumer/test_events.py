"""From a stored message to the event a handler sees."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping

import pytest

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.consumer.events import inbox_id, received
from outbox_operator.consumer.handlers.types import ReceivedEvent

STORED = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def message(headers: Mapping[str, str], data: bytes = b"{}") -> ReceivedEvent:
    return received(
        subject="orders.order.created",
        headers=headers,
        data=data,
        stream="ORDERS",
        sequence=7,
        stored=lambda: STORED,
    )


def test_takes_the_attributes_the_relay_wrote() -> None:
    event = message(
        {
            "Ce-Id": "0b0f7a2e-7d46-4c5e-8f0a-3c3b8a2d9c11",
            "Ce-Type": "order.created",
            "Ce-Source": "/shop/orders",
            "Ce-Time": "2026-11-21T11:59:59.5Z",
            "Ce-Partitionkey": "Gr%C3%B6%C3%9Fe%207",
            "Content-Type": "application/json",
        }
    )
    assert event.key == "Größe 7"
    assert event.time == dt.datetime(2026, 11, 21, 11, 59, 59, 500000, tzinfo=dt.UTC)
    assert event.json() == {}
    assert event.is_json
    assert inbox_id(event) == uuid.UUID("0b0f7a2e-7d46-4c5e-8f0a-3c3b8a2d9c11")


def test_a_message_that_says_nothing_is_an_event_too() -> None:
    event = message({}, b"\x00")
    assert (event.id, event.type, event.source) == ("ORDERS:7", "orders.order.created", "/ORDERS")
    assert event.time == STORED
    assert not event.is_json


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("0001-01-01T00:00:00+14:00", STORED),
        ("9999-12-31T23:59:59-14:00", STORED),
        ("soon", STORED),
        ("0001-01-01T00:00:00", dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
        ("2026-11-21T14:00:00+02:00", STORED),
    ],
)
def test_a_time_that_no_clock_shows_is_none(said: str, time: dt.datetime) -> None:
    """It would be no time in UTC, in which endpoints are told; they were told nothing at all."""
    assert message({"Ce-Id": "1", "Ce-Type": "a", "Ce-Time": said}).time == time


def test_the_inbox_tells_foreign_ids_of_different_sources_apart() -> None:
    one = message({"Ce-Id": "1", "Ce-Source": "/a"})
    other = message({"Ce-Id": "1", "Ce-Source": "/b"})
    assert inbox_id(one) == inbox_id(one)
    assert inbox_id(one) != inbox_id(other)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json; charset=utf-8", True),
        ("application/vnd.shop+json", True),
        ("text/plain", False),
    ],
)
def test_knows_json_by_its_media_type(content_type: str, expected: bool) -> None:
    assert message({"Content-Type": content_type}).is_json is expected


def test_ids_that_are_no_text_are_told_apart() -> None:
    """Else the second of two events would be a duplicate of the first."""
    block = b"NATS/1.0\r\nce-id: %b\r\n\r\n"
    events = [
        received(
            subject="a", headers=parse_headers(block % name), data=b"", stream="ORDERS",
            sequence=1, stored=lambda: dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
        )
        for name in (b"\xfd", b"\xfe", b"%FF", b"%FC", b"\xef\xbf\xbd")
    ]  # fmt: skip
    assert {event.id for event in events} == {"\ufffd"}
    assert len({inbox_id(event) for event in events}) == len(events)
