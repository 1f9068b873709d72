"""Subject templates: parse, render with escaping, and cover tests between subject filters.

A template such as `orders.{event_type}` is rendered over a row's columns. A value fills one or
more tokens: dots in `event_type` and `routing_key` are kept (they are hierarchy), everything
NATS cannot carry in a token is percent-encoded, so that rendering never fails and never lets a
row escape into another subject space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from outbox_operator.errors import SpecError

COLUMNS: Final = ("event_type", "partition_key", "routing_key", "shard", "schema")
"""Placeholders a template may use."""

_HIERARCHICAL: Final = frozenset({"event_type", "routing_key"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_UNSAFE_IN_TOKEN: Final = re.compile(r"[^A-Za-z0-9_\-=@:/+!$#,;|~^()\[\]&'\"?]")
_LITERAL: Final = re.compile(r"^[^\s*>{}\x00-\x1f\x7f]*$")
_CHANCE_CHARACTERS: Final = 5
MAX_SUBJECT_BYTES: Final = 1024


def escape_token(value: str) -> str:
    """Make any text one valid, non-empty subject token; reversible percent-encoding of UTF-8."""
    if not value:
        return "_"
    return _UNSAFE_IN_TOKEN.sub(
        lambda m: "".join(f"%{byte:02X}" for byte in m.group().encode()), value
    )


def names_key(subject: str, key: str) -> bool:
    """Return whether a subject has a partition key in it, which may be a person's: as a token, or
    within one if it is too long for that to be by chance."""
    if not key:
        return False
    token = escape_token(key)
    return token in subject.split(".") or (len(token) > _CHANCE_CHARACTERS and token in subject)


def escape_tokens(value: str) -> str:
    """Like `escape_token`, but dots separate tokens; empty tokens become `_`."""
    return ".".join(escape_token(token) for token in value.split("."))


@dataclass(frozen=True, slots=True)
class SubjectTemplate:
    """A parsed template: literal pieces around placeholders.

    Attributes:
        text: The template as written.
        pieces: Alternating literal and placeholder name; literals at even positions.
    """

    text: str
    pieces: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> SubjectTemplate:
        """Parse and check a template.

        Raises:
            SpecError: An unknown placeholder, a bad literal, or an empty token.
        """
        pieces = tuple(_PLACEHOLDER.split(text))
        for name in pieces[1::2]:
            if name not in COLUMNS:
                known = ", ".join("{" + column + "}" for column in COLUMNS)
                raise SpecError(
                    f"subject template {text!r}: unknown placeholder {{{name}}}; use one of {known}"
                )
        for literal in pieces[0::2]:
            if not _LITERAL.fullmatch(literal):
                raise SpecError(
                    f"subject template {text!r}: {literal!r} holds a space, wildcard or brace; "
                    "a template names exactly one subject"
                )
        template = cls(text, pieces)
        if any(not token for token in template.filter().split(".")):
            raise SpecError(
                f"subject template {text!r}: empty token (two dots, or a dot at an end)"
            )
        return template

    def render(self, row: Mapping[str, str]) -> str:
        """The concrete subject of a row. `row` maps each placeholder used to its text."""
        parts = list(self.pieces)
        for index in range(1, len(parts), 2):
            name = parts[index]
            value = row[name]
            parts[index] = escape_tokens(value) if name in _HIERARCHICAL else escape_token(value)
        return "".join(parts)

    def filter(self, *, shard: int | None = None) -> str:
        """The narrowest subject filter that covers every rendered subject.

        A hierarchical placeholder may span tokens: alone at the end it becomes `>`; anywhere
        else everything from there on can only be covered by `>`.

        Args:
            shard: Only the subjects of this shard, as far as a token tells shards apart.
        """
        tokens: list[str] = []
        for token in _split_tokens(self.pieces):
            names = [piece for piece, is_name in token if is_name]
            if any(name in _HIERARCHICAL for name in names):
                return ".".join([*tokens, ">"])
            if shard is not None and token == [("shard", True)]:
                tokens.append(str(shard))
                continue
            tokens.append("*" if names else "".join(piece for piece, _ in token))
        return ".".join(tokens)

    def separates_shards(self) -> bool:
        """Whether every shard has a subject filter of its own."""
        return self.filter(shard=0) != self.filter()


def _split_tokens(pieces: tuple[str, ...]) -> list[list[tuple[str, bool]]]:
    """Template pieces regrouped by subject token; each piece says whether it is a placeholder."""
    tokens: list[list[tuple[str, bool]]] = [[]]
    for index, piece in enumerate(pieces):
        if index % 2:
            tokens[-1].append((piece, True))
            continue
        first, *rest = piece.split(".")
        if first:
            tokens[-1].append((first, False))
        tokens.extend([(part, False)] if part else [] for part in rest)
    return tokens


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that matches filter `narrow` also matches filter `wide`."""
    wide_parts, narrow_parts = wide.split("."), narrow.split(".")
    for index, part in enumerate(wide_parts):
        if part == ">":
            return len(narrow_parts) > index
        if index >= len(narrow_parts):
            return False
        other = narrow_parts[index]
        if other == ">" or (other == "*" and part != "*") or (part != "*" and part != other):
            return False
    return len(wide_parts) == len(narrow_parts)


def overlaps(a: str, b: str) -> bool:
    """Whether some subject matches both filters (JetStream forbids that between streams)."""
    a_parts, b_parts = a.split("."), b.split(".")
    for x, y in zip(a_parts, b_parts, strict=False):
        if ">" in (x, y):
            return True
        if x != y and "*" not in (x, y):
            return False
    return len(a_parts) == len(b_parts)


def common_subject(a: str, b: str) -> str | None:
    """Return a subject that matches both filters; None: there is none."""
    if not overlaps(a, b):
        return None
    a_parts, b_parts = a.split("."), b.split(".")
    tokens: list[str] = []
    for x, y in zip_longest(a_parts, b_parts, fillvalue=">"):
        token = y if x in ("*", ">") else x
        tokens.append("_" if token in ("*", ">") else token)
    return ".".join(tokens)


def is_valid_filter(subject: str) -> bool:
    """Whether NATS accepts this text as a subject or subject filter."""
    tokens = subject.split(".")
    return (
        0 < len(subject.encode()) <= MAX_SUBJECT_BYTES
        and all(tokens)
        and not re.search(r"[\s\x00-\x1f\x7f]", subject)
        and ">" not in tokens[:-1]
        and all(token in ("*", ">") or ("*" not in token and ">" not in token) for token in tokens)
    )


def nudge_subject(namespace: str, pipeline: str) -> str:
    """Core-NATS subject on which producers wake a pipeline's relay after a commit.

    Messages on it are empty and may be lost: the relay polls anyway.
    """
    return f"outbox.nudge.{escape_token(namespace)}.{escape_token(pipeline)}"


@dataclass(frozen=True, slots=True)
class _Coded:
    """A filter as numbers, so that two of hundreds of tokens are compared at once.

    Attributes:
        tokens: Before a `>`.
        rest: Whether there is one.
        values: Of each token a number, which is the same for the same token.
        fixed: All bits of those that are no `*`.
    """

    tokens: int
    rest: bool
    values: int
    fixed: int

    @property
    def is_loose(self) -> bool:
        """Whether there is a wildcard in it."""
        return self.rest or self.fixed != (1 << 32 * self.tokens) - 1

    def overlaps(self, other: _Coded) -> bool:
        """As the function."""
        if (self.values ^ other.values) & self.fixed & other.fixed:
            return False
        if self.rest and other.rest:
            return True
        if self.rest:
            return other.tokens > self.tokens
        return self.tokens > other.tokens if other.rest else self.tokens == other.tokens

    def covers(self, other: _Coded) -> bool:
        """As the function."""
        if (self.values ^ other.values) & self.fixed or self.fixed & ~other.fixed:
            return False
        if self.rest:
            return other.tokens + other.rest > self.tokens
        return self.tokens == other.tokens and not other.rest


_LOOSE: Final = b"\0\0\0\0"
_FIXED: Final = b"\xff\xff\xff\xff"


def _coded(filters: Sequence[str]) -> list[_Coded]:
    numbers: dict[str, int] = {"*": 0}
    found = []
    for one in filters:
        tokens = one.split(".")
        if rest := ">" in tokens:
            tokens = tokens[: tokens.index(">")]
        values = (numbers.setdefault(token, len(numbers)) for token in tokens)
        whole = b"".join(value.to_bytes(4, "little") for value in values)
        fixed = b"".join(_LOOSE if part == "*" else _FIXED for part in tokens)
        number = int.from_bytes(whole, "little")
        found.append(_Coded(len(tokens), rest, number, int.from_bytes(fixed, "little")))
    return found


def first_overlap(filters: Sequence[str]) -> tuple[int, int] | None:
    """Find the first of some filters that overlaps an earlier one; None: none does.

    For hundreds of filters, each of hundreds of tokens, as a resource may have them.

    Returns:
        The place of the earlier one, and its own.
    """
    loose: list[tuple[int, _Coded]] = []
    before: list[tuple[int, _Coded]] = []
    equal: dict[str, int] = {}
    for index, (one, code) in enumerate(zip(filters, _coded(filters), strict=True)):
        others = before if code.is_loose else loose
        found = next((place for place, other in others if code.overlaps(other)), None)
        places = [place for place in (found, equal.get(one)) if place is not None]
        if places:
            return min(places), index
        equal[one] = index
        before.append((index, code))
        if code.is_loose:
            loose.append((index, code))
    return None


def widest(filters: Sequence[str]) -> list[str]:
    """Those of some filters, each there once, that no other one covers; see `first_overlap`."""
    coded = _coded(filters)
    loose = [one for one in coded if one.is_loose]
    return [
        one
        for one, code in zip(filters, coded, strict=True)
        if not any(other is not code and other.covers(code) for other in loose)
    ]
