"""The tests that the security page appeals to exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/explanation/security.md"


def test_what_the_page_appeals_to_is_tested() -> None:
    table = PAGE.read_text().partition("| Adversary |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(test_\w+)`", table))
    assert len(named) > 10
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert named - defined == set()
    for row in table.strip().splitlines()[2:]:
        assert "`test_" in row.rpartition("|")[0].rpartition("|")[2], row
