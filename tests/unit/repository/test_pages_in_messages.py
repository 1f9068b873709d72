"""Messages name pages of the documentation by their titles: who installed the package by pip has no
file of the repository."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "operator" / "outbox_operator"
NAMED = re.compile(r'\bthe (how-to|reference) "([^"]+)"', re.IGNORECASE)


def said(text: str) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring, with its line."""
    tree = ast.parse(text)
    docstrings = {
        id(one.value)
        for one in ast.walk(tree)
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
    }
    for one in ast.walk(tree):
        if (
            isinstance(one, ast.Constant)
            and isinstance(one.value, str)
            and id(one) not in docstrings
        ):
            yield one.lineno, one.value


def texts() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in said(path.read_text()):
            yield f"{path.relative_to(ROOT)}:{line}", text


def test_no_message_names_a_file_of_the_repository() -> None:
    wrong = [where for where, text in texts() if re.search(r"\bdocs/[a-z]|\bhow-to/", text)]
    assert not wrong


def test_pages_are_named_as_they_are_called() -> None:
    named = [(kind.lower(), title) for _, text in texts() for kind, title in NAMED.findall(text)]
    assert named
    for kind, title in named:
        pages = (ROOT / "docs" / kind).rglob("*.md")
        assert any(page.read_text().startswith(f"# {title}\n") for page in pages), title
