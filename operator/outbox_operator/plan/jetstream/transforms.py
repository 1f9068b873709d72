"""Where a stream that rewrites subjects (`subjectTransform`) is to be published to. Pure.

The server rewrites what comes in, also what it has rewritten before: who publishes a stored message
again needs the subject of before. The destination of a transform of a stream may have literals, one
`>` at the end, and functions of the source's wildcards; only `{{wildcard(n)}}` and `$n` can be
turned back. Tried on nats-server 2.10 to 2.15 (tests/integration/jetstream).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from outbox_operator.wire.headers import without_strays
from outbox_operator.wire.subjects import covers, is_valid_filter

_WILDCARD: Final = re.compile(r"\{\{\s*wildcard\s*\(\s*(\d+)\s*\)\s*\}\}|\$(\d+)", re.IGNORECASE)


def published_as(stored: str, config: Mapping[str, Any]) -> str | None:
    """The subject to publish on so that a stream stores under this one.

    Args:
        stored: Where a message of the stream was, or says that it was: anybody may have written it.
        config: The stream's, as in the JetStream API.

    Returns:
        None: There is none, or nobody can tell which.
    """
    if stored != without_strays(stored) or not _is_one(stored):
        return None
    transform = config.get("subject_transform") or {}
    source, destination = transform.get("src") or ">", transform.get("dest")
    ways = list[str]()
    if not destination or not covers(source, stored):
        ways.append(stored)
    if destination and (before := _turned_back(stored, source, destination)) is not None:
        ways.append(before)
    subjects = config.get("subjects") or ()
    return next((way for way in ways if any(covers(one, way) for one in subjects)), None)


def _is_one(subject: str) -> bool:
    return is_valid_filter(subject) and not {"*", ">"} & set(subject.split("."))


def _turned_back(stored: str, source: str, destination: str) -> str | None:
    """What a transform made this of; None: it did not, or several would become the same."""
    have, wanted = stored.split("."), destination.split(".")
    tail: list[str] = []
    if wanted[-1] == ">":
        wanted.pop()
        have, tail = have[: len(wanted)], have[len(wanted) :]
        if not tail:
            return None
    if len(have) != len(wanted):
        return None
    found: dict[int, str] = {}
    for token, pattern in zip(have, wanted, strict=True):
        match = _WILDCARD.fullmatch(pattern)
        if match is None:
            if token != pattern:  # a literal of another one, or a function with no way back
                return None
            continue
        number = int(match[1] or match[2])
        if found.setdefault(number, token) != token:
            return None
    return _filled(source, found, tail)


def _filled(source: str, found: dict[int, str], tail: list[str]) -> str | None:
    """A filter with its wildcards filled in; None: one of them is not known."""
    parts, number = list[str](), 0
    for part in source.split("."):
        if part == ">":
            parts += tail
        elif part == "*":
            number += 1
            if number not in found:
                return None
            parts.append(found[number])
        else:
            parts.append(part)
    return ".".join(parts)
