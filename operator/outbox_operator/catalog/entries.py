"""Declared events with the JSON Schema of what is written, from an application's own modules."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from outbox_operator.catalog.values import BOUNDS, FILLED, FORM, KEYS
from outbox_operator.client import declaring
from outbox_operator.errors import SpecError
from outbox_operator.wire.declared import Declared, declared

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MARK: Final = "x-outbox-event"
"""Keyword of a schema file that says which event it is of."""
MARKS: Final = 2
"""What a schema says in keywords of ours; since 2 that text is a Decimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One type of events.

    Attributes:
        told: What its class says.
        title: Name of the class.
        summary: First paragraph of the class's own docstring, or nothing.
        schema: JSON Schema of the payload, with everything it refers to.
    """

    told: Declared
    title: str
    summary: str
    schema: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The type on the wire."""
        return self.told.type

    def document(self) -> dict[str, Any]:
        """The schema as a file."""
        mark = {
            "type": self.type, "name": self.told.name, "version": self.told.version,
            "marks": MARKS,
        }  # fmt: skip
        if self.told.key is not None:
            mark["key"] = self.told.key
        head: dict[str, Any] = {"$schema": DIALECT, MARK: mark}
        if self.told.deprecated:
            head["deprecated"] = True
        return {**head, **self.schema}


class _Written(GenerateJsonSchema):
    """Says of each field with a default that it is written all the same, and of text that stands
    for a number or a time which of them are taken: no keyword of JSON Schema bounds text so. Of a
    time it says the format only where each that can be written has it."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return {**super().default_schema(schema), FILLED: True}

    def ser_schema(
        self,
        schema: core_schema.SerSchema
        | core_schema.IncExSeqSerSchema
        | core_schema.IncExDictSerSchema,
    ) -> JsonSchemaValue | None:
        found = super().ser_schema(schema)
        if found is not None or schema["type"] not in ("function-plain", "function-wrap"):
            return found
        function = cast("Mapping[str, Any]", schema)["function"]
        if getattr(function, "__module__", None) in _FAITHFUL:
            return None
        # Whatever it returns: not what the field holds, as the base class has it.
        return {BOUNDS: {"written_by": getattr(function, "__qualname__", type(function).__name__)}}

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        found, written = super().bytes_schema(schema), self._config.ser_json_bytes
        return found if written == "utf8" else {**found, BOUNDS: {"written_as": written}}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        found.pop("pattern", None)  # not everything that is written has it: 1E+3
        return _bounded({**found, FORM: "decimal"}, schema)

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        return {**super().complex_schema(schema), FORM: "complex"}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        return self._keyed(super().dict_schema(schema), schema)

    def frozendict_schema(self, schema: core_schema.FrozenDictSchema) -> JsonSchemaValue:
        return self._keyed(super().frozendict_schema(schema), schema)

    def ordered_dict_schema(self, schema: core_schema.OrderedDictSchema) -> JsonSchemaValue:
        return self._keyed(super().ordered_dict_schema(schema), schema)

    def counter_schema(self, schema: core_schema.CounterSchema) -> JsonSchemaValue:
        return self._keyed(super().counter_schema(schema), schema)

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        return _bounded(super().date_schema(schema), schema)

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        return self._moment(super().time_schema(schema), schema)

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return self._moment(super().datetime_schema(schema), schema)

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return self._moment(super().timedelta_schema(schema), schema)

    def _keyed(self, found: JsonSchemaValue, schema: Mapping[str, Any]) -> JsonSchemaValue:
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        names = found.get("propertyNames", {})
        if "$ref" in names:
            target = self.get_schema_from_definitions(names["$ref"]) or {}
            if target.get("type") != "string":  # an enumeration of numbers is true of no name
                del found["propertyNames"]
        return {**found, KEYS: keys}

    def _moment(self, found: JsonSchemaValue, schema: Mapping[str, Any]) -> JsonSchemaValue:
        told = _bounded(_loosened(found, schema), schema)
        if found.get("type") != "string" and self._config.ser_json_temporal == "milliseconds":
            told[BOUNDS] = {**told.get(BOUNDS, {}), "written_as": "milliseconds"}
        return told


_FAITHFUL: Final = ("pydantic._internal._generate_schema", "pydantic._internal._serializers")
"""Where functions are that write what a type holds: of paths, sequences, defaultdicts."""
_BOUNDING: Final = (
    "ge", "gt", "le", "lt", "multiple_of", "max_digits", "decimal_places", "now_op",
    "tz_constraint",
)  # fmt: skip
"""What pydantic's schemas of these types say of their values."""


def _bounded(found: JsonSchemaValue, schema: Mapping[str, Any]) -> JsonSchemaValue:
    bounds = {name: str(schema[name]) for name in _BOUNDING if schema.get(name) is not None}
    return {**found, BOUNDS: bounds} if bounds else found


def _loosened(found: JsonSchemaValue, schema: Mapping[str, Any]) -> JsonSchemaValue:
    """Without a format that not everything has: those of moments and times want an offset, that of
    durations knows no fraction of a second and no sign (RFC 3339, as JSON Schema refers to it)."""
    if "format" not in found or schema.get("tz_constraint") == "aware":
        return found
    return {FORM if name == "format" else name: value for name, value in found.items()}


def load(modules: Sequence[str]) -> list[Entry]:
    """Import modules and return the entries of their declared events.

    Raises:
        SpecError: A module cannot be imported, declares nothing, or what no schema can say.
    """
    return entries(kinds(modules).values())


def kinds(modules: Sequence[str]) -> dict[str, type]:
    """Import modules, those in the working directory too, and return declared classes by type.

    Raises:
        SpecError: A module cannot be imported or declares nothing, or two events are one.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: dict[str, type] = {}
    for name in modules:
        for kind in declaring.collect(_module(name)).values():
            found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return declaring.collect(list(found.values()))


def entries(declared_kinds: Iterable[type]) -> list[Entry]:
    """Return the entries of declared classes, by their types.

    Raises:
        SpecError: A class is not declared, or JSON Schema cannot say what it holds.
    """
    return [_entry(kind) for _, kind in sorted(declaring.collect(list(declared_kinds)).items())]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        hint = ""
        if name.endswith(".py") or "/" in name:
            dotted = ".".join(Path(name).with_suffix("").parts)
            hint = f"; a module is named with dots, from the folder you stand in: {dotted}"
        raise SpecError(
            f"importing {name} failed: {type(error).__name__}: {error}{hint}"
        ) from error


def _entry(kind: type) -> Entry:
    told = declared(kind)
    assert told is not None  # noqa: S101 - `collect` has seen it
    mode: JsonSchemaMode = "serialization"
    config = getattr(kind, "model_config", {})
    try:
        schema = TypeAdapter(kind).json_schema(
            by_alias=bool(config.get("serialize_by_alias")), mode=mode, schema_generator=_Written
        )
    except PydanticUserError as error:
        raise SpecError(f"event {told.type!r}: {kind.__qualname__}: {error.message}") from error
    doc = kind.__dict__.get("__doc__") or ""
    written = "" if doc.startswith(f"{kind.__name__}(") else doc  # what a dataclass says by itself
    if not written:
        schema.pop("description", None)
    return Entry(
        told=told,
        title=kind.__name__,
        summary=" ".join(written.strip().partition("\n\n")[0].split()),
        schema=schema,
    )
