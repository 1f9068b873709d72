"""A row becomes a CloudEvent in binary mode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.adapters.sink import Message
from outbox_operator.errors import EventError
from outbox_operator.relay.message import Renderer
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
        headers=None,
        created_at=1_795_255_200_005_000,
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
    return by.render(row, row.payload, 5)


def headers_of(message: Message) -> dict[str, str]:
    return dict(parse_headers(message.head.encode("latin-1")))


def test_headers_of_an_ordinary_event() -> None:
    message = render(row(), renderer())
    assert message.subject == "shop.order.created"
    assert headers_of(message) == {
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
    headers = headers_of(render(row(headers=json.dumps(own)), renderer(payload_type="bytea")))
    assert headers["traceparent"] == "00-aa-bb-01"
    assert headers["tenant"] == "büro"
    assert headers["Content-Type"] == "application/avro"
    assert "content-type" not in headers


def test_a_keyless_event_has_no_key_header() -> None:
    assert "Ce-Partitionkey" not in headers_of(render(row(partition_key=""), renderer()))


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
    ("created_at", "time"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
        (253_402_300_799_000_000, "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_any_time_the_store_may_give(created_at: int, time: str) -> None:
    assert headers_of(render(row(created_at=created_at), renderer()))["Ce-Time"] == time


@pytest.mark.parametrize(
    "text", ["plain", "with space", 'quo"te', "100%", "büro", "tab\there", "line\nbreak", "日本"]
)
def test_any_key_survives_its_header(text: str) -> None:
    value = encode_value(text)
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    assert decode_value(value) == text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partition_key": ""},
        {"routing_key": "eu.order"},
        {"created_at": 1_795_255_200_000_000},
        {"created_at": -1},
        {"payload": b""},
        {"headers": '{"traceparent": "00-aa-bb-01", "tenant": "büro"}'},
    ],
)
@pytest.mark.parametrize("template", ["shop.{event_type}", "shop.{partition_key}.{event_type}"])
def test_a_page_is_rendered_as_its_rows_are(changes: dict[str, Any], template: str) -> None:
    rows = [row(), row(**changes), row(position=18)]
    by = renderer(template)
    assert by.page(rows, 4) == [
        by.render(each, each.payload or b"", number) for number, each in enumerate(rows, 5)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": '{"a": 1}'},
        {"headers": '{"Content-Type": "a/b"}'},
        {"payload": None},
        {"partition_key": "with space"},
        {"partition_key": "büro"},
        {"partition_key": "k" * 2000},
        {"event_type": "100%"},
    ],
)
def test_a_page_with_an_odd_row_is_left_to_the_slow_way(changes: dict[str, Any]) -> None:
    assert renderer().page([row(), row(**changes)], 0) is None


def test_lengths_are_those_on_the_wire() -> None:
    message = render(row(headers='{"tenant": "büro"}'), renderer("büro.{event_type}"))
    assert "tenant: büro" in message.head.encode("latin-1").decode()
    assert message.subject.encode("latin-1").decode() == "büro.order.created"
    assert len(message.head) == len(message.head.encode("latin-1"))


def copied(**changes: Any) -> str:
    """What is read of a copy instead of headers."""
    replay = {"name": "again.1", "of": 3, "time": 1_600_000_000_000_001, **changes}
    own = json.dumps([replay, {"X-Own": "1"}])
    return f"replay {replay['name']} {own}"


@pytest.mark.parametrize("whole_page", [True, False])
def test_a_copy_is_the_event_of_then_with_a_message_id_of_its_own(whole_page: bool) -> None:
    by = renderer(mark=".0.7")
    one = row(headers=copied(to="billing"))
    message = (by.page([one], 4) or [])[0] if whole_page else render(one, by)
    found = headers_of(message)
    assert found["Nats-Msg-Id"] == f"{EVENT_ID}:again.1.0.7"
    assert found["Ce-Id"] == EVENT_ID
    assert found["Ce-Time"] == "2020-09-13T12:26:40.000001Z"
    assert (found["Outbox-Replay"], found["Outbox-Replay-To"]) == ("again.1", "billing")
    assert (found["Outbox-Position"], found["X-Own"]) == ("17", "1")
    assert "Outbox-Replay-To" not in headers_of(render(row(headers=copied()), by))
