"""What the catalogue promises of payloads that are written in a form of their own, and what it
calls harmless."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    field_serializer,
    model_serializer,
)

from outbox_operator.catalog.code import complete
from outbox_operator.catalog.compatibility import RUNNING, compare
from outbox_operator.catalog.entries import MARK, entries
from outbox_operator.catalog.values import Rule
from outbox_operator.client import Event, event
from outbox_operator.client.declaring import check
from outbox_operator.errors import SpecError
from support.json_schema import validate

MOMENT = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def declared(annotation: Any, config: ConfigDict | None = None, **more: Any) -> Any:
    names = {"__annotations__": {"x": annotation}, "__module__": __name__, **more}
    if config is not None:
        names["model_config"] = config
    return event("a.b")(type("M", (BaseModel,), names))


def documents(kind: Any) -> dict[str, Any]:
    return {one.type: one.document() for one in entries([kind])}


def schema(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = documents(kind)["a.b"]["properties"]["x"]
    return found


def written(kind: Any, value: Any) -> Any:
    """What is in the outbox: the library refuses nothing of it."""
    made = kind(x=value)
    text = made.model_dump_json()
    check("it", Event.of(made), text, None)
    return json.loads(text)["x"]


SERIALIZED = {
    "field": declared(
        AwareDatetime, s=field_serializer("x")(lambda self, value: value.timestamp())
    ),
    "plain": declared(Annotated[AwareDatetime, PlainSerializer(lambda one: one.timestamp())]),
    "model": declared(
        AwareDatetime, s=model_serializer(mode="plain")(lambda self: {"x": self.x.timestamp()})
    ),
}


@pytest.mark.parametrize("name", SERIALIZED)
def test_no_format_is_promised_of_what_a_function_writes(name: str) -> None:
    kind = SERIALIZED[name]
    assert written(kind, MOMENT) == 1577836800.0
    found = documents(kind)["a.b"].get("properties", {}).get("x", {})
    assert "format" not in found
    assert found.get("type") != "string"


@pytest.mark.parametrize("name", SERIALIZED)
def test_a_moment_that_a_function_writes_is_another_thing(name: str) -> None:
    assert compare(documents(declared(AwareDatetime)), documents(SERIALIZED[name]))


def test_an_integer_that_is_written_as_text() -> None:
    kind = declared(int, s=field_serializer("x")(lambda self, value: str(value)))
    assert written(kind, 5) == "5"
    assert schema(kind).get("type") != "integer"
    assert compare(documents(declared(int)), documents(kind))


@pytest.mark.parametrize("annotation", [dt.timedelta, AwareDatetime], ids=["span", "moment"])
def test_seconds_that_become_milliseconds(annotation: Any) -> None:
    """90 s are read as 25 hours."""
    seconds = declared(annotation, ConfigDict(ser_json_temporal="seconds"))
    millis = declared(annotation, ConfigDict(ser_json_temporal="milliseconds"))
    value = dt.timedelta(seconds=90) if annotation is dt.timedelta else MOMENT
    assert written(millis, value) == 1000 * written(seconds, value)
    assert compare(documents(seconds), documents(millis))


def test_bytes_that_become_hexadecimal() -> None:
    plain = declared(bytes)
    digits = declared(bytes, ConfigDict(ser_json_bytes="hex", val_json_bytes="hex"))
    assert (written(plain, b"ab"), written(digits, b"ab")) == ("ab", "6162")
    assert compare(documents(plain), documents(digits))


Color = enum.StrEnum("Color", {"RED": "1", "BLUE": "2"})
Number = enum.IntEnum("Number", ["ONE", "TWO"])
Code = Annotated[str, Field(pattern="^[A-Z]+$")]
DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
"""Which pydantic 2.12 has."""
TEXT: dict[str, Any] = {"title": "X", "type": "string"}
COUNTS: dict[str, Any] = {
    "additionalProperties": {"type": "integer"}, "title": "X", "type": "object",
}  # fmt: skip

OF_PYDANTIC = "GenerateSchema._{}_schema.<locals>.{}"
MANY: dict[str, Any] = {"x-outbox-bounds": {"written_by": "serialize_sequence_via_list"}}
FILE: dict[str, Any] = {
    "format": "path", "x-outbox-bounds": {"written_by": OF_PYDANTIC.format("path", "ser_path")},
}  # fmt: skip
MAP: dict[str, Any] = {
    "x-outbox-bounds": {"written_by": OF_PYDANTIC.format("mapping", "<lambda>")},
}  # fmt: skip

# A type, and what `outbox catalog export` of before wrote of it: with 726d9865 for a moment.
OF_BEFORE: list[tuple[Any, dict[str, Any]]] = [
    (dt.datetime, {**TEXT, "format": "date-time"}),
    (Decimal, TEXT),
    (Decimal, {**TEXT, "pattern": DECIMAL}),
    (list[Decimal], {"type": "array", "items": {"type": "string"}}),
    (complex, TEXT),
    (dict[str, int], COUNTS),
    (dict[int, int], COUNTS),
    (dict[Decimal, int], COUNTS),
    (dict[Decimal, int], {"type": "object", "patternProperties": {DECIMAL: {"type": "integer"}}}),
    (dict[Code, int], {"type": "object", "patternProperties": {"^[A-Z]+$": {"type": "integer"}}}),
    (dict[uuid.UUID, int], {**COUNTS, "propertyNames": {"format": "uuid"}}),
    (dict[Color, int], {**COUNTS, "propertyNames": {"$ref": "#/$defs/Color"}}),
    (dict[Number, int], {**COUNTS, "propertyNames": {"$ref": "#/$defs/Number"}}),
    (dict[dt.datetime, int], {**COUNTS, "propertyNames": {"x-outbox-form": "date-time"}}),
    (dict[dt.datetime, int], {**COUNTS, "propertyNames": {"format": "date-time"}}),
    (Sequence[int], MANY),
    (Annotated[Sequence[int], Field(min_length=1)], {**MANY, "minItems": 1}),
    (Sequence[int] | None, {"anyOf": [MANY, {"type": "null"}]}),
    (list[Sequence[int]], {"type": "array", "items": MANY}),
    (Path, FILE),
    (Path | None, {"anyOf": [FILE, {"type": "null"}]}),
    (dict[Path, int], {**COUNTS, "propertyNames": FILE}),
    (defaultdict[str, int], MAP),
    (defaultdict[str, int] | int, {"anyOf": [MAP, {"type": "integer"}]}),
]


def as_before(kind: Any, field: dict[str, Any]) -> dict[str, Any]:
    """Documents of before `marks`."""
    (document,) = documents(kind).values()
    event_mark = {name: one for name, one in document[MARK].items() if name != "marks"}
    return {"a.b": {**document, MARK: event_mark, "properties": {"x": field}}}


@pytest.mark.parametrize(("annotation", "field"), OF_BEFORE)
def test_a_new_release_alone_breaks_nothing(annotation: Any, field: dict[str, Any]) -> None:
    kind = declared(annotation)
    assert compare(as_before(kind, field), documents(kind)) == []
    assert compare(documents(kind), as_before(kind, field)) == []


class Pair(BaseModel):
    """Two counts."""

    a: int
    b: int = 0


# What it was, what an export of before wrote of it, what it is now, and what breaks: for whom
# runs, and in what was written.
CHANGED_AT_ONCE: list[tuple[Any, dict[str, Any], Any, set[Rule], set[Rule]]] = [
    (Sequence[int], MANY, int, {Rule.TYPE}, {Rule.TYPE}),
    (Sequence[int], MANY, Sequence[int] | None, {Rule.TYPE}, set()),
    (Sequence[int] | None, {"anyOf": [MANY, {"type": "null"}]}, Sequence[int], set(), {Rule.TYPE}),
    (Sequence[int], MANY, tuple[int, int], {Rule.UNSURE}, {Rule.SIZE, Rule.UNSURE}),
    (Sequence[int], MANY, set[int], set(), {Rule.UNSURE}),
    (Sequence[int], {**MANY, "minItems": 1}, Sequence[int], {Rule.SIZE}, set()),
    (Sequence[int], MANY, defaultdict[str, int], {Rule.TYPE}, {Rule.TYPE}),
    (Sequence[int], MANY, str, {Rule.TYPE}, {Rule.TYPE}),
    (Path, FILE, int, {Rule.TYPE}, {Rule.TYPE}),
    (Path, FILE, str, {Rule.FORM}, set()),
    (Path, FILE, uuid.UUID, {Rule.FORM}, {Rule.FORM}),
    (defaultdict[str, int], MAP, str, {Rule.TYPE}, {Rule.TYPE}),
    (defaultdict[str, int], MAP, Pair, {Rule.UNSURE}, {Rule.UNSURE}),
    (defaultdict[str, int], MAP, list[int], {Rule.TYPE}, {Rule.TYPE}),
]


@pytest.mark.parametrize(("was", "field", "now", "running", "replayed"), CHANGED_AT_ONCE)
def test_what_changes_with_a_new_release_is_not_passed_over(
    was: Any, field: dict[str, Any], now: Any, running: set[Rule], replayed: set[Rule]
) -> None:
    found = compare(as_before(declared(was), field), documents(declared(now)))
    assert {one.rule for one in found if one.who == RUNNING} == running, found
    assert {one.rule for one in found if one.who != RUNNING} == replayed, found


def test_what_was_said_before_is_still_compared() -> None:
    patterned = {"type": "object", "patternProperties": {"^[A-Z]+$": {"type": "integer"}}}
    before = as_before(declared(dict[Code, int]), patterned)
    [running, *_] = compare(before, documents(declared(dict[Code, str])))
    assert (running.path, running.rule) == ("x.*", Rule.TYPE)
    [running] = compare(before, documents(declared(dict[str, int])))
    assert (running.path, running.rule) == ("x.(keys)", Rule.FORM)


def test_a_decimal_that_was_text_is_told_by_its_form() -> None:
    [found] = compare(documents(declared(str)), documents(declared(Decimal)))
    assert (found.path, found.rule) == ("x", Rule.FORM)
    assert found.message == "may be any text, and readers want x-outbox-form decimal"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Decimal, Decimal("1E+3")),
        (dict[Number, int], {Number(1): 1}),
        (dict[Color, int], {Color("1"): 1}),
        (dict[int, int], {1: 1}),
        (dict[dt.datetime, int], {MOMENT: 1}),
        (Counter[int], Counter((1, 1))),
        (Sequence[int], [1, 2]),
        (Sequence[Path], (Path("/a"),)),
        (defaultdict[int, list[Decimal]], defaultdict(list, {1: [Decimal("1E+3")]})),
    ],
)
def test_the_schema_is_true_of_what_is_written(annotation: Any, value: Any) -> None:
    kind = declared(annotation)
    validate({"x": written(kind, value)}, documents(kind)["a.b"])


def test_a_list_does_not_get_the_type_of_another_class() -> None:
    """quicktype 26.0.0 makes this of an event `user.tags` that is a list of texts, and of another
    one with a field of class UserTags."""
    made = (
        "export interface UserChanged {\n    tags: UserTags;\n}\n\n"
        "export interface UserTags {\n    color: string;\n}\n\n"
        "export interface UserTagsHolder {\n    payload: string[];\n}\n"
    )
    tags: Any = event("user.tags")(type("Tags", (RootModel[list[str]],), {"__module__": __name__}))
    (entry,) = entries([tags])
    schemas = {
        "user.tags": entry.document(),
        "user.changed": {"type": "object", "properties": {"tags": {}}},
    }
    names = {"UserTags": "user.tags", "UserChanged": "user.changed"}
    with pytest.raises(SpecError, match=r"UserTags is the type of 'user.tags' and the name of"):
        complete(made, schemas, names, "typescript")
