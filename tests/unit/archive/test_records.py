"""From a message to a row, whatever the message is."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest

from outbox_operator.archive.records import Message, Record, Recorder, columns
from outbox_operator.wire.archive import ArchiveRules, RetentionClass
from support.archiving import DAY, RULES, relayed

DATED = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
STORED = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
STRAYS = "key has characters that a text cannot have"
NS = 1_772_366_400_123_456_789


def record(
    headers: dict[str, str], data: bytes = b"{}", rules: ArchiveRules = RULES, **changes: Any
) -> Record:
    message = Message(**{
        "subject": "orders.x", "headers": headers, "data": data, "stream": "ORDERS",
        "sequence": 7, "stored_ns": NS, **changes,
    })  # fmt: skip
    return Recorder(rules, "audit").record(message)


def row(*args: Any, **changes: Any) -> dict[str, Any]:
    return dict(zip(columns(RULES), record(*args, **changes).values, strict=True))


def test_the_class_and_the_time_are_the_messages_own() -> None:
    first, again = row(relayed(1)), row(relayed(1))
    assert first == again
    assert first["class"] == "orders"
    assert first["stored_at"] == STORED


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {"type": "orders.x", "source": "/ORDERS", "key": None, "class": "default"}),
        ({"ce-type": "order.placed", "ce-ID": "1"}, {"type": "order.placed", "class": "orders"}),
        ({"Ce-Type": "a%20b", "Ce-Id": "1"}, {"type": "a b"}),
        ({"Ce-Time": "2026-01-31", "Ce-Id": "1"}, {"occurred_at": DATED}),
        ({"Ce-Time": "yesterday"}, {"occurred_at": STORED}),
        ({"Ce-Time": "9999-12-31T23:59:59-14:00"}, {"note": None}),
        ({"Ce-Partitionkey": "k%00"}, {"key": "k\ufffd", "note": STRAYS}),
        ({"Ce-Partitionkey": "\udcff"}, {"key": "\ufffd"}),
        ({"Outbox-Position": "12"}, {"position": 12, "shard": None, "emission": None}),
        ({"ce-correlationid": "c%201"}, {"correlation": "c 1"}),
    ],
)  # fmt: skip
def test_each_column_has_a_value(headers: dict[str, str], expected: dict[str, Any]) -> None:
    found = row(headers)
    assert {name: found[name] for name in expected} == expected


def test_long_names_are_cut_and_said() -> None:
    found = row(relayed(1) | {"Ce-Partitionkey": "é" * 600, "Ce-Source": "s" * 2000})
    assert found["key"] == "é" * 512
    assert found["note"] == "source cut after 1024 bytes; key cut after 1024 bytes"
    assert found["emission"] is None, "a source that was cut may be another's"


def test_orders_to_the_stream_are_left_out_of_the_headers() -> None:
    found = json.loads(row(relayed(1) | {"Nats-Msg-Id": "x", "a": "\udcff\0"})["headers"])
    assert found == relayed(1) | {"a": "\ufffd\ufffd"}


def identity(headers: dict[str, str], **changes: Any) -> str:
    return record(headers, **changes).identity[0]


def test_who_has_the_same_id_and_source_is_the_same_event() -> None:
    own = str(uuid.uuid4())
    assert identity({"Ce-Id": own}) == own
    assert identity({"Ce-Id": own.upper()}) == own
    assert identity({"Ce-Id": "1"}) == identity({"Ce-Id": "1"}, sequence=8, stored_ns=1)
    assert identity({"Ce-Id": "1"}) != identity({"Ce-Id": "1", "Ce-Source": "/other"})
    assert identity({"Nats-Msg-Id": "1"}) == identity({"Ce-Id": "1"})
    assert identity({"Ce-Id": "%FF"}) != identity({"Ce-Id": "%FE"})
    assert identity({"Ce-Id": "\udcff"}) != identity({"Ce-Id": "\udcfe"})
    assert identity({}) == identity({})
    assert identity({}) != identity({}, stored_ns=NS + 1), "of a stream that was made anew"


@pytest.mark.parametrize(
    ("headers", "replayed", "wanted"),
    [({}, False, True), ({"Outbox-Replay": "r"}, True, True),
     ({"Outbox-Replay": "r", "Outbox-Replay-To": "audit"}, True, True),
     ({"Outbox-Replay": "r", "Outbox-Replay-To": "billing"}, True, False)],
)  # fmt: skip
def test_a_replay_for_another_is_not_wanted(
    headers: dict[str, str], replayed: bool, wanted: bool
) -> None:
    found = record(relayed(1) | headers)
    assert (found.replayed, found.wanted) == (replayed, wanted)
    assert found.numbers is not None, "its number came all the same"


def test_columns_are_extracted_from_what_is_left() -> None:
    rules = ArchiveRules(
        retention=(RetentionClass(name="all", keep_seconds=DAY),),
        extract={"a": "$.a", "deep": "$.l[1].x", "many": "$.l"},
        redact=("$.secret",),
    )
    data = b'{"a": 1.50, "l": [0, {"x": true}], "secret": 1}'
    assert record({}, data, rules).values[-3:] == ("1.50", "true", None)
    assert record({}, b"{", rules).values[-3:] == (None, None, None)


def test_nothing_in_a_bare_record_can_be_refused() -> None:
    headers = relayed(1) | {"Ce-Type": "\udcffé", "Ce-Partitionkey": "é\0", "x": "\udcff"}
    message = Message("é", headers, b'{"a": "\\u0000"}', "ORDERS", 7, NS)
    found = dict(
        zip(columns(RULES), Recorder(RULES, "audit").bare(message, "why").values, strict=True)
    )
    assert found["raw"] == message.data
    assert (found["headers"], found["payload"], found["actor"]) == ("{}", None, None)
    for name in ("type", "key", "source", "subject"):
        assert found[name].isascii()
    assert found["note"].startswith("payload stored as bytes: why")
