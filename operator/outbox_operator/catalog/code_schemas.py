"""Schemas as quicktype makes right code of them, and of which it makes none. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from outbox_operator.catalog.values import KINDS

Language = Literal["typescript", "go"]

HOLDER: Final = "Holder"
"""End of the name of what holds a payload that has no type of its own."""
_PART: Final = ("items", "additionalProperties")
_LIST: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME: Final = ("properties", "patternProperties", "$defs")
_UNION: Final = ("anyOf", "oneOf")


def prepared(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without what quicktype makes wrong code of."""
    done: dict[str, Any] = _mapped(schema)
    return done


def is_held(schema: Mapping[str, Any], language: Language) -> bool:
    """Whether quicktype makes a type of a payload only where something holds it."""
    if language == "typescript":
        return not _has_fields(schema)
    # What may be null is a pointer there, which has no methods, and a moment would lose its own.
    named: Mapping[str, Any] = schema.get("$defs", {})
    moment = _found(schema, named).get("format") == "date-time"
    return moment or bool({"null", ""} & _kinds(schema, named))


def held(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that holds such a payload, of which there is a type."""
    inner = {name: value for name, value in schema.items() if name not in ("$schema", "$defs")}
    inner["title"] = f"{schema['title']}Payload"
    return {
        "$schema": schema.get("$schema"), "$defs": schema.get("$defs", {}), "type": "object",
        "properties": {"payload": inner}, "required": ["payload"],
        "title": f"{schema['title']}{HOLDER}",
    }  # fmt: skip


def endless(schema: Mapping[str, Any], language: Language) -> str | None:
    """Where a payload has something that holds itself, and no type with a name is between.

    A type that is written where it is used has no end then. Classes have names, and in Go unions.

    Args:
        schema: One of `prepared`.
        language: Of the code.

    Returns:
        The path, `tree.nodes[]`; empty: the payload itself; None: there is no such place.
    """
    named: Mapping[str, Any] = schema.get("$defs", {})
    paths: dict[str, str] = {}
    within: dict[str, set[str]] = {"": set()}
    todo = deque([("", schema, "")])

    def look(owner: str, part: Any, path: str, written_here: bool) -> None:
        if not isinstance(part, Mapping):
            return
        if (name := _reference(part)) in named:
            if written_here:
                within[owner].add(name)
            if name not in paths:
                paths[name] = path
                within[name] = set()
                todo.append((name, named[name], path))
            return
        for step, inner, has_name in _steps(part, named, language):
            look(owner, inner, f"{path}{step}".lstrip("."), written_here and not has_name)

    while todo:
        owner, part, path = todo.popleft()
        look(owner, part, path, True)
    return next((path for name, path in paths.items() if name in _reached(name, within)), None)


def _reached(name: str, edges: Mapping[str, set[str]]) -> set[str]:
    found, todo = set[str](), [name]
    while todo:
        new = edges[todo.pop()] - found
        found |= new
        todo += new
    return found


def _steps(
    part: Mapping[str, Any], named: Mapping[str, Any], language: Language
) -> Iterator[tuple[str, Any, bool]]:
    """What is in a part: step of its path, schema, whether a type with a name is between."""
    union = language == "go" and len(_kinds(part, named) - {"null"}) > 1
    for key, one in part.items():
        if key == "properties":
            yield from ((f".{name}", inner, True) for name, inner in one.items())
        elif key in _PART:
            yield "[]" if key == "items" else ".*", one, False
        elif key in _LIST:
            for index, inner in enumerate(one):
                step = f"[{index}]" if key == "prefixItems" else ""
                yield step, inner, union and key in _UNION


def _mapped(part: Any) -> Any:
    """The same with each dictionary in it changed."""
    if not isinstance(part, Mapping):
        return part
    done = dict[str, Any]()
    for key, one in part.items():
        if key in _PART:
            done[key] = _mapped(one)
        elif key in _LIST:
            done[key] = [_mapped(inner) for inner in one]
        elif key in _BY_NAME:
            done[key] = {name: _mapped(inner) for name, inner in one.items()}
        else:
            done[key] = one
    patterns = done.get("patternProperties", {})
    if len(patterns) == 1 and "additionalProperties" not in done:
        # Then its values have a type at least.
        done["additionalProperties"] = next(iter(done.pop("patternProperties").values()))
    if done.get("properties") and isinstance(done.get("additionalProperties"), Mapping):
        # In TypeScript no field could have another type than these; Go has them not.
        done["additionalProperties"] = True
    return done


def _has_fields(schema: Mapping[str, Any]) -> bool:
    """Whether it is an object with fields. Of all else, which it inlines, quicktype makes no type
    in TypeScript."""
    found = _found(schema, schema.get("$defs", {}))
    return found.get("type") == "object" and bool(found.get("properties"))


def _kinds(part: Any, named: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> set[str]:
    """Kinds of JSON's values that something may be; an empty one: any."""
    if not isinstance(part, Mapping):
        return {""}
    if (name := _reference(part)) in named:
        return set() if name in seen else _kinds(named[name], named, seen | {name})
    parts = part.get("anyOf") or part.get("oneOf")
    if parts:
        return {kind for one in parts for kind in _kinds(one, named, seen)}
    if isinstance(kind := part.get("type"), str):
        return {kind}
    listed = part.get("enum", [part["const"]] if "const" in part else [])
    return {KINDS[type(one)] for one in listed} or {""}


def _found(part: Any, named: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to."""
    seen = set[str]()
    while isinstance(part, Mapping) and (name := _reference(part)) in named and name not in seen:
        seen.add(name)
        part = named[name]
    return part if isinstance(part, Mapping) else {}


def _reference(part: Mapping[str, Any]) -> str:
    found = part.get("$ref")
    return found.removeprefix("#/$defs/") if isinstance(found, str) else ""
