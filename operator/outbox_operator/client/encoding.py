"""Payloads as JSON text: what an application holds, in the form a reader would expect.

Used by `client.outbox` and `client.inbox`. Pure.

    datetime, date, time    ISO 8601 text
    UUID                    text
    Decimal                 text, so that no reader turns 12.30 into 12.3 or 12.299999
    Enum                    its value
    dataclass               object of its fields
    pydantic model          its `model_dump(mode="json")`
    set, frozenset          list
    bytes, NaN, infinity    refused
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Final

from outbox_operator.errors import EventError

_DEEPEST: Final = 200


def to_json(where: str, field: str, value: object) -> str:
    """JSON text of `value`, such that PostgreSQL takes it as jsonb.

    Args:
        where: Names the event, for messages.
        field: Names the value, for messages.
        value: What to encode.

    Raises:
        EventError: Something in it has no JSON form; names the path to it.
    """
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise EventError(f"{where}: {_culprit(field, value) or f'{field}: {error}'}") from error
    if "\\u0000" in text:
        culprit = _culprit(field, value)
        if culprit is not None:
            raise EventError(f"{where}: {culprit}")
    return text


def _plain(value: object) -> object:
    """One step towards JSON for a value that the encoder does not know."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise TypeError("is not a finite number")
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(
            "is bytes, which JSON cannot hold; encode it yourself (base64), or use a pipeline "
            "with payloadType bytea"
        )
    raise TypeError(f"is {type(value).__name__}, which has no JSON form here")


# Made once: this runs for every event.
_ENCODER: Final = json.JSONEncoder(
    default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)


def _culprit(field: str, value: object) -> str | None:
    """Path and fault of the first thing that cannot be encoded. Runs on failures only."""
    return next(_faults(field, value, depth=0), None)


def _faults(path: str, value: object, depth: int) -> Iterator[str]:
    fault = _fault(value)
    if fault is not None:
        yield f"{path} {fault}"
    elif depth > _DEEPEST:
        yield f"{path} is nested more than {_DEEPEST} levels deep, or holds itself"
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str | int | float | None):
                yield f"{path}: key {name!r} is {type(name).__name__}; use text as key"
            elif (fault := _fault(name)) is not None:
                yield f"{path}: key {name!r} {fault}"
            yield from _faults(f"{path}.{name}", item, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _faults(f"{path}[{index}]", item, depth + 1)
    elif not isinstance(value, str | int | float | None):
        yield from _faults(path, _plain(value), depth + 1)


def _fault(item: object) -> str | None:
    """What is wrong with one value, not looking inside it."""
    if isinstance(item, str):
        if "\x00" in item:
            return "holds a NUL character, which PostgreSQL cannot store"
        try:
            item.encode()
        except UnicodeEncodeError:
            return "holds half a surrogate pair, which is not text"
        return None
    if isinstance(item, float) and not math.isfinite(item):
        return f"is {item}, which JSON cannot hold"
    if item is None or isinstance(item, int | float | list | tuple | dict):
        return None
    try:
        _plain(item)
    except TypeError as error:
        return str(error)
    return None
