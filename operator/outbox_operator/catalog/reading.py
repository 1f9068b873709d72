"""Whether readers of one JSON Schema can read whatever writers of another write. Pure.

Knows what pydantic writes: objects, arrays, unions, references, bounds. Of any other keyword it
says that it cannot tell, unless both sides have it alike. Fields that a writer's schema does not
name are not written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from outbox_operator.catalog.values import (
    BOUNDS,
    FILLED,
    FORM,
    KEYS,
    KINDS,
    UNSAID,
    Gap,
    Rule,
    Schema,
    bounds,
    completed,
    forms,
    spanned,
    values,
)

_NAME: Final = "$name"
"""Of a part that was referred to; no keyword of JSON Schema's."""
_DEEPEST: Final = 40
_KEYS: Final = "(keys)"
"""What stands for them in a path."""
_STANDARD: Final = ("patternProperties", "propertyNames")
_PART_BY_PART: Final = frozenset(("prefixItems", "properties"))
"""Keywords of what is neither a list nor a dictionary."""
_MOST_SHOWN: Final = 5
_MOST_GAPS: Final = 1000
_MOST_EACH: Final = 50
"""Gaps that are told of one part."""
_MOST_STEPS: Final = 100_000
_TELLING: Final = frozenset(
    ("$ref", "type", "enum", "const", "anyOf", "oneOf", "properties", "required", "items",
     "additionalProperties", "prefixItems", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
     "maxProperties", "format", "pattern", "multipleOf", "uniqueItems", "contentEncoding",
     "contentMediaType", "allOf", "not", "if", "then", "else", "patternProperties",
     "propertyNames", "contains", "minContains", "maxContains", "dependentRequired",
     "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", BOUNDS, FORM, KEYS)
)  # fmt: skip
"""Keywords that narrow what a value may be; all others only describe."""
_HANDLED: Final = frozenset(
    ("type", "enum", "const", "properties", "required", "items", "additionalProperties",
     "prefixItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
     "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "format", "pattern",
     "anyOf", "oneOf", FORM, KEYS)
)  # fmt: skip


def gaps(*, writer: Schema, reader: Schema, filled: bool, marked: bool = True) -> list[Gap]:
    """Return what the reader of one schema cannot read of another's writer; empty: nothing.

    Args:
        writer: A whole schema, with `$defs`.
        reader: Another one.
        filled: Whether fields with a default are in all that is meant, as they are in what is
            written from now on; not so in what lies in the stream.
        marked: Whether both say all forms of text that there are; catalogues of before did not.
    """
    found: dict[Gap, None] = {}
    pairing = _Pairing(writer, reader, filled, marked)
    for gap in pairing.compare(writer, reader, "", 0):
        found.setdefault(gap)
        if len(found) == _MOST_GAPS:
            break
    return list(found)


class _Pairing:
    """Two schemas, and what was found of pairs of their named parts."""

    def __init__(self, writer: Schema, reader: Schema, filled: bool, marked: bool) -> None:
        self._writer, self._reader = writer, reader
        self._filled, self._marked = filled, marked
        self._known: dict[tuple[str, str], list[Gap]] = {}
        self._steps = 0

    def compare(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        """What of `writer` does not fit into `reader`."""
        writer, reader = _plain(writer, self._writer), _plain(reader, self._reader)
        yield from self._whole(writer, reader, path, depth)

    def _whole(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        if writer is False or not _tells(reader):
            return
        if reader is False:
            yield Gap(path, Rule.UNKNOWN, "is written, and readers refuse it")
            return
        self._steps += 1
        if depth > _DEEPEST or self._steps > _MOST_STEPS:
            yield Gap(path, Rule.UNSURE, "too large or too deep to be compared")
            return
        known = list(_alternatives(reader, self._reader))
        for one in _alternatives(writer, self._writer):
            yield from self._one(one, known, path, depth)

    def _one(self, writer: Any, known: Sequence[Any], path: str, depth: int) -> Iterator[Gap]:
        """One form that a value may be written in, against all that readers know."""
        best: list[Gap] | None = None
        for reader in known:
            if not _kinds_fit(writer, reader):
                continue
            found = list(itertools.islice(self._single(writer, reader, path, depth), _MOST_EACH))
            if not found:
                return
            if best is None or len(found) < len(best):
                best = found
        if best is not None:
            yield from best
            return
        wanted = " or ".join(dict.fromkeys(_shown(one) for one in known)) or "nothing"
        yield Gap(path, Rule.TYPE, f"may be {_shown(writer)}, and readers know {wanted}")

    def _single(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        if not (writer.get(_NAME) and reader.get(_NAME)):
            yield from self._parts(writer, reader, path, depth)
            return
        # By what they say: a name may stand for several forms, and more may stand beside it.
        pair = (repr(writer), repr(reader))
        if pair not in self._known:
            self._known[pair] = []  # while it is looked at: a type that holds itself
            found = self._parts(writer, reader, "", depth)
            self._known[pair] = list(itertools.islice(found, _MOST_EACH))
        for gap in self._known[pair]:
            yield Gap(_joined(path, gap.path), gap.rule, gap.message)

    def _parts(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        unread = _unread(writer, reader)
        if unread:
            yield Gap(path, Rule.UNSURE, f"{', '.join(unread)} changed")
        own, known = values(writer), values(reader)
        if known is not None:
            new = None if own is None else [one for one in own if one not in known]
            if new is None:
                yield Gap(path, Rule.VALUE, "may be any value, and readers know a few")
            elif new:
                more = "" if len(new) <= _MOST_SHOWN else f" and {len(new) - _MOST_SHOWN} more"
                text = ", ".join(new[:_MOST_SHOWN])
                yield Gap(path, Rule.VALUE, f"may be {text}{more}, which readers do not know")
            return
        yield from bounds(spanned(writer), reader, path)
        yield from forms(writer, reader, path, marked=self._marked)
        if UNSAID in writer or UNSAID in reader:
            if any(_PART_BY_PART & {*one} for one in (writer, reader)):
                yield Gap(path, Rule.UNSURE, "an earlier catalogue does not say what is in it")
            return
        yield from self._items(writer, reader, path, depth)
        yield from self._fields(writer, reader, path, depth)

    def _items(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        if not {"items", "prefixItems"} & {*writer, *reader}:
            return
        first, known = writer.get("prefixItems", []), reader.get("prefixItems", [])
        rest, known_rest = writer.get("items", True), reader.get("items", True)
        fixed = writer.get("maxItems")
        most = max(len(first), len(known))
        for index in range(min(most, fixed) if isinstance(fixed, int) else most):
            one = first[index] if index < len(first) else rest
            other = known[index] if index < len(known) else known_rest
            yield from self.compare(one, other, f"{path}[{index}]", depth + 1)
        if not (isinstance(fixed, int) and fixed <= len(first)):
            yield from self.compare(rest, known_rest, f"{path}[]", depth + 1)

    def _fields(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        fields, known = writer.get("properties", {}), reader.get("properties", {})
        always = {*writer.get("required", ())}
        if self._filled:
            always |= {name for name, one in fields.items() if _is_filled(one)}
        for name in reader.get("required", ()):
            if name not in always:
                how = "may be missing" if name in fields else "is missing"
                yield Gap(_under(path, name), Rule.MISSING, f"{how}, and readers need it")
        others = reader.get("additionalProperties", True)
        for name, one in fields.items():
            if name in known:
                yield from self.compare(one, known[name], _under(path, name), depth + 1)
            elif others is False:
                yield Gap(
                    _under(path, name), Rule.UNKNOWN, "is written, and readers refuse what is new"
                )
            elif _tells(others):
                yield from self.compare(one, others, _under(path, name), depth + 1)
        more = writer.get("additionalProperties", False)
        if more is not False:
            yield from self.compare(more, others, _under(path, "*"), depth + 1)
            for name, one in known.items():
                if name not in fields:
                    yield from self.compare(more, one, _under(path, name), depth + 1)
        if KEYS in reader:
            yield from self._keys(writer, reader, _under(path, _KEYS), depth + 1)

    def _keys(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Gap]:
        """Keys of a dictionary, which are text; in it may be a number, or one of a few values."""
        known = list(_alternatives(reader[KEYS], self._reader))
        own = list(_alternatives(writer[KEYS], self._writer)) if KEYS in writer else []
        names = [
            one for one in writer.get("properties", {}) if one not in reader.get("properties", {})
        ]
        if names:
            own.append({"type": "string", "enum": names})
        for one in own:
            if any(_kinds_fit(one, other) for other in known):
                yield from self._one(one, known, path, depth)
            else:
                yield from self._one(_as_text(one), [*map(_as_text, known)], path, depth)


def _as_text(schema: Schema) -> Schema:
    """What a value is when it is the key of a dictionary."""
    if (found := values(schema)) is not None:
        texts = [json.loads(one) if one.startswith('"') else one for one in found]
        return {"type": "string", "enum": texts}
    kind = _kind(schema)
    return (
        {**schema, "type": "string"} if kind in (None, "string") else {"type": "string", FORM: kind}
    )


def _keyed(schema: Schema) -> Schema:
    """A dictionary with `KEYS`. Catalogues of before have standard keywords alone, and those of
    some keys only."""
    patterns, names = schema.get("patternProperties"), schema.get("propertyNames")
    rest = {key: one for key, one in schema.items() if key not in _STANDARD}
    if patterns:
        if len(patterns) > 1 or "additionalProperties" in schema or "properties" in schema:
            return schema  # of somebody else's
        [(pattern, rest["additionalProperties"])] = patterns.items()
        names = {**(names or {}), "pattern": pattern}
    if not names:
        return schema
    return {KEYS: names if "$ref" in names else {"type": "string", **names}, **rest}


def _named(schema: Any) -> str:
    found = schema.get("$ref") if isinstance(schema, Mapping) else None
    return found if isinstance(found, str) else ""


def _plain(schema: Any, root: Schema) -> Any:
    """A schema without reference or `allOf` at its top, as far as these are known."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return schema
        if _named(schema):
            target: Any = root
            for part in _named(schema).lstrip("#/").split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                target = target.get(name) if isinstance(target, Mapping) else None
            if not isinstance(target, Mapping):
                return schema
            beside = {key: one for key, one in schema.items() if key != "$ref"}
            schema = {**target, **beside, _NAME: _named(schema)}
        elif len(schema.get("allOf", ())) == 1 and isinstance(schema["allOf"][0], Mapping):
            beside = {key: one for key, one in schema.items() if key != "allOf"}
            schema = {**schema["allOf"][0], **beside}
        else:
            return schema
    return schema


def _tells(schema: Any) -> bool:
    """Whether a schema says anything of what a value may be."""
    return schema is False or (isinstance(schema, Mapping) and bool(_TELLING & {*schema}))


def _unread(writer: Any, reader: Any) -> list[str]:
    """Keywords of the reader that nobody here understands and the writer does not have alike."""
    other = writer if isinstance(writer, Mapping) else {}
    odd = _TELLING - _HANDLED
    return [key for key in reader if key in odd and other.get(key) != reader[key]]


def _alternatives(schema: Any, root: Schema, depth: int = 0) -> Iterator[Any]:
    """The forms that a value may have: one for each type, and for each part of a union."""
    schema = _plain(schema, root)
    if not isinstance(schema, Mapping):
        yield {}
        return
    parts = schema.get("anyOf") or schema.get("oneOf")
    if parts and depth < _DEEPEST:
        beside = {key: one for key, one in schema.items() if key not in ("anyOf", "oneOf")}
        for part in parts:
            inner = _plain(part, root)
            yield from _alternatives(
                {**beside, **inner} if isinstance(inner, Mapping) else beside, root, depth + 1
            )
        return
    kinds = schema.get("type")
    if isinstance(kinds, list):
        for kind in kinds:
            yield _keyed({**schema, "type": kind})
        return
    yield _keyed(completed(schema))


def _kind(schema: Schema) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    kinds = {KINDS.get(type(one)) for one in values} if values else {None}
    return kinds.pop() if len(kinds) == 1 else None


def _kinds_fit(writer: Schema, reader: Schema) -> bool:
    one, other = _kind(writer), _kind(reader)
    if other is None:
        return True
    return one == other or (one == "integer" and other == "number")


def _is_filled(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (FILLED in schema or "default" in schema)


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _joined(path: str, rest: str) -> str:
    return f"{path}{rest}" if not path or not rest or rest.startswith("[") else f"{path}.{rest}"


def _shown(schema: Schema) -> str:
    kind = _kind(schema)
    if kind is None:
        return "anything" if values(schema) is None else "one of several values"
    return f"{kind} {schema['title']}" if kind == "object" and "title" in schema else kind
