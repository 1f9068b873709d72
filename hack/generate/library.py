"""docs/reference/library.md: what applications import, from the docstrings."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args, get_origin

import outbox_operator.client
import outbox_operator.consumer
import outbox_operator.testing
from outbox_operator.errors import OutboxError

HEADER = "<!-- Generated from the docstrings of the library by `make generate`. Do not edit. -->\n"
PAGE = Path("docs/reference/library.md")
MODULES = (outbox_operator.client, outbox_operator.consumer, outbox_operator.testing)
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
ITEM = re.compile(r"^    (\S[^:]*): (.*)$")


_PACKAGES: Final = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z])")


def files() -> dict[Path, str]:
    """Path to text of the page."""
    parts = [
        HEADER,
        "# The library\n",
        "For how to use it see [write events](../how-to/produce-events.md) and "
        "[handle events](../how-to/consume-events.md).\n",
    ]
    for module in MODULES:
        parts += _module(module)
    return {PAGE: "\n".join(parts)}


def _module(module: ModuleType) -> Iterator[str]:
    yield f"## `{module.__name__}`\n"
    yield _text(inspect.getdoc(module) or "")
    for name in module.__all__:
        yield from _class(name, getattr(module, name))


def _class(name: str, kind: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if inspect.isfunction(kind):
        yield f"```python\n{_signature(name, kind)}\n```\n"
        yield _text(inspect.getdoc(kind) or "")
        return
    if not isinstance(kind, type):
        yield f"{_alias(kind)}\n"
        return
    if not issubclass(kind, Exception | enum.Enum):
        yield f"```python\n{_signature(name, kind)}\n```\n"
    yield _text(inspect.getdoc(kind) or "")
    if issubclass(kind, OutboxError):
        return
    for method, member in vars(kind).items():
        if method.startswith("_"):
            continue
        if hasattr(member, "__code__"):  # as a function has, and what stands for one
            member = inspect.unwrap(member)
        if isinstance(member, property):
            yield f"#### `{name}.{method}`\n"
            yield _text(inspect.getdoc(member) or "")
        elif inspect.isfunction(member):
            # A context manager's wrapper is no coroutine, and neither awaited.
            word = "await " if inspect.iscoroutinefunction(member) else ""
            yield f"#### `{name}.{method}`\n"
            yield f"```python\n{word}{_signature(method, member)}\n```\n"
            yield _text(inspect.getdoc(member) or "")


def _alias(kind: Any) -> str:
    """A name for a type: one of several, or a function."""
    if get_origin(kind) is Callable:
        return f"`{_PACKAGES.sub('', str(kind))}`"
    return " | ".join(
        f"`{one.__name__ if isinstance(one, type) else _PACKAGES.sub('', str(one))}`"
        for one in get_args(kind)
    ).replace("`NoneType`", "`None`")


def _signature(name: str, member: Any) -> str:
    signature = inspect.signature(member)
    parts, keywords = [], False
    for one in signature.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and not keywords:
            keywords = True
            parts.append("*")
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        parts.append(f"{one.name}: {one.annotation}{default}")
    back = signature.return_annotation
    arrow = "" if isinstance(member, type) or back is signature.empty else f" -> {back}"
    line = f"{name}({', '.join(parts)}){arrow}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(parts) + f",\n){arrow}"


def _default(value: object) -> str:
    """As written, or that it is made anew each time."""
    return repr(value) if isinstance(value, str | int | float | None) else "…"


def _text(doc: str) -> str:
    """A docstring as Markdown: sections become lists."""
    lines: list[str] = []
    for block in re.split(r"\n(?=\S+:$)", doc, flags=re.MULTILINE):
        head, _, rest = block.partition("\n")
        section = SECTION.match(head)
        if section is None:
            lines.append(_code(block))
        elif section[1] == "Returns":
            lines.append(f"{section[1]}: {' '.join(rest.split())}\n")
        else:
            lines.append(f"{section[1]}:\n\n{_list(rest)}")
    return "\n".join(lines).rstrip() + "\n"


def _list(text: str) -> str:
    items: list[str] = []
    for line in text.splitlines():
        item = ITEM.match(line)
        if item:
            items.append(f"- `{item[1]}`: {item[2]}")
        elif line.strip():
            items[-1] += f" {line.strip()}"
    return "\n".join(items) + "\n"


def _code(text: str) -> str:
    """Indented blocks become fenced ones."""
    return re.sub(
        r"(?:^    .*\n?|^\n(?=    ))+",
        lambda block: (
            f"\n```python\n{inspect.cleandoc(block[0])}\n```\n" if block[0].strip() else block[0]
        ),
        text,
        flags=re.MULTILINE,
    )
