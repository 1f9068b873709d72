"""From JSON documents to checked values, with errors that name the field. Needs pydantic.

The roles load their configuration here; resources of the API and payloads of events are checked
by the same library and their faults told in the same words.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from outbox_operator.errors import SpecError
from outbox_operator.wire.config import CONFIG_PATH_ENV

T = TypeVar("T")
_ALIKE: Final = 0.8
_ANY: Final = "[]"
"""Stands for the items of a list."""


def problems(
    error: ValidationError,
    *under: str,
    kind: type[BaseModel] | None = None,
    whole: str = "document",
    told: Callable[[str, str], str] | None = None,
) -> str:
    """What is wrong, each field with its rule and never with its value, which may be a secret.

    Args:
        error: Of the validation.
        under: Where the value stands in a larger document.
        kind: What the value was to be: a field that it does not know is told the nearest it does.
        whole: What it is called where no field of it is wrong, but all of it.
        told: Says in words what an expression wants, and what was found if that may be said.
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
    told: Callable[[str, str], str] | None,
) -> str:
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
            f"no configuration: set {CONFIG_PATH_ENV} to the path of the {role}'s JSON file"
        )
    try:
        return Path(name).read_bytes(), name
    except OSError as error:
        raise SpecError(f"configuration {name}: cannot be read: {error.strerror}") from error
