"""From JSON documents to checked values, with errors that name the field. Needs pydantic.

The roles load their configuration here; resources of the API and payloads of events are checked
by the same library and their faults told in the same words.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from outbox_operator.errors import SpecError
from outbox_operator.wire.config import CONFIG_PATH_ENV

T = TypeVar("T")
_ALIKE: Final = 0.8
_ANY: Final = "[]"
"""Stands for the items of a list."""
_TYPES: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""What a field was to be, by pydantic's name of the error that it is something else."""


def problems(
    error: ValidationError,
    *under: str,
    kind: type[BaseModel] | None = None,
    whole: str = "document",
    told: Callable[[str, str | None], str] | None = None,
) -> str:
    """What is wrong, each field with its rule and never with its value, which may be a secret.

    Args:
        error: Of the validation.
        under: Where the value stands in a larger document.
        kind: What the value was to be: a field that it does not know is told the nearest it does.
        whole: What it is called where no field of it is wrong, but all of it.
        told: Says in words what an expression wants, and what was found if that may be said; None:
            it was no text.
    """
    return "; ".join(
        f"{path((*under, *found['loc'])) or whole}: {_rule(found, under, kind, told)}"
        for found in error.errors(include_url=False)
    )


def path(parts: Iterable[str | int]) -> str:
    """A place in a document, as `spec.consumers[0].handler`."""
    said = ""
    for part in parts:
        if isinstance(part, int):
            said += f"[{part}]"
        else:
            said += part if not said or part == _ANY else f".{part}"
    return said


def _rule(
    found: Any,
    under: tuple[str, ...],
    kind: type[BaseModel] | None,
    told: Callable[[str, str | None], str] | None,
) -> str:
    if found["type"] in _TYPES:
        wanted = f"wanted {_TYPES[found['type']]}"
        if told is not None and kind is not None:
            pattern = _pattern(kind, found["loc"])
            wanted = wanted if pattern is None else told(pattern, None)
        return f"{wanted}, found {_kind(found['input'])}"
    if found["type"] == "missing":
        return "is missing"
    if found["type"] == "string_pattern_mismatch" and told is not None:
        return told(found["ctx"]["pattern"], found["input"])
    if found["type"] != "extra_forbidden":
        return str(found["msg"])
    near = _nearest(found["loc"], _fields(kind)) if kind is not None else None
    if near is None:
        return "is not known"
    return f"is not known (did you mean {path((*under, *near))}?)"


def _kind(value: object) -> str:
    """What somebody wrote, without its value."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return "a number" if value == value // 1 else "a number with a fraction"
    for kind, said in ((str, "a text"), (Mapping, "a mapping"), (list, "a list")):
        if isinstance(value, kind):
            return said
    return f"a {type(value).__name__}"


def _pattern(kind: type[BaseModel], loc: tuple[str | int, ...]) -> str | None:
    """The expression that a field's text has to match; None: it has none, or is no text."""
    whole = kind.model_json_schema()
    schemas = [whole]
    for part in loc:
        schemas = [
            inner
            for one in _plain(schemas, whole)
            for inner in (
                one.get("items") if isinstance(part, int) else one.get("properties", {}).get(part),
                one.get("additionalProperties"),
            )
            if isinstance(inner, dict)
        ]
    return next((one["pattern"] for one in _plain(schemas, whole) if "pattern" in one), None)


def _plain(schemas: Iterable[dict[str, Any]], whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Schemas without references and alternatives."""
    for one in schemas:
        if "$ref" in one:
            yield from _plain([whole["$defs"][one["$ref"].rpartition("/")[2]]], whole)
        elif inner := one.get("anyOf") or one.get("allOf") or one.get("oneOf"):
            yield from _plain(inner, whole)
        else:
            yield one


def _nearest(
    loc: tuple[str | int, ...], known: Iterable[tuple[str, ...]]
) -> tuple[str | int, ...] | None:
    """The field with the most similar name: beside this one, else anywhere, the nearest first.

    Args:
        loc: Where a field stands that is not known.
        known: All that are; `[]` stands for items of a list.

    Returns:
        Where that field is, in the items of lists that the place is in.
    """
    place = tuple(_ANY if isinstance(part, int) else part for part in loc)
    every = list(known)
    beside = [one for one in every if one[:-1] == place[:-1]]
    for among in (beside, every):
        names = {one[-1] for one in among}
        if near := difflib.get_close_matches(place[-1], names, n=1, cutoff=_ALIKE):
            named = [one for one in among if one[-1] == near[0]]
            best = min(named, key=lambda one: (-_shared(one, place), len(one)))
            shared = _shared(best, place)
            return (*loc[:shared], *best[shared:])
    return None


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts two places begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    others = (at for at, (left, right) in pairs if left != right)
    return next(others, min(len(one), len(other)))


def _fields(kind: type[BaseModel], *under: str) -> Iterator[tuple[str, ...]]:
    """Path of every field of a model and of the models in it; `[]` stands for items of a list."""
    for own, field in kind.model_fields.items():
        name = field.alias or own
        yield (*under, name)
        for inner, place in _models(field.annotation):
            yield from _fields(inner, *under, name, *place)


def _models(annotation: object) -> Iterator[tuple[type[BaseModel], tuple[str, ...]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ()
        return
    item = (_ANY,) if get_origin(annotation) is list else ()
    for part in get_args(annotation):
        for model, place in _models(part):
            yield model, (*item, *place)


def parse(kind: type[T], text: str | bytes, where: str) -> T:
    """A configuration in a JSON document.

    Args:
        kind: What it is to be.
        text: The document.
        where: Its name, for messages.

    Raises:
        SpecError: It is none; names each field with what is wrong.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise SpecError(f"configuration {where}: {problems(error)}") from error


def read(path: str | None, role: str) -> tuple[bytes, str]:
    """The text of the configuration file of a process, and its name.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.
        role: Whose configuration it is, for messages.

    Raises:
        SpecError: The variable is not set, or the file cannot be read; names it.
    """
    name = path or os.environ.get(CONFIG_PATH_ENV)
    if not name:
        raise SpecError(
            f"no configuration: --config FILE names the {role}'s JSON file, or the variable "
            f"{CONFIG_PATH_ENV}"
        )
    try:
        return Path(name).read_bytes(), name
    except OSError as error:
        raise SpecError(f"configuration {name}: cannot be read: {error.strerror}") from error
