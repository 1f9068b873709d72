"""What headers say about a trace, whoever wrote them."""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox_operator.wire import trace_context
from outbox_operator.wire.trace_context import (
    TraceParent,
    parent_of,
    sampled_parent_of,
    sampled_parents_in,
    trace_id_in,
    trace_id_of,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
PARENT = TraceParent(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"traceparent": GOOD}, PARENT),
        ({"Traceparent": GOOD}, PARENT),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, PARENT._replace(sampled=False)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-03"}, PARENT),
        ({"traceparent": f"01-{TRACE}-{SPAN}-01-more"}, PARENT),
        ({"traceparent": GOOD, "tracestate": "a=1,b=2"}, PARENT._replace(state="a=1,b=2")),
        ({"traceparent": GOOD, "tracestate": "a=" + "x" * 511}, PARENT),
        ({"traceparent": GOOD, "tracestate": "a=ü"}, PARENT),
        ({"traceparent": GOOD, "tracestate": "=,=,="}, PARENT),
        ({"traceparent": GOOD, "tracestate": "a=1,a=2"}, PARENT),
        ({"traceparent": GOOD, "tracestate": "\t"}, PARENT),
        ({"traceparent": GOOD, "tracestate": "a"}, PARENT),
        ({"traceparent": GOOD, "tracestate": ",".join(f"k{n}=v" for n in range(33))}, PARENT),
        (
            {"traceparent": GOOD, "tracestate": "a@b=1 2 , ,c/*-_=x"},
            PARENT._replace(state="a@b=1 2 , ,c/*-_=x"),
        ),
        ({"traceparent": f"{GOOD}-more"}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"01-{TRACE}-{SPAN}-01-{'x' * 100}"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": GOOD.upper()}, None),
        ({"traceparent": f" {GOOD}"}, None),
        ({"traceparent": f"{GOOD}\n"}, None),
        ({"traceparent": f"00-{'٠' * 32}-{SPAN}-01"}, None),
        ({"traceparent": ""}, None),
        ({"traceparent": 7}, None),
        ({"traceparent": GOOD, "tracestate": 7}, PARENT),
    ],
)
def test_what_headers_say(headers: dict[str, Any], expected: TraceParent | None) -> None:
    assert parent_of(headers) == expected
    recorded = expected if expected and expected.sampled else None
    assert sampled_parent_of(headers) == recorded
    text = json.dumps(headers, ensure_ascii=False)
    assert sampled_parents_in([None, text, ""]) == ({1: recorded} if recorded else {})
    assert trace_id_of(headers) == trace_id_in(text) == (TRACE if expected else None)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "payload 1179639000", "[]", "7", f'["traceparent", "{GOOD}"]',
        json.dumps({"note": json.dumps({"traceparent": GOOD})}),
        json.dumps({"traceparent": {"traceparent": GOOD}}),
        '{"traceparent": "' + GOOD + '", "x": ' + "[" * 100_000,
    ],
)  # fmt: skip
def test_other_texts_of_rows_say_nothing(text: str | None) -> None:
    assert sampled_parents_in([text]) == {}
    assert trace_id_in(text) is None


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "x"]), st.text()))
def test_nothing_fails_over_what_somebody_wrote(headers: dict[str, str]) -> None:
    assert parent_of(headers) is None
    assert sampled_parents_in([json.dumps(headers)]) == {}


def test_a_row_is_looked_at_once_however_much_in_it_looks_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []

    def bisect(ends: list[int], place: int) -> int:
        looks.append(place)
        return bisect_right(ends, place)

    monkeypatch.setattr(trace_context, "bisect_right", bisect)
    rows = [json.dumps({"x": "-01-" * 15_000, "traceparent": GOOD})] * 3
    assert sampled_parents_in(rows) == dict.fromkeys(range(3), PARENT)
    assert len(looks) == 3


def test_rows_of_a_page_are_told_apart() -> None:
    rows = [json.dumps({"traceparent": f"00-{n:032x}-{n:016x}-0{n % 2}"}) for n in range(1, 9)]
    rows[2] += " "
    found = sampled_parents_in([None, *rows, "", *rows])
    assert {place: one.trace_id for place, one in found.items()} == {
        place: number for number in (1, 3, 5, 7) for place in (number, number + 9)
    }


def test_a_place_says_so_as_headers_do() -> None:
    place = PARENT._replace(state="a=1")
    assert parent_of(place.headers) == place
    assert parent_of(PARENT._replace(sampled=False).headers) == PARENT._replace(sampled=False)
