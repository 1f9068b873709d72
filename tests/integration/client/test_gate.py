"""What the library lets through can be published: it measures as PostgreSQL and the relay do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.adapters.nats.publisher import Message, StreamFacts
from outbox_operator.adapters.postgres.rows import Row as StoredRow
from outbox_operator.client import Event, EventError
from outbox_operator.client.encoding import MOST_JSONB_BYTES_EACH, jsonb_bytes, to_json
from outbox_operator.client.rows import DEFAULT_MAX_BYTES, PayloadType, RowMaker
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.poison import Poison, inspect
from outbox_operator.wire.subjects import SubjectTemplate
from support.shop import Shop

pytestmark = pytest.mark.integration

VALUES: list[Any] = [
    None, True, 0, -1, 1.0, -0.0, 10**30, 1e16, 1e308, -1e308, 5e-324, 1e-5, 1.7976931348623157e308,
    -2.2250738585072014e-308, "", "a, b: c", "\\ \" \n \x1f \x7f ü 😀", "1e+308, 1e-5:", [], {},
    [[]], [1, 2], [1e22] * 3, {"a": 1, "b,:": [1e-7, {"c": None}]}, {1: "int key", "e-5": 1e-300},
]  # fmt: skip


async def test_sizes_are_those_of_postgresql(shop: Shop) -> None:
    for value in VALUES:
        text = to_json("event", "payload", value)
        size = "SELECT octet_length(CAST(CAST($1::text AS jsonb) AS text))"
        found = await shop.owner.fetchval(size, text)
        # PostgreSQL drops the sign of zero, which we count.
        assert jsonb_bytes(text, 0) - found == (1 if text == "-0.0" else 0), text
        assert found <= jsonb_bytes(text, 10**9) <= len(text) * MOST_JSONB_BYTES_EACH + 400
        assert len(text) < 5 or found <= len(text) * MOST_JSONB_BYTES_EACH


TEMPLATE = SubjectTemplate.parse("shop.{event_type}")
SOURCE = "/" + "n" * 63 + "/" + "p" * 63


async def relayed(shop: Shop, event: Event, payload_type: PayloadType) -> Message | Poison:
    """What the relay would make of an event that the gate let through."""
    row = RowMaker(payload_type, DEFAULT_MAX_BYTES).one(event)
    payload = row.payload
    if isinstance(payload, str):
        payload = await shop.owner.fetchval("SELECT CAST(CAST($1::text AS jsonb) AS text)", payload)
        payload = payload.encode()
    stored = StoredRow(
        2**62, row.event_id, row.event_type, row.partition_key, row.routing_key, payload,
        row.headers, 1_795_219_200_000_000,
    )  # fmt: skip
    renderer = Renderer(TEMPLATE, "outbox", 63, SOURCE, payload_type)
    facts = StreamFacts(
        "S", ("shop.>",), 1024 * 1024, "limits", 120.0, True, True, False, "", "2026"
    )
    return inspect(stored, renderer, facts, 2**62)


REFUSED: list[tuple[dict[str, Any], PayloadType, str]] = [
    ({"payload": [1] * 499_000}, "jsonb", "are 1497000 bytes of jsonb text, at most 1000000"),
    ({"payload": [1e308] * 10_000}, "jsonb", "are 3110000 bytes of jsonb text"),
    ({"payload": {}, "headers": {"x": "y" * 66_000}}, "jsonb", "headers are 66005 bytes, at most"),
    ({"payload": b"", "headers": {"x": "ü" * 33_000}}, "bytea", "headers are 66005 bytes, at most"),
    ({"payload": {}, "headers": {f"h{n}": "" for n in range(9000)}}, "jsonb", "headers are"),
    ({"payload": {}, "key": "k" * 100_000}, "jsonb", "key takes 100000 bytes of the subject"),
    ({"payload": {}, "key": "ü" * 200}, "jsonb", "key takes 1200 bytes of the subject"),
    ({"payload": b"x" * 1_000_001}, "bytea", "are 1000001 bytes, at most 1000000"),
]


@pytest.mark.parametrize(("fields", "payload_type", "message"), REFUSED)
async def test_what_could_never_be_published_is_refused(
    fields: dict[str, Any], payload_type: PayloadType, message: str
) -> None:
    """It went into the table, and the relay blocked its key (FU-7)."""
    with pytest.raises(EventError, match=message):
        RowMaker(payload_type, DEFAULT_MAX_BYTES).one(Event(**{"type": "a", **fields}))


ROOMY = {"headers": {"x": "ü" * 29_000}, "key": '"' * 1000, "type": "t" * 1000}
ACCEPTED: list[tuple[dict[str, Any], PayloadType]] = [
    ({"payload": [1] * 333_300}, "jsonb"),
    ({"payload": [1e308] * 3_200}, "jsonb"),
    ({"payload": "x" * 999_990, "key": "k" * 1024, "type": "t" * 1000}, "jsonb"),
    ({"payload": b"x" * 941_000, **ROOMY}, "bytea"),
    ({"payload": {"k": "v"}, "headers": {"Content-Type": "x", "traceparent": "00"}}, "jsonb"),
]


@pytest.mark.parametrize(("fields", "payload_type"), ACCEPTED)
async def test_what_is_let_through_the_relay_can_send(
    shop: Shop, fields: dict[str, Any], payload_type: PayloadType
) -> None:
    found = await relayed(shop, Event(**{"type": "a", **fields}), payload_type)
    assert isinstance(found, Message), found
    assert json.dumps(found.subject)
