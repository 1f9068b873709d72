"""What a dead letter says."""

from __future__ import annotations

import datetime as dt

from outbox_operator.consumer.error_text import ERROR_CHARACTERS, bounded, describe
from outbox_operator.reasons import Reason
from outbox_operator.wire.dead_letters import headers, replayed, subject


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
