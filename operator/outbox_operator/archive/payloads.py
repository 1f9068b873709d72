"""From the bytes of a payload to what the archive stores of it. Pure.

PostgreSQL takes less for JSON than publishers send: no NUL characters, no half of a surrogate pair,
no number of any length. What it would refuse is found here, and stored as bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from outbox_operator.wire.json_paths import JsonPath

MOST_DEPTH: Final = 256
"""Objects and lists within each other; programs that read more deeply may not live through it."""
_MOST_NUMBER: Final = 300
"""Characters of a number with a fraction or an exponent, and the largest exponent."""
_SUSPECT: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class NotStorableError(ValueError):
    """A payload is no JSON, or none that PostgreSQL takes; says why, for a note."""


@dataclass(slots=True)
class Payload:
    """What is stored of a payload: one of `text`, `raw` and `sha256`, or nothing of an empty one.

    Attributes:
        text: JSON.
        raw: Bytes that are no JSON.
        sha256: Hash of what must not be stored because nobody can tell what is in it.
        note: Why it is not stored as its publisher meant it; None: it is.
        document: The parsed JSON, without what is redacted.
    """

    text: str | None = None
    raw: bytes | None = None
    sha256: bytes | None = None
    note: str | None = None
    document: Any = None


class Number(str):
    """A number with a fraction or an exponent, as it is written: a float would change it."""

    __slots__ = ()


def payload_of(data: bytes, content_type: str | None, redact: Sequence[JsonPath]) -> Payload:
    """Decide what to store of a payload.

    Args:
        data: As it was sent.
        content_type: As the message says; None: it does not.
        redact: What must not be stored.
    """
    if not data:
        return Payload()
    if not _is_json(content_type):
        return unparsed(data, None, withhold=bool(redact))
    try:
        text, document = parse(data)
    except NotStorableError as error:
        return unparsed(data, str(error), withhold=bool(redact))
    if redact and sum(path.remove(document) for path in redact):
        text = written(document)
    return Payload(text=text, document=document)


def unparsed(data: bytes, why: str | None, *, withhold: bool) -> Payload:
    """What to store of bytes that nobody can look into.

    Args:
        data: The bytes.
        why: Why they are no JSON, though they should be; None: they need not be.
        withhold: Whether something is redacted, which may be in them.
    """
    if withhold:
        said = "payload withheld, because what is redacted cannot be found in it"
        return Payload(sha256=hashlib.sha256(data).digest(), note=f"{said}: {why}" if why else said)
    return Payload(raw=data, note=None if why is None else f"payload stored as bytes: {why}")


def parse(data: bytes) -> tuple[str, Any]:
    """Text and value of JSON that PostgreSQL takes.

    Raises:
        NotStorableError: It is none.
    """
    try:
        text = data.decode()
        document = _decode(text)
    except UnicodeDecodeError:
        raise NotStorableError("it is not UTF-8") from None
    except RecursionError:
        raise NotStorableError(f"it is nested more than {MOST_DEPTH}-fold") from None
    except NotStorableError:
        raise
    except json.JSONDecodeError as error:
        raise NotStorableError(f"it is no JSON at character {error.pos}") from None
    except ValueError:
        raise NotStorableError("it has a number of thousands of digits") from None
    if text.count("[") + text.count("{") > MOST_DEPTH and _depth(text) > MOST_DEPTH:
        raise NotStorableError(f"it is nested more than {MOST_DEPTH}-fold")
    if "\\u" in text and _SUSPECT.search(text):
        _check_texts(document)
    return text, document


def written(document: Any) -> str:
    """JSON of a parsed document, its numbers as they were written."""
    if isinstance(document, dict):
        members = (f"{json.dumps(name)}:{written(value)}" for name, value in document.items())
        return "{" + ",".join(members) + "}"
    if isinstance(document, list):
        return "[" + ",".join(map(written, document)) + "]"
    return str(document) if isinstance(document, Number) else json.dumps(document)


def scalar(value: Any) -> str | None:
    """A value as the text of a column; None for what is no single value."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None


def _number(text: str) -> Number:
    exponent = text.lower().partition("e")[2].lstrip("+-0")
    if len(text) > _MOST_NUMBER or len(exponent) > 3 or int(exponent or 0) > _MOST_NUMBER:
        raise NotStorableError("it has a number that is too large or too exact")
    return Number(text)


def _constant(name: str) -> NoReturn:
    raise NotStorableError(f"it has {name}, which is no JSON")


_decoder: Final = json.JSONDecoder(parse_float=_number, parse_constant=_constant)


def _decode(text: str) -> Any:
    """As the decoder's own method, which looks for space around a document as long again."""
    if text.startswith("{"):
        document, end = _decoder.raw_decode(text)
        if end == len(text):
            return document
    return _decoder.decode(text)


def _is_json(content_type: str | None) -> bool:
    if content_type is None or content_type == "application/json":
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("", "application/json", "text/json") or kind.endswith("+json")


def _depth(text: str) -> int:
    """How deeply a valid document is nested."""
    deepest = depth = 0
    for one in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        mark = one[0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _check_texts(document: Any) -> None:
    """Refuse texts that PostgreSQL has no room for."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if "\0" in value:
                raise NotStorableError("it has a NUL character in a text")
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise NotStorableError("it has half of a surrogate pair in a text") from None
