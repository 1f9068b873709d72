"""The last column of the tables of reasons in docs/reference/conditions.md: the command for each.

Tables that have no column of that name are left alone: their reasons are of no resource.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from outbox_operator.api import meta
from outbox_operator.plan.advice import next_step

PAGE: Final = Path("docs/reference/conditions.md")
COLUMN: Final = "Shows more, or heals it"
_TABLE: Final = re.compile(rf"^\| Reason \|.*\| {COLUMN} \|\n\| ---.*\n(?:\|.*\n)+", re.MULTILINE)
_ROW: Final = re.compile(r"^(\| `(\w+)` \|.*\|) [^|]* \|$", re.MULTILINE)


def files(root: Path) -> dict[Path, str]:
    """Path to text of the page."""
    return {PAGE: written((root / PAGE).read_text())}


def written(page: str) -> str:
    """The page with that column written anew."""
    return _TABLE.sub(lambda table: _ROW.sub(_with_command, table[0]), page)


def _with_command(row: re.Match[str]) -> str:
    step = next_step(row[2], meta.PIPELINE, "shop", "orders")
    return f"{row[1]} {f'`{step}`' if step else ''} |"
