"""What the library lets through can be published: it measures as PostgreSQL and the relay do."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from outbox_operator.adapters.postgres.rows import Row as StoredRow
from outbox_operator.adapters.sink import Message, StreamFacts
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
FACTS = StreamFacts(
    stream="S", subjects=("shop.>",), max_message_bytes=1024 * 1024, keeps_tail=True,
    duplicate_window_seconds=120.0, fences=True, republishes=False, unfit="", created="2026",
)  # fmt: skip
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
    return inspect(stored, renderer, FACTS, 2**62)


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


EMITTED: list[tuple[str, str]] = [
    ("'', 'k', '{}'", "event_type '': wanted a dotted name"),
    ("NULL, 'k', '{}'", "event_type <NULL>: wanted a dotted name"),
    ("'a', 'k', NULL", "event a: payload is NULL, wanted JSON"),
    ("'a', 'k', NULL, '{\"x\": \"y\"}'", "event a: payload is NULL"),
    ("'order created', 'k', '{}'", "event_type 'order created': wanted a dotted name"),
    ("'order.>', 'k', '{}'", "wanted a dotted name"),
    ("'order..created', 'k', '{}'", "wanted a dotted name"),
    ("'order.', 'k', '{}'", "wanted a dotted name"),
    ("repeat('t', 1025), 'k', '{}'", "takes 1025 bytes of the subject, at most 1024"),
    ("repeat('ü', 200), 'k', '{}'", "takes 1200 bytes of the subject, at most 1024"),
    ("'a', repeat('k', 100000), '{}'", "event a: key 'kkk.* takes 100000 bytes"),
    ("'a', repeat('.', 400), '{}'", "event a: key .* takes 1200 bytes"),
    ("'a', 'k', '{}', '{\"Nats-Msg-Id\": \"x\"}'", "event a: header 'Nats-Msg-Id': wanted"),
    ("'a', 'k', '{}', '{\"Status\": \"x\"}'", r"none of Nats-\*, .*, Ce-\*, Status, Description"),
    ("'a', 'k', '{}', '{\"outbox-shard\": \"x\"}'", "header 'outbox-shard'"),
    ("'a', 'k', '{}', '{\"x\": \"ok\", \"a b\": \"x\"}'", "header 'a b'"),
    ("'a', 'k', '{}', '{\"x\": \"a\\nb\"}'", "header 'x': wanted a text in one line"),
    ("'a', 'k', '{}', '{\"\u212a\": \"looks like K\"}'", "header '\u212a'"),
    ("'a', 'k', '{}', '{\"x\": 1}'", "header 'x'"),
    ("'a', 'k', '{}', '{\"x\": null}'", "header 'x'"),
    ("'a', 'k', '{}', '[1]'", "headers are a JSON array, wanted an object"),
    ("'a', 'k', '{}', jsonb_build_object('x', repeat('y', 66000))", "headers are 66005 bytes"),
    ("'a', 'k', to_jsonb(array_fill(1, '{499000}'))", "are 1497000 bytes, at most 1000000"),
    ("'a', 'k', to_jsonb(array_fill(1e308::numeric, '{10000}'))", "are 3110000 bytes"),
]


@pytest.mark.parametrize("function", ["emit", "emit_strict"])
async def test_sql_refuses_the_same(shop: Shop, function: str) -> None:
    """Each by name, with a code that is not a server's fault; the next one goes through (FU-7)."""
    connection = await asyncpg.connect(shop.url)
    for arguments, message in EMITTED:
        with pytest.raises(asyncpg.InvalidParameterValueError, match=message):
            await connection.execute(f"SELECT outbox.{function}({arguments})")
    await connection.execute("SET outbox.max_bytes = 2000000")
    await connection.execute(f"SELECT outbox.{function}({EMITTED[-2][0]})")
    headers = '{"traceparent": "00-ü", "Content-Type": "x\\ty", "empty": ""}'
    for arguments in (
        "'Bestellung.geändert', 'Zürich 8 %', '{}', $1::jsonb",
        "repeat('t', 1024), repeat('k', 1024), '{}', $1::jsonb",
        "'a', NULL, 'null', $1::jsonb",
        "'a', '', '{}', NULLIF($1::jsonb, $1::jsonb)",
    ):
        await connection.execute(f"SELECT outbox.{function}({arguments})", headers)
    await connection.close()
    assert len(await shop.events()) == 5


async def test_emitted_events_are_what_the_relay_can_send(shop: Shop) -> None:
    connection = await asyncpg.connect(shop.url)
    await connection.execute(
        "SELECT outbox.emit(repeat('t', 1024 - 5), repeat('\"', 1024), "
        "to_jsonb(repeat('x', 940000)), jsonb_build_object('x', repeat('ü', 28000)))"
    )
    await connection.close()
    [row] = await shop.events()
    stored = StoredRow(
        2**62, str(row["event_id"]), row["event_type"], row["partition_key"], None,
        row["payload"].encode(), row["headers"], 1_795_219_200_000_000,
    )  # fmt: skip
    found = inspect(stored, Renderer(TEMPLATE, "outbox", 63, SOURCE, "jsonb"), FACTS, 2**62)
    assert isinstance(found, Message), found


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
