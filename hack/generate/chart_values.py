"""docs/reference/values.md: a table line per value of the chart, from the comments in values.yaml.

A comment that starts with `# --` describes the key after it, with everything below that key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HEADER = (
    "<!-- Generated from charts/outbox-operator/values.yaml by `make generate`. Do not edit. -->\n"
)
VALUES = Path("charts/outbox-operator/values.yaml")
PAGE = Path("docs/reference/values.md")
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")
_COMMENT = re.compile(r"^ *# ?(?P<start>-- )?(?P<text>.*)$")


@dataclass(frozen=True)
class Value:
    """One documented value: its path with dots, its default, what it is for."""

    path: str
    default: Any
    meaning: str


def files(root: Path) -> dict[Path, str]:
    """Path to text of the page."""
    return {PAGE: _page(documented((root / VALUES).read_text()))}


def documented(text: str) -> list[Value]:
    """Every documented value, in the order of the file.

    Raises:
        ValueError: Some value has no comment; names it.
    """
    comments = dict(_comments(text))
    found = list(_walk(yaml.safe_load(text), "", comments))
    left = comments.keys() - {value.path for value in found}
    if left:
        raise ValueError(f"values.yaml: comments inside a documented value: {sorted(left)}")
    return found


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """(path, comment) of every key with a comment."""
    above: list[tuple[int, str]] = []
    pending: list[str] | None = None
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            if comment["start"]:
                pending = [comment["text"]]
            elif pending is not None:
                pending.append(comment["text"])
            continue
        if key := _KEY.match(line):
            indent = len(key["indent"])
            above = [(depth, name) for depth, name in above if depth < indent]
            above.append((indent, key["key"]))
            if pending is not None:
                yield ".".join(name for _, name in above), " ".join(pending)
        pending = None


def _walk(node: Mapping[str, Any], prefix: str, comments: Mapping[str, str]) -> Iterator[Value]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if path in comments:
            yield Value(path, value, comments[path])
        elif isinstance(value, dict) and value:
            yield from _walk(value, f"{path}.", comments)
        else:
            raise ValueError(f"values.yaml: {path} has no `# --` comment")


def _page(values: list[Value]) -> str:
    rows = ["| Value | Default | Meaning |", "| --- | --- | --- |"]
    for value in values:
        meaning = value.meaning.replace("|", "\\|")
        rows.append(f"| `{value.path}` | `{json.dumps(value.default)}` | {meaning} |")
    return "\n".join(
        [
            HEADER,
            "# Values of the chart\n",
            "Set them with `--set` or in a file given to `helm install --values`; see "
            "[how to install](../how-to/install.md). A value that is not listed here is refused.\n",
            *rows,
            "",
        ]
    )
