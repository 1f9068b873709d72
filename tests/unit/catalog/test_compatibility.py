"""What a change of a class breaks, and for whom."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, Field, PastDate, RootModel

from outbox_operator.catalog.compatibility import RUNNING, compare
from outbox_operator.catalog.entries import entries
from outbox_operator.catalog.reading import gaps
from outbox_operator.catalog.values import Rule
from outbox_operator.client import event

A: Any = make_dataclass("A", [("x", int)])
B: Any = make_dataclass("B", [("x", int), ("y", int, field(default=1))])
C: Any = make_dataclass("C", [("x", int), ("y", int)])

Code = Annotated[str, Field(pattern="^[A-Z]+$")]
Color = enum.StrEnum("Color", {"RED": "1", "BLUE": "2"})
Number = enum.IntEnum("Number", ["ONE", "TWO"])


class Pay(RootModel[int | str]):
    """A name of several forms."""


class ShortPay(RootModel[int | Annotated[str, Field(max_length=5)]]):
    """The same, and one of them is shorter."""


def document(kind: Any, default: Any = ..., **told: Any) -> dict[str, Any]:
    """Schema of an event with a field `a` of a type."""
    fields = [("id", int)]
    if kind is not None:
        fields.append(("a", kind) if default is ... else ("a", kind, field(default=default)))  # type: ignore[arg-type]
    made = make_dataclass("Made", fields)
    [entry] = entries([event("made", **told)(made)])
    return entry.document()


# before, after: what of `a` breaks for consumers that run today, and for whoever reads old events.
# Types alone, or with a default.
CHANGES: list[tuple[Any, Any, set[Rule], set[Rule]]] = [
    ((int,), (int,), set(), set()),
    ((None,), (int,), set(), {Rule.MISSING}),
    ((None,), (int, 1), set(), set()),
    ((int,), (None,), {Rule.MISSING}, set()),
    ((int, 1), (None,), set(), set()),
    ((int,), (int, 1), set(), set()),
    ((int, 1), (int,), set(), {Rule.MISSING}),
    ((int,), (float,), {Rule.TYPE}, set()),
    ((float,), (int,), set(), {Rule.TYPE}),
    ((int,), (str,), {Rule.TYPE}, {Rule.TYPE}),
    ((int,), (int | None,), {Rule.TYPE}, set()),
    ((int | None,), (int,), set(), {Rule.TYPE}),
    ((int | str,), (int | str | bool,), {Rule.TYPE}, set()),
    ((Literal["x"],), (Literal["x", "y"],), {Rule.VALUE}, set()),
    ((Literal["x", "y"],), (Literal["x"],), set(), {Rule.VALUE}),
    ((Literal["x"],), (str,), {Rule.VALUE}, set()),
    ((str,), (dt.datetime,), set(), {Rule.FORM}),
    ((dt.date,), (dt.datetime,), {Rule.FORM}, {Rule.FORM}),
    ((Decimal,), (float,), {Rule.TYPE}, {Rule.TYPE}),
    ((Annotated[int, Field(ge=0)],), (Annotated[int, Field(ge=1)],), set(), {Rule.RANGE}),
    ((Annotated[int, Field(ge=0)],), (Annotated[int, Field(gt=0)],), set(), {Rule.RANGE}),
    ((Annotated[int, Field(le=9)],), (Annotated[int, Field(lt=9)],), set(), {Rule.RANGE}),
    ((Annotated[int, Field(le=9)],), (int,), {Rule.RANGE}, set()),
    ((Annotated[str, Field(max_length=9)],), (str,), {Rule.SIZE}, set()),
    ((Annotated[str, Field(min_length=1)],), (str,), {Rule.SIZE}, set()),
    ((str,), (Annotated[str, Field(pattern="^a")],), set(), {Rule.FORM}),
    ((Annotated[int, Field(multiple_of=5)],), (int,), {Rule.UNSURE}, set()),
    ((list[int],), (list[float],), {Rule.TYPE}, set()),
    ((list[int],), (tuple[int, int],), set(), {Rule.SIZE}),
    ((list[int],), (set[int],), set(), {Rule.UNSURE}),
    ((tuple[int, str],), (tuple[int, str, bool],), {Rule.SIZE}, {Rule.SIZE}),
    ((dict[str, int],), (dict[str, str],), {Rule.TYPE}, {Rule.TYPE}),
    ((str,), (Decimal,), set(), {Rule.FORM}),
    ((Decimal,), (str,), {Rule.FORM}, set()),
    ((Decimal,), (Decimal | None,), {Rule.TYPE}, set()),
    ((Decimal,), (Decimal | str,), {Rule.FORM}, set()),
    ((list[str],), (list[Decimal],), set(), {Rule.FORM}),
    ((str,), (complex,), set(), {Rule.FORM}),
    ((uuid.UUID,), (Decimal,), {Rule.FORM}, {Rule.FORM}),
    ((dict[str, int],), (dict[int, int],), set(), {Rule.FORM}),
    ((dict[int, int],), (dict[str, int],), {Rule.FORM}, set()),
    ((dict[int, int],), (dict[int, int],), set(), set()),
    ((dict[int, int],), (dict[float, int],), {Rule.FORM}, set()),
    ((dict[int, int],), (dict[uuid.UUID, int],), {Rule.FORM}, {Rule.FORM}),
    ((dict[str, int],), (dict[uuid.UUID, int],), set(), {Rule.FORM}),
    ((dict[str, int],), (dict[Decimal, int],), set(), {Rule.FORM}),
    ((dict[str, int],), (dict[Code, int],), set(), {Rule.FORM}),
    ((dict[Code, int],), (dict[Code, str],), {Rule.TYPE}, {Rule.TYPE}),
    ((dict[Code, int],), (dict[str, str],), {Rule.TYPE, Rule.FORM}, {Rule.TYPE}),
    ((dict[Code, int],), (dict[Code, int],), set(), set()),
    ((dict[str, int],), (dict[Color, int],), set(), {Rule.VALUE}),
    ((dict[Color, int],), (dict[Number, int],), set(), set()),
    ((dict[Number, int],), (dict[Number, int],), set(), set()),
    ((dict[Number, int],), (dict[str, int],), {Rule.VALUE}, set()),
    ((dict[Number, int],), (dict[int, int],), {Rule.VALUE}, set()),
    ((dict[Any, int],), (dict[str, int],), set(), set()),
    ((dict[Any, int],), (dict[int, int],), set(), {Rule.FORM}),
    ((dict[str, int],), (Mapping[int, int],), set(), {Rule.FORM}),
    ((dict[str, int],), (OrderedDict[int, int],), set(), {Rule.FORM}),
    ((dict[str, int],), (Counter[int],), set(), {Rule.FORM}),
    ((dict[int, int],), (dict[Annotated[int, Field(ge=1)], int],), set(), {Rule.RANGE}),
    ((list[dict[str, int]],), (list[dict[int, int]],), set(), {Rule.FORM}),
    ((A,), (dict[int, int],), {Rule.MISSING}, {Rule.FORM}),
    ((Sequence[int],), (Sequence[str],), {Rule.TYPE}, {Rule.TYPE}),
    ((Sequence[int],), (list[int],), set(), set()),
    ((list[int],), (Sequence[int | None],), {Rule.TYPE}, set()),
    ((defaultdict[str, int],), (defaultdict[str, str],), {Rule.TYPE}, {Rule.TYPE}),
    ((dict[str, int],), (defaultdict[str, int],), set(), set()),
    ((Path,), (int,), {Rule.TYPE}, {Rule.TYPE}),
    ((Path,), (PurePath | None,), {Rule.TYPE}, set()),
    ((A,), (B,), set(), set()),
    ((A,), (C,), set(), {Rule.MISSING}),
    ((C,), (A,), {Rule.MISSING}, set()),
    ((A,), (dict[str, int],), {Rule.MISSING}, set()),
    ((A,), (list[A],), {Rule.TYPE}, {Rule.TYPE}),
    ((A | None,), (C | None,), set(), {Rule.MISSING}),
    ((set[int] | None,), (list[int] | None,), {Rule.UNSURE}, set()),
    ((int | None,), (Annotated[int, Field(multiple_of=5)] | None,), set(), {Rule.UNSURE}),
    ((Decimal,), (Annotated[Decimal, Field(ge=0)],), set(), {Rule.UNSURE}),
    ((Annotated[Decimal, Field(ge=0)],), (Annotated[Decimal, Field(ge=0)],), set(), set()),
    ((dt.timedelta,), (Annotated[dt.timedelta, Field(ge=dt.timedelta())],), set(), {Rule.UNSURE}),
    ((PastDate,), (dt.date,), {Rule.UNSURE}, set()),
    ((AwareDatetime,), (dt.datetime,), {Rule.UNSURE, Rule.FORM}, set()),
    ((dt.datetime,), (AwareDatetime,), set(), {Rule.UNSURE, Rule.FORM}),
    ((dt.datetime,), (dt.datetime | None,), {Rule.TYPE}, set()),
    ((dt.timedelta,), (dt.time,), {Rule.FORM}, {Rule.FORM}),
    ((dt.timedelta,), (str,), {Rule.FORM}, set()),
    ((Literal["xy"],), (Annotated[str, Field(max_length=1)],), {Rule.VALUE}, {Rule.SIZE}),
    ((Literal["xy"],), (Annotated[str, Field(max_length=2)],), {Rule.VALUE}, set()),
    ((Pay,), (ShortPay,), set(), {Rule.SIZE}),
    ((Any,), (int,), set(), {Rule.TYPE}),
    ((int,), (Any,), {Rule.TYPE}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "running", "replayed"), CHANGES)
def test_changes(before: Any, after: Any, running: set[Rule], replayed: set[Rule]) -> None:
    found = compare({"made": document(*before)}, {"made": document(*after)})
    assert {one.rule for one in found if one.who == RUNNING} == running, found
    assert {one.rule for one in found if one.who != RUNNING} == replayed, found
    assert all(one.path.startswith("a") for one in found)


def test_a_field_deep_inside_is_named() -> None:
    old, new = document(list[A]), document(list[C])
    [found] = compare({"made": old}, {"made": new})
    assert (found.path, found.message) == ("a[].y", "is missing, and readers need it")


def test_an_event_that_is_gone_was_to_be_deprecated_first() -> None:
    [found] = compare({"made": document(int)}, {})
    assert found.rule is Rule.GONE
    assert compare({"made": document(int, deprecated=True)}, {}) == []
    assert compare({}, {"made": document(int)}) == []


def test_another_key_is_another_order() -> None:
    [found] = compare({"made": document(int)}, {"made": document(int, key="id")})
    assert (found.rule, found.message) == (Rule.KEY, "the ordering key was none and is id")


def test_readers_that_refuse_what_is_new() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    wider = {"type": "object", "properties": {"a": {}, "b": {}}}
    [gap] = gaps(writer=wider, reader=closed, filled=True)
    assert (gap.path, gap.rule) == ("b", Rule.UNKNOWN)


@pytest.mark.parametrize(
    "odd",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "http://elsewhere/schema"},
        {"allOf": [{"type": "string"}, {"minLength": 2}]},
        {"not": {"type": "string"}},
        {"if": {}, "then": False},
        {"$ref": "#"},
    ],
)
def test_what_nobody_understands_is_said_and_never_passed_over(odd: dict[str, Any]) -> None:
    assert gaps(writer={"type": "string"}, reader=odd, filled=True)
    assert not gaps(writer=odd, reader=odd, filled=True)


def test_hostile_schemas_end() -> None:
    wide: dict[str, Any] = {"$defs": {}}
    for index in range(200):
        refer = {"$ref": f"#/$defs/n{index + 1}"}
        wide["$defs"][f"n{index}"] = {"type": "object", "properties": {"a": refer, "b": refer}}
    wide |= {"$ref": "#/$defs/n0"}
    other = {"type": "object", "properties": {"a": {"type": "object"}}, "required": ["z"]}
    assert gaps(writer=wide, reader=other, filled=True)
    assert any(gap.rule is Rule.UNSURE for gap in gaps(writer=wide, reader=wide, filled=True))
