"""Release notes out of the CHANGELOG. Pure: text in, text out."""

from __future__ import annotations

import re

from release.stamp import ReleaseError

_HEADING = re.compile(r"^## \[?(?P<name>[^\]\s]+)\]?.*$", re.MULTILINE)


def notes(changelog: str, version: str) -> str:
    """The section of a version; before it has one of its own, what is not released yet.

    Raises:
        ReleaseError: there is neither.
    """
    headings = list(_HEADING.finditer(changelog))
    ends = [one.start() for one in headings[1:]] + [len(changelog)]
    sections = {
        one["name"]: changelog[one.end() : end].strip()
        for one, end in zip(headings, ends, strict=True)
    }
    found = sections.get(version) or sections.get("Unreleased")
    if not found:
        raise ReleaseError(
            f"CHANGELOG.md: wanted a section [{version}] or [Unreleased], found none"
        )
    return f"# outbox-operator {version}\n\n{found}\n"
