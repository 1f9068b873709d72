"""What an API server would refuse by the rules of our resource definitions, in its words. Pure.

Called where no API server sees a manifest: by `dev.manifest`. The rules are those that `api.crdgen`
writes into the definitions, and stand nowhere else. What breaks a type, a pattern or a bound
pydantic has refused before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from outbox_operator.api import cel
from outbox_operator.api.crdgen import Schema, structural_schema
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
