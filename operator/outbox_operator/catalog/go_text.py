"""What quicktype writes of Go, as gofmt has it and the compiler takes it. Pure.

gofmt itself is where Go is, and a file that is made of the same schemas is the same everywhere.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

_HELPER: Final = re.compile(r"^func (?:un)?marshalUnion\(.*?^}\n", re.M | re.S)
_INDENT: Final = re.compile(r"^\t\t+", re.M)
_PACKAGE: Final = re.compile(r"^package \w+\n", re.M)
_STRUCT: Final = re.compile(r"(^type \w+ struct {\n)(.*?)(?=^}\n)", re.M | re.S)
_TIME: Final = re.compile(r'^import "time"\n', re.M)
_USES_TIME: Final = re.compile(r"^(?!\s*//).*[ *\]]time\.Time\b", re.M)
_WITH_MOMENT: Final = re.compile(
    r"^type (\w+) struct {\n(?:\t\w+ +\S+\n)*\tDateTime +\*time\.Time\n(?:\t\w+ +\S+\n)*}\n", re.M
)
"""A union: its fields have no names in JSON."""
_FIELD: Final = re.compile(r"\t(\w+) +(\S+)(?: +(`.*))?")


def tidied(text: str) -> str:
    """Return the same program; empty text stays empty."""
    for name in _WITH_MOMENT.findall(text):
        text = _moment_as_text(text, name)
    used = _USES_TIME.search(text)
    if used and not _TIME.search(text):  # lists and dictionaries bring no import
        text = _PACKAGE.sub(r'\g<0>\nimport "time"\n', text, count=1)
    elif not used:
        text = _TIME.sub("", text)
    text = _HELPER.sub(lambda found: _INDENT.sub(_indented, found[0]), text)
    return _STRUCT.sub(lambda found: found[1] + "".join(_aligned(found[2].splitlines())), text)


def _moment_as_text(text: str, union: str) -> str:
    """A union that may be text where it might be a moment: that it would write and never read."""
    text = re.sub(
        rf"(?<=^type {union} struct {{\n)(.*?)^\tDateTime( +)\*time\.Time$", r"\1\tString\2*string",
        text, count=1, flags=re.M | re.S,
    )  # fmt: skip
    for pattern, given in (
        (
            rf"^func \(x \*{union}\) UnmarshalJSON.*?unmarshalUnion\(data(?:, [^,]+){{3}}, ",
            "&x.String",
        ),
        (rf"^func \(x \*{union}\) MarshalJSON.*?marshalUnion\([^,]+(?:, [^,]+){{2}}, ", "x.String"),
    ):
        text = re.sub(rf"({pattern})nil", rf"\g<1>{given}", text, count=1, flags=re.M | re.S)
    return text


def _indented(found: re.Match[str]) -> str:
    """In these functions it indents by two but for the first time."""
    return "\t" * ((len(found[0]) + 1) // 2)


def _aligned(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a struct. What stands between two comments is aligned, and no comment is."""
    for is_field, group in itertools.groupby(lines, lambda line: bool(_FIELD.fullmatch(line))):
        if not is_field:
            yield from (f"{line.rstrip()}\n" for line in group)
            continue
        rows = [_cells(*found.groups("")) for found in map(_FIELD.fullmatch, group) if found]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        for name, kind, tag in rows:
            yield f"\t{name:<{first}} {kind:<{second}} {tag}".rstrip() + "\n"


def _cells(name: str, kind: str, tag: str) -> tuple[str, str, str]:
    """A field that others can see: JSON skips all others, as one that begins in Chinese."""
    return (name if name[:1].isupper() else f"X{name}"), kind, tag
