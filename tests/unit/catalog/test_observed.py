"""What is counted of a stream, and that nobody who writes into it decides how much that takes."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.catalog import code, observed
from outbox_operator.catalog.observed import MOST_FIELDS, MOST_TYPES, Observations
from outbox_operator.errors import DependencyError

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def seen(*payloads: object, **declared: Callable[[bytes], str]) -> Observations:
    found = Observations(declared or None)
    for second, payload in enumerate(payloads):
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        found.add("click", data, NOON + dt.timedelta(seconds=second))
    return found


def test_sizes_rates_and_fields() -> None:
    found = seen(
        {"id": 1, "lines": [{"sku": "a"}, {"sku": None}], "note": None},
        {"id": 1.5, "lines": [], "by": {"a": True}},
        b"no JSON",
    )
    assert list(observed.lines(found)) == [
        "click: 3 events, 1 a second, 7 to 63 bytes, 38 in the mean",
        "  1 not looked into: no JSON, or more than 1000000 bytes",
        "  by: object, in 1 of 3",
        "  by.a: boolean, in 1 of 3",
        "  id: integer or number",
        "  lines: array",
        "  lines[]: object, in 1 of 3",
        "  lines[].sku: string, in 1 of 3",
        "  note: null, in 1 of 3",
    ]
    assert observed.document(found)["types"]["click"]["perSecond"] == 1.0


def test_what_was_declared_is_compared() -> None:
    found = seen({"id": 1}, {}, view=str, click=lambda data: "" if b"id" in data else "id: missing")
    assert (
        list(observed.lines(found))[1] == "  1 do not fit their declaration, the first: id: missing"
    )
    found.add("clack", b"{}", NOON)
    assert (found.undeclared(), found.unseen()) == (["clack"], ["view"])


HOSTILE = {
    "deep": b"[" * 100_000,
    "deep and whole": b"[" * 900 + b"]" * 900,
    "cut": json.dumps({f"field {number}": number for number in range(100_000)}).encode()[:900_000],
    "many fields": json.dumps({f"field {number}": number for number in range(20_000)}).encode(),
    "a long name": json.dumps({"x" * 500_000: 1}).encode(),
    "many items": json.dumps([[list(range(20))] * 20] * 20).encode(),
    "a long number": b"9" * 900_000,
    "large": b"x" * 20_000_000,
    "no text": b"\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_hostile_payloads_are_bounded(payload: bytes) -> None:
    found = seen(payload, {"id": 1})
    [one] = found.types.values()
    assert one.events == 2
    assert len(one.fields) <= MOST_FIELDS
    assert all(len(path) < 1000 for path in one.fields)


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    dice, found = random.Random(7), Observations()
    tracemalloc.start()
    for number in range(MOST_TYPES * 2):
        names = [f"{dice.random()}" * 5 for _ in range(2 if number else MOST_FIELDS * 2)]
        found.add(f"{dice.random()}" * 20, json.dumps(dict.fromkeys(names, 1)).encode(), NOON)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.types) == MOST_TYPES + 1
    assert found.types[observed.OTHERS].events == MOST_TYPES
    assert most < 10 * 2**20


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("order.created", "OrderCreated"),
        ("order.created.v2", "OrderCreatedV2"),
        ("1.a-b", "Event1AB"),
    ],
)
def test_names_in_code(event_type: str, name: str) -> None:
    assert code.type_name(event_type) == name


QUICKTYPE = """#!/bin/sh
for last; do case "$last" in --out) out=1;; *) [ "$out" = 1 ] && made=$last; out=;; esac; done
for last; do case "$last" in *.schema)
  sed 's/.*"title": "\\([A-Za-z0-9]*\\)".*/export interface \\1 {}/' "$last" >> "$made"
  echo >> "$made";;
esac; done
"""


@pytest.mark.parametrize("made", [QUICKTYPE, QUICKTYPE.replace("interface", "other")])
def test_the_type_of_an_event_has_its_name_whatever_its_class_has(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "npx").write_text(made)
    (tmp_path / "npx").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fields = {"type": "object", "properties": {"id": {}}}
    schemas = {
        "order.id.given": {**fields, "title": "Given"},
        "order.lost": {**fields, "title": "OrderLostTwo"},
    }
    out = tmp_path / "events.ts"
    if made is not QUICKTYPE:
        with pytest.raises(DependencyError, match="made no type OrderIdGiven, OrderLost"):
            code.write(schemas, "typescript", out, package="events")
        return
    code.write(schemas, "typescript", out, package="events")
    types = out.read_text()
    assert "export interface OrderIdGiven {}" in types
    assert "export interface OrderLost {}" in types


def test_which_event_has_which_type() -> None:
    names: Any = {"A": "a", "LongName": 'long"name'}
    assert 'LongName = "long\\"name"' in code._index(names, "go")
    assert '    "long\\"name": LongName;' in code._index(names, "typescript")
