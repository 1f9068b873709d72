"""Places in JSON documents: parsed, read, taken out."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.wire.json_paths import JsonPath


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$.a", ("a",)),
        ("$.card.number", ("card", "number")),
        ("$['a name'].b", ("a name", "b")),
        ('$["it\'s"]', ("it's",)),
        ("$.lines[0].sku", ("lines", 0, "sku")),
        ("$.lines[*].*", ("lines", None, None)),
        ("$.größe-1", ("größe-1",)),
    ],
)
def test_a_path_is_parsed(text: str, steps: tuple[Any, ...]) -> None:
    assert JsonPath.parse(text).steps == steps


@pytest.mark.parametrize(
    "text",
    ["", "$", "a", ".a", "$a", "$.", "$.a.", "$..a", "$.a b", "$[a]", "$[-1]", "$['']", "$[0:2]",
     "$.a[?(@.b)]", "$.a[", "$.a[9999999999]", "$" + ".a" * 33, "$." + "a" * 600],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wanted a path such as"):
        JsonPath.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("$.a.b", 1), ("$.l[1]", 3), ("$.l[2]", None), ("$.l.b", None), ("$.a[0]", None),
     ("$.n", None), ("$.x", None)],
)  # fmt: skip
def test_a_value_is_read(text: str, value: Any) -> None:
    document = {"a": {"b": 1}, "l": [2, 3], "n": None}
    assert JsonPath.parse(text).read(document) == value


@pytest.mark.parametrize(
    ("text", "left", "removed"),
    [
        ("$.a.b", {"a": {"c": 2}, "l": [{"s": 1, "t": 2}, {"s": 3}, 4]}, 1),
        ("$.a", {"l": [{"s": 1, "t": 2}, {"s": 3}, 4]}, 1),
        ("$.a.*", {"a": {}, "l": [{"s": 1, "t": 2}, {"s": 3}, 4]}, 2),
        ("$.l[*].s", {"a": {"b": 1, "c": 2}, "l": [{"t": 2}, {}, 4]}, 2),
        ("$.l[1]", {"a": {"b": 1, "c": 2}, "l": [{"s": 1, "t": 2}, None, 4]}, 1),
        ("$.l[*]", {"a": {"b": 1, "c": 2}, "l": [None, None, None]}, 3),
        ("$.l[7]", {"a": {"b": 1, "c": 2}, "l": [{"s": 1, "t": 2}, {"s": 3}, 4]}, 0),
        ("$.a.b.c", {"a": {"b": 1, "c": 2}, "l": [{"s": 1, "t": 2}, {"s": 3}, 4]}, 0),
        ("$.*.*.t", {"a": {"b": 1, "c": 2}, "l": [{"s": 1}, {"s": 3}, 4]}, 1),
    ],
)
def test_values_are_taken_out(text: str, left: Any, removed: int) -> None:
    document = {"a": {"b": 1, "c": 2}, "l": [{"s": 1, "t": 2}, {"s": 3}, 4]}
    assert JsonPath.parse(text).remove(document) == removed
    assert document == left


def test_one_path_is_within_another() -> None:
    def within(inner: str, outer: str) -> bool:
        return JsonPath.parse(inner).is_within(JsonPath.parse(outer))

    assert within("$.a.b", "$.a")
    assert within("$.a", "$.a")
    assert within("$.a[3].b", "$.a[*]")
    assert not within("$.a", "$.a.b")
    assert not within("$.a.c", "$.a.b")
