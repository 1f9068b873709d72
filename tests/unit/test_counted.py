"""One thing is not said to be several."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from outbox_operator.counted import counted
from support.kube import ROOT

PACKAGE: Final = ROOT / "operator/outbox_operator"
SEVERAL: Final = re.compile(
    r" (?:dead letters|entries|events|files|findings|gaps|lines|messages|pods|restarts|rows|seals"
    r"|statements|times)\b(?!/| --)"
)
LIMIT: Final = re.compile(r"_?[A-Z][A-Z_]+\b|most\w*$")


@pytest.mark.parametrize(
    ("number", "words", "more", "text"),
    [
        (0, ["event"], "", "0 events"),
        (1, ["event"], "", "1 event"),
        (2, ["event"], "", "2 events"),
        (1, ["entry waits", "entries wait"], "", "1 entry waits"),
        (3, ["entry waits", "entries wait"], "", "3 entries wait"),
        (1, ["row waits", "rows wait"], "+", "1+ rows wait"),
        (1, ["row"], " or more", "1 or more rows"),
    ],
)
def test_a_number_has_its_words(number: int, words: list[str], more: str, text: str) -> None:
    assert counted(number, *words, more=more) == text


def uncounted(code: str) -> Iterator[tuple[int, str]]:
    """Numbers in texts with words for several behind them, whatever the number is; what is a limit,
    or a part of the whole (`1 of 3 pods`), has these words always."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for before, value, after in zip(
            [None, *node.values], node.values, node.values[1:], strict=False
        ):
            if not (isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            part = isinstance(before, ast.Constant) and str(before.value).endswith(" of ")
            said = ast.unparse(value.value)
            if SEVERAL.match(str(after.value)) and not part and not LIMIT.match(said):
                yield node.lineno, said


def test_uncounted_numbers_are_found() -> None:
    code = """
f"{n} events"
f"so do {len(found)} dead letters"
f"{counted(n, 'event')}"
f"over {MOST_LINES} lines, {most} rows"
f"{ready} of {wanted} pods"
f"{n} eventsful"
"""
    assert [line for line, _ in uncounted(code)] == [2, 3]


def test_numbers_are_counted_in_one_way() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {said}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, said in uncounted(path.read_text())
    ]
    assert found == []
