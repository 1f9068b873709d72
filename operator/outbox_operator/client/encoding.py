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

Objects are written with their keys in order.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from outbox_operator.errors import EventError

_DEEPEST: Final = 200
_LONGEST_NAME: Final = 100


class _NoFormError(TypeError):
    """A value that has no JSON form; the message says why, as the end of a sentence."""


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
    except Exception as error:
        # Whatever it is: objects are asked for their own form, and may raise anything.
        culprit = _culprit(field, value)
        if culprit is not None or not isinstance(error, TypeError):
            raise EventError(f"{where}: {culprit or f'{field}: {error}'}") from error
        text = _UNSORTED.encode(value)  # keys of several kinds, which is no fault by itself
    if "\\u0000" in text:
        culprit = _culprit(field, value)
        if culprit is not None:
            raise EventError(f"{where}: {culprit}")
    return text


def jsonb_bytes(text: str, limit: int) -> int:
    """Bytes of the text that PostgreSQL gives back for a jsonb value, which is what is published.

    It puts a blank behind each comma and colon, and writes numbers out: `1e+308` takes 309 bytes.

    Args:
        text: As `to_json` made it.
        limit: Below it the number may be too large: more would not be looked at.
    """
    blanks = text.count(",") + text.count(":")
    short = text.count("e+") + text.count("e-")
    most = len(text.encode()) + blanks + short * _LONGEST_NUMBER
    if most <= limit:
        return most
    bare = _STRING.sub("", text)
    blanks = bare.count(",") + bare.count(":")
    digits = sum(
        len(format(decimal.Decimal(number), "f")) - len(number) for number in _SHORT.findall(bare)
    )
    return len(text.encode()) + blanks + digits


_LONGEST_NUMBER: Final = 340
"""Bytes that a float takes when it is written out: `-2.2250738585072014e-308` takes 326."""
MOST_JSONB_BYTES_EACH: Final = 70
"""What a character of JSON text can become in `jsonb_bytes`: of 5 in `1e-05`, or 6 in `5e-324`."""

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SHORT: Final = re.compile(r"-?[0-9.]+e[+-]?[0-9]+")


def _twins(value: Mapping[Any, object]) -> str | None:
    """What is wrong with the keys of an object, if two of them have the same form in JSON."""
    found: dict[str, object] = {}
    for key in value:
        text = key if isinstance(key, str) else _UNSORTED.encode(key)
        if text in found:
            return f"keys {found[text]!r} and {key!r} are the same in JSON; use text as key"
        found[text] = key
    return None


def _plain(value: object) -> object:
    """One step towards JSON for a value that the encoder does not know."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise _NoFormError("is not a finite number")
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
        raise _NoFormError(
            "is bytes, which JSON cannot hold; encode it yourself (base64), or use a pipeline "
            "with payloadType bytea"
        )
    raise _NoFormError(
        f"is {type(value).__name__}, which has no JSON form here; pass a dict, a dataclass or a "
        "pydantic model"
    )


# Made once: this runs for every event. Two keys can have one form in JSON only if they are of
# different types, and these cannot be sorted: so sorting, which the encoder does fast, finds them.
_ENCODER: Final = json.JSONEncoder(
    default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)
_UNSORTED: Final = json.JSONEncoder(
    default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)


def _culprit(field: str, value: object) -> str | None:
    """Path and fault of the first thing that cannot be encoded. Runs on failures only."""
    return next(_faults(field, value, depth=0), None)


def _faults(path: str, value: object, depth: int) -> Iterator[str]:
    fault = unstorable(value)
    if fault is not None:
        yield f"{path} {fault}"
    elif depth > _DEEPEST:
        yield f"{path} is nested more than {_DEEPEST} levels deep, or holds itself"
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str | int | float | None):
                yield f"{path}: key {name!r} is {type(name).__name__}; use text as key"
            elif (fault := unstorable(name)) is not None:
                yield f"{path}: key {name!r} {fault}"
            yield from _faults(f"{path}.{str(name)[:_LONGEST_NAME]}", item, depth + 1)
        if twins := _twins(value):
            yield f"{path}: {twins}"
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _faults(f"{path}[{index}]", item, depth + 1)
    elif not isinstance(value, str | int | float | None):
        yield from _faults(path, _plain(value), depth + 1)


def unstorable(item: object) -> str | None:
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
    except _NoFormError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever the application's own class raises
        return f"is {type(item).__name__}, whose own form fails: {type(error).__name__}: {error}"
    return None
