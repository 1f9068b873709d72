"""Payloads as JSON, and what is refused before it reaches the database."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections import OrderedDict, UserDict
from typing import Any

import pydantic
import pytest

from outbox_operator.client.encoding import to_json
from outbox_operator.client.rows import RowMaker
from outbox_operator.errors import EventError
from outbox_operator.wire.event import Event


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


class Order(pydantic.BaseModel):
    id: uuid.UUID
    lines: list[str]


class Picture(pydantic.BaseModel):
    data: bytes


class Keyed(UserDict[Any, Any]):
    """A mapping that is no dict."""


class Broken(UserDict[str, Any]):
    def keys(self) -> Any:
        raise KeyError("secret")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ("Größe 😀", "Größe 😀"),
        (dt.datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=dt.UTC), "2026-11-21T12:00:00.000005+00:00"),
        (dt.date(2026, 11, 21), "2026-11-21"),
        (dt.time(12, 30), "12:30:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (decimal.Decimal("12.30"), "12.30"),
        (Colour.RED, "red"),
        (Size.LARGE, 3),
        ({"line": Line("a", decimal.Decimal(1))}, {"line": {"sku": "a", "price": "1"}}),
        (
            Order(id=uuid.UUID(int=1), lines=["x"]),
            {"id": "00000000-0000-0000-0000-000000000001", "lines": ["x"]},
        ),
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({1: "int key"}, {"1": "int key"}),
        ("a backslash \\u0000 is text", "a backslash \\u0000 is text"),
    ],
)
def test_encodes(value: Any, expected: Any) -> None:
    assert json.loads(to_json("event 1", "payload", value)) == expected


NESTED: list[Any] = []
NESTED.append(NESTED)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [{"b": b"\xff"}]}, r"payload\.a\[0\]\.b is bytes, which JSON cannot hold"),
        ({"a": float("nan")}, r"payload\.a is nan"),
        ([1.0, float("-inf")], r"payload\[1\] is -inf"),
        ({"total": decimal.Decimal("NaN")}, r"payload\.total is not a finite number"),
        ({"a": "x\x00y"}, r"payload\.a holds a NUL character"),
        ({"a\x00": 1}, r"payload: key 'a\\x00' holds a NUL"),
        ({"a": "\ud800"}, r"payload\.a holds half a surrogate pair"),
        ({uuid.UUID(int=1): 1}, r"payload: key UUID\(.*\) is UUID; use text as key"),
        ({"a": object()}, r"payload\.a is object, which has no JSON form"),
        ({"a": Line}, r"payload\.a is type"),
        ({"a": Line("\x00", decimal.Decimal(1))}, r"payload\.a\.sku holds a NUL"),
        ({"a": {1: "x", "1": "y"}}, r"payload\.a: keys 1 and '1' are the same in JSON"),
        ([{True: 1, "true": 2}], r"payload\[0\]: keys True and 'true' are the same"),
        ({"a": Keyed({None: 1, "null": 2})}, r"payload\.a: keys None and 'null' are the same"),
        ({"a": Picture(data=b"\xff")}, r"payload\.a is Picture, whose own form fails: .*utf-8"),
        ({"a": Broken({})}, r"payload\.a is Broken, whose own form fails: KeyError: 'secret'"),
        (NESTED, r"payload(\[0\])+ is nested more than 200 levels deep, or holds itself"),
    ],
)
def test_refuses_and_names_the_place(value: Any, message: str) -> None:
    with pytest.raises(EventError, match=f"^event 1: {message}"):
        to_json("event 1", "payload", value)


def test_the_message_can_be_printed_whatever_it_names() -> None:
    with pytest.raises(EventError) as caught:
        Event(type="order.\ud800 created", payload={})
    assert str(caught.value).encode()
    with pytest.raises(EventError) as caught:
        RowMaker("jsonb", 1000).one(Event(type="order.\ud800", payload={}))
    assert str(caught.value).encode()


def test_messages_stay_short_whatever_they_name() -> None:
    long = "x" * 1_000_000
    for fields in ({"type": long + " "}, {"headers": {long + " ": ""}}, {"type": long}):
        with pytest.raises(EventError) as caught:
            RowMaker("jsonb", 1000).one(Event(**{"type": "a", "payload": {}, **fields}))  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("headers", [None, ["a"], {1: "x"}, {"a": 1}, {"a b": "x"}, {"Ce-Id": "x"}])
def test_headers_of_every_wrong_kind_are_refused_in_words(headers: Any) -> None:
    with pytest.raises(EventError, match=r"^event .*header"):
        Event(type="a", payload={}, headers=headers)
