"""What an API server would refuse by the rules of our resource definitions, in its words. Pure.

Called where no API server sees a manifest: by `dev.manifest`. The rules are those that `api.crdgen`
writes into the definitions, and stand nowhere else. What breaks a type, a pattern or a bound
pydantic refuses, but for texts that look like numbers or truth values: these are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from outbox_operator.api import cel
from outbox_operator.api.crdgen import Schema, structural_schema
from outbox_operator.api.patterns import LONGEST_SHOWN
from outbox_operator.wire.times import parse_time

_NOTHING: Final = object()
"""What was before, where nothing was or nobody can say which it was: a rule of a change rests."""
_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE
)


def refusals(spec: BaseModel, before: BaseModel | None = None) -> list[str]:
    """What is wrong with a spec, or with its change: each the field and the sentence of the rule.

    Args:
        spec: As it is to be, parsed: with all defaults, as an API server has filled them in before
            it looks.
        before: As it was, when it was taken; None: there was none.
    """
    return list(
        _refused(
            _schema(type(spec)), "spec", _document(spec),
            _NOTHING if before is None else _document(before),
        )
    )  # fmt: skip


def mistyped(kind: type[BaseModel], spec: object) -> list[str]:
    """Numbers and truth values that are texts, or one another, each with its field.

    Pydantic would take them for what they look like, an API server does not.

    Args:
        spec: As it stands in a manifest.
    """
    return list(_mistyped(_schema(kind), "spec", spec))


def _mistyped(schema: Schema, path: str, found: object) -> Iterator[str]:
    words, is_one = _TYPES.get(schema.get("type", ""), ("", None))
    if found is not None and is_one is not None and not is_one(found):
        yield f"{path}: wanted {words}{_found(found)}"
    if isinstance(found, Mapping):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, value in found.items():
            if (inner := properties.get(name, others)) is not None:
                yield from _mistyped(inner, f"{path}.{name}", value)
    elif isinstance(found, list):
        for place, item in enumerate(found):
            yield from _mistyped(schema.get("items", {}), f"{path}[{place}]", item)


def _is_integer(found: object) -> bool:
    whole = isinstance(found, float) and found.is_integer()
    return whole or (isinstance(found, int) and not isinstance(found, bool))


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _is_truth(found: object) -> bool:
    return isinstance(found, bool)


_TYPES: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "integer": ("an integer", _is_integer),
    "number": ("a number", _is_number),
    "boolean": ("true or false", _is_truth),
}


def _found(value: object) -> str:
    """What stands there, where that can be no secret: as `patterns.told`, and nothing of maps."""
    if isinstance(value, Mapping | list):
        return f", found a {'map' if isinstance(value, Mapping) else 'list'}"
    if isinstance(value, str) and "://" in value:
        return ""
    text = repr(value)
    return f", found {text if len(text) <= LONGEST_SHOWN else f'{text[:LONGEST_SHOWN]}…'}"


@cache
def _schema(kind: type[BaseModel]) -> Schema:
    return structural_schema(kind, defaults=False)


def _document(spec: BaseModel) -> Any:
    return spec.model_dump(by_alias=True, exclude_none=True)


def _refused(schema: Schema, path: str, now: Any, before: Any) -> Iterator[str]:
    for one in schema.get("x-kubernetes-validations", ()):
        if before is _NOTHING and "oldSelf" in one["rule"]:
            continue
        if not cel.holds(one["rule"], self=now, oldSelf=before):
            yield f"{path}: {one['message']}"
    if isinstance(now, Mapping):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        was = before if isinstance(before, Mapping) else {}
        for name, value in now.items():
            if (inner := properties.get(name, others)) is not None:
                yield from _refused(inner, f"{path}.{name}", value, was.get(name, _NOTHING))
    elif isinstance(now, list):
        yield from _refused_items(schema, path, now, [] if before is _NOTHING else before)
    elif schema.get("format") == "date-time" and not _is_date_time(now):
        yield f"{path}: must be of type date-time, for example 2026-01-31T12:00:00Z"


def _refused_items(
    schema: Schema, path: str, now: Sequence[Any], before: Sequence[Any]
) -> Iterator[str]:
    """Items of a list: those of one with keys are known again by them, others are all new."""
    keys = schema.get("x-kubernetes-list-map-keys", ())
    was = {_key(item, keys): item for item in before} if keys else {}
    seen = set()
    for place, item in enumerate(now):
        key = _key(item, keys) if keys else (place,)
        where = f"{path}[{','.join(map(str, key))}]"
        if key in seen:
            yield f"{where}: Duplicate value"
        seen.add(key)
        yield from _refused(schema["items"], where, item, was.get(key, _NOTHING))


def _key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)


def _is_date_time(text: str) -> bool:
    return _DATE_TIME.fullmatch(text) is not None and parse_time(text.upper()) is not None
