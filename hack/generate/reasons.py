"""Tables of reasons in docs/reference, from the documentation of `outbox_operator.reasons`.

In a page, what stands between `<!-- reasons: GROUP -->` and `<!-- end -->` is written here, where
GROUP is a comment of the enumeration; the rest is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outbox_operator.reasons import Reason

FOLDER: Final = Path("docs/reference")
PAGES: Final = (FOLDER / "conditions.md", FOLDER / "metrics.md")
BLOCK: Final = re.compile(r"(<!-- reasons: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_LINE: Final = re.compile(
    r"^    # (?P<group>[^\n]+)$|"
    r'^    [A-Z_]+ = "(?P<word>[A-Za-z]+)"[^\n]*\n    """(?P<text>.*?)"""$',
    re.MULTILINE | re.DOTALL,
)
_TEXT: Final = re.compile(r"(?:(?P<place>On|In) (?P<where>.+?): )?(?P<means>.+?)( Do: (?P<do>.+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A reason as a table tells it.

    Attributes:
        word: The reason.
        where: Where it is seen; empty: the page says it.
        means: What has happened.
        do: What a person can do; empty: nothing.
    """

    word: str
    where: str
    means: str
    do: str


def groups() -> dict[str, list[Entry]]:
    """The members of the enumeration by group, in their order.

    Raises:
        ValueError: A member has no documentation, or is before the first group.
    """
    found: dict[str, list[Entry]] = {}
    group = ""
    for match in _LINE.finditer(inspect.getsource(Reason)):
        if match["group"] is not None:
            group = match["group"]
            found[group] = []
        else:
            found[group].append(_entry(match["word"], match["text"]))
    known = {entry.word for entries in found.values() for entry in entries}
    missing = sorted(set(Reason) - known)
    if missing:
        raise ValueError(f"reasons.py: no documentation after {', '.join(missing)}")
    return found


def files(root: Path) -> dict[Path, str]:
    """Path to text of the pages with their tables written anew.

    Raises:
        ValueError: As `groups`; or a group is in no page, or in two.
    """
    tables = {group: _table(entries) for group, entries in groups().items()}
    used: list[str] = []

    def written(match: re.Match[str]) -> str:
        used.append(match[2])
        return f"{match[1]}{tables[match[2]]}{match[3]}"

    pages = {page: BLOCK.sub(written, (root / page).read_text()) for page in PAGES}
    if sorted(used) != sorted(tables):
        raise ValueError(f"groups of reasons: wanted each in one page, found {sorted(used)}")
    return pages


def _entry(word: str, text: str) -> Entry:
    parts = _TEXT.fullmatch(" ".join(text.split()))
    if parts is None:
        raise ValueError(f"reasons.py: {word}: wanted 'On …: … Do: …', found {text!r}")
    where, means, do = (
        (part or "").removesuffix(".").replace("|", "\\|")
        for part in parts.group("where", "means", "do")
    )
    if not where:
        means = means[0].lower() + means[1:]  # it is a sentence then
    return Entry(word, where, means, do)


def _table(entries: Iterable[Entry]) -> str:
    entries = list(entries)
    placed, helped = any(e.where for e in entries), any(e.do for e in entries)
    rows = [
        ["Reason", *["Where"] * placed, "Means", *["What to do"] * helped],
        ["---"] * (2 + placed + helped),
        *(
            [f"`{e.word}`", *[e.where] * placed, e.means, *[e.do or "nothing"] * helped]
            for e in entries
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
