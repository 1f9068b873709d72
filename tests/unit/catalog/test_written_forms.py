"""What the catalogue promises of payloads that are written in a form of their own, and what it
calls harmless."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Any

import pytest
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    RootModel,
    field_serializer,
    model_serializer,
)

from outbox_operator.catalog.code import complete
from outbox_operator.catalog.compatibility import compare
from outbox_operator.catalog.entries import entries
from outbox_operator.client import Event, event
from outbox_operator.client.declaring import check
from outbox_operator.errors import SpecError

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


OF_BEFORE = {"type": "string", "format": "date-time", "title": "X"}
"""As `outbox catalog export` of 726d9865 wrote a `datetime`; with `x-outbox-bounds`, had it been
an AwareDatetime."""


def test_a_new_release_alone_breaks_nothing() -> None:
    after = documents(declared(dt.datetime))
    before = {"a.b": {**after["a.b"], "properties": {"x": OF_BEFORE}}}
    assert compare(before, after) == []


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
    with pytest.raises(SpecError, match=r"UserTags is the type of 'user.tags' and of a class in"):
        complete(made, schemas, names, "typescript")
