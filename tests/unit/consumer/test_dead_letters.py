"""What a dead letter says."""

from __future__ import annotations

import datetime as dt

from outbox_operator.consumer.error_text import ERROR_CHARACTERS, bounded, describe
from outbox_operator.reasons import Reason
from outbox_operator.wire.dead_letters import headers, replayed, smaller, subject
from outbox_operator.wire.headers import block_bytes


def test_keeps_the_message_and_says_where_it_came_from_and_why() -> None:
    found = headers(
        {"Ce-Id": "e-1", "tenant": "a", "Nats-Msg-Id": "e-1", "Nats-Expected-Stream": "ORDERS"},
        reason=Reason.MAX_DELIVER,
        error="answered 500",
        deliveries=5,
        stream="ORDERS",
        sequence=7,
        stored=dt.datetime(2026, 11, 21, 11, 59, 30, 250_000, tzinfo=dt.UTC),
        subject="orders.order.created",
        consumer="billing",
        now=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC),
    )
    assert found == {
        "Ce-Id": "e-1",
        "tenant": "a",
        "Nats-Msg-Id": "ORDERS:7:billing:1795262370.250000",
        "Outbox-Dead-Letter-Reason": "MaxDeliver",
        "Outbox-Dead-Letter-Error": "answered 500",
        "Outbox-Dead-Letter-Deliveries": "5",
        "Outbox-Dead-Letter-Stream": "ORDERS",
        "Outbox-Dead-Letter-Sequence": "7",
        "Outbox-Dead-Letter-Subject": "orders.order.created",
        "Outbox-Dead-Letter-Consumer": "billing",
        "Outbox-Dead-Letter-Time": "2026-11-21T12:00:00.000+00:00",
    }
    assert subject("orders.dead", "billing") == "orders.dead.billing"


def test_what_we_add_takes_less_and_less_room_and_the_events_own_stays() -> None:
    own = {"Ce-Id": "e-1", "Ce-Type": "t", "tenant": "a"}
    stored = {
        **own, "Nats-Msg-Id": "6f1f1f0e-5f57-4f0e-9d3c-0a9e1f0c5b11", "Outbox-Position": "12",
        "Outbox-Emission": "9", "Outbox-Shard": "0",
    }  # fmt: skip
    letter = headers(
        stored, reason=Reason.PUT_OFF_TOO_LONG, error="e" * 2000, deliveries=5, stream="ORDERS",
        sequence=123_456_789, stored=dt.datetime.now(dt.UTC), subject="orders.order.created",
        consumer="billing", now=dt.datetime.now(dt.UTC),
    )  # fmt: skip
    found = list(smaller(letter))
    assert found[0] == letter
    sizes = [block_bytes(one) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= block_bytes(stored), "the event met its limits with as much"
    for one in found:
        assert own.items() <= one.items()
        assert one["Outbox-Dead-Letter-Sequence"] == "123456789"
        assert one["Outbox-Dead-Letter-Reason"] == "PutOffTooLong"


def test_text_from_outside_is_one_bounded_line_without_passwords() -> None:
    text = bounded("no route to\r\n postgresql://shop:hunter2@db/shop " + "x" * 9000)
    assert len(text) == ERROR_CHARACTERS
    assert "\n" not in text
    assert "hunter2" not in text
    assert text.startswith("no route to postgresql://")


def test_an_exception_says_what_and_where() -> None:
    def inner() -> None:
        raise ValueError("amount is\nnegative")

    try:
        inner()
    except ValueError as error:
        text = describe(error)
    assert text.startswith("ValueError: amount is negative at inner (")
    assert "test_dead_letters.py:" in text


def test_what_is_published_again_is_the_message_without_its_history_and_place() -> None:
    letter = {
        "Ce-Id": "e-1",
        "tenant": "a",
        "Nats-Msg-Id": "ORDERS:7:billing:1",
        "Outbox-Shard": "0",
        "Outbox-Emission": "9",
        "Outbox-Position": "12",
        "Outbox-Dead-Letter-Reason": "MaxDeliver",
        "Outbox-Dead-Letter-Time": "2026-11-21T12:00:00.000+00:00",
    }
    assert replayed(letter, "ORDERS_DLQ", 3) == {
        "Ce-Id": "e-1",
        "tenant": "a",
        "Nats-Msg-Id": "replay:ORDERS_DLQ:3:2026-11-21T12:00:00.000+00:00",
    }
