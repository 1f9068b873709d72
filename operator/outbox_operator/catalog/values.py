"""What of plain values, texts and numbers, readers of one schema cannot read of another's. Pure."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]

FILLED: Final = "x-outbox-default"
"""Keyword of a field that is always written, and may be missing in events of before."""
BOUNDS: Final = "x-outbox-bounds"
"""Keyword of text that is a number or a time: what its readers take of them, as a class says."""
_LOOSE: Final = ("date-time", "time", "duration")
FORM: Final = "x-outbox-form"
"""Keyword of text of a form that is no `format`: a moment that may lack its offset, a Decimal."""
KEYS: Final = "x-outbox-keys"
"""Keyword of a dictionary: what its keys are, before they become text."""
UNSAID: Final = "$unsaid"
"""Of a part whose inside a schema of before `MARKS` of `entries` does not say; no keyword of JSON
Schema's."""
_UNSAID: Final[Mapping[str, Schema]] = {
    "serialize_sequence_via_list": {"type": "array", UNSAID: True},
    "GenerateSchema._mapping_schema.<locals>.<lambda>": {"type": "object", UNSAID: True},
    "GenerateSchema._path_schema.<locals>.ser_path": {"type": "string"},
}
"""What is written all the same where schemas of before name no more than who writes it, in
`written_by` of `BOUNDS`: a Sequence, a defaultdict, a Path."""
_LATE: Final = ("decimal", "complex")
"""Forms that schemas of before `MARKS` of `entries` do not say."""
_DECIMAL: Final = "^(?!^[-+.]*$)[+-]?0*"
"""How the pattern of a Decimal begins in pydantic 2.12; not in ours, as 1E+3 has it not."""
KINDS: Final[Mapping[type, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
    list: "array", dict: "object",
}  # fmt: skip
"""What JSON calls values of Python."""
_LOW: Final = ("minimum", "exclusiveMinimum")
_HIGH: Final = ("maximum", "exclusiveMaximum")
_SIZES: Final = (
    ("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"),
)  # fmt: skip


class Rule(enum.StrEnum):
    """What kind of change breaks a reader; the table of `docs/how-to/event-catalog.md`."""

    GONE = "event-gone"
    KEY = "key-changed"
    MISSING = "field-may-be-missing"
    UNKNOWN = "field-unknown"
    TYPE = "other-type"
    VALUE = "new-value"
    RANGE = "wider-range"
    SIZE = "other-size"
    FORM = "other-form"
    UNSURE = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that a writer may write and a reader cannot read."""

    path: str
    rule: Rule
    message: str


def values(schema: Schema) -> list[str] | None:
    """Return the values that are all there are, as JSON; None: there are others."""
    found = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if found is None else [json.dumps(one, sort_keys=True) for one in found]


def spanned(schema: Schema) -> Schema:
    """Return a schema of a few values, with the bounds and lengths that these have."""
    found = [schema["const"]] if "const" in schema else schema.get("enum", [])
    texts = [len(one) for one in found if isinstance(one, str)]
    numbers = [one for one in found if isinstance(one, int | float)]
    sizes = {"minLength": min(texts), "maxLength": max(texts)} if texts else {}
    span = {"minimum": min(numbers), "maximum": max(numbers)} if numbers else {}
    return {**schema, **sizes, **span}


def completed(schema: Schema) -> Schema:
    """Return a schema with the type that one of before `MARKS` of `entries` does not say."""
    told = schema.get(BOUNDS)
    known = _UNSAID.get(str(told.get("written_by"))) if isinstance(told, Mapping) else None
    if known is None:
        return schema
    return {**{key: one for key, one in schema.items() if key != BOUNDS}, **known}


def bounds(writer: Schema, reader: Schema, path: str) -> Iterator[Gap]:
    """What is beyond the bounds and sizes that readers take."""
    for names, sign, word in ((_LOW, 1, "at least"), (_HIGH, -1, "at most")):
        known, own = _bound(reader, names, sign), _bound(writer, names, sign)
        if known is not None and (own is None or own < known):
            yield Gap(
                path, Rule.RANGE, f"may be beyond what readers take: {word} {known[0] * sign:g}"
            )
    for low, high in _SIZES:
        for name, sign, word in ((low, 1, "at least"), (high, -1, "at most")):
            known_size, size = reader.get(name), writer.get(name)
            if known_size is not None and (size is None or size * sign < known_size * sign):
                text = f"may have another size than readers take: {word} {known_size}"
                yield Gap(path, Rule.SIZE, text)


def _bound(schema: Schema, names: Sequence[str], sign: int) -> tuple[float, int] | None:
    """The strictest bound, the larger the stricter; the second part says that it is left out."""
    found = [
        (schema[name] * sign, index)
        for index, name in enumerate(names)
        if isinstance(schema.get(name), int | float)
    ]
    return max(found, default=None)


def forms(writer: Schema, reader: Schema, path: str, *, marked: bool) -> Iterator[Gap]:
    """What of a text's form readers cannot read.

    Args:
        writer: Schema of a text.
        reader: Another one.
        path: Where it is.
        marked: Whether both say all forms that there are; catalogues of before did not.
    """
    own, known = _format(writer), _format(reader)
    for name in ("format", "pattern", FORM):
        wanted, found = known.get(name), own.get(name)
        if name == FORM and found is None:
            found = own.get("format")  # the stricter one of the two
        if wanted in _LATE and not marked:
            continue
        if wanted is not None and found != wanted:
            text = "any text" if found is None else f"{name} {found}"
            if name == "format" and own.get(FORM) == wanted:
                of_spans = "one with a sign, or with a fraction of a second"
                text = of_spans if wanted == "duration" else "one that lacks an offset"
            yield Gap(path, Rule.FORM, f"may be {text}, and readers want {name} {wanted}")


def _format(schema: Schema) -> Mapping[str, Any]:
    """What is said of a text. Schemas of before `FORM` had a format in its place."""
    name, pattern = schema.get("format"), schema.get("pattern")
    if str(pattern).startswith(_DECIMAL):
        return {FORM: "decimal"}
    if name in _LOOSE and (schema.get(BOUNDS) or {}).get("tz_constraint") != "aware":
        return {"pattern": pattern, FORM: name}
    return {one: schema.get(one) for one in ("format", "pattern", FORM)}
