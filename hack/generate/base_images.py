"""The images of registries that we build on, by digest, wherever they are named.

`images/pinned/Dockerfile` has each of them once: the one file of these that the tool which proposes
newer ones can read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PINNED: Final = Path("images/pinned/Dockerfile")
NAMED_IN: Final = (
    Path("operator/Dockerfile"),
    Path(".github/workflows/ci.yaml"),
    Path(".github/workflows/release.yaml"),
)
_FROM: Final = re.compile(r"^FROM ((?P<name>[\w./-]+):[\w.-]+@sha256:[0-9a-f]{64})$", re.MULTILINE)


def files(root: Path) -> dict[Path, str]:
    """Path to text of every file that names one of them.

    Raises:
        ValueError: None is pinned, or a file names none.
    """
    wanted = pinned((root / PINNED).read_text())
    return {path: _named(path, (root / path).read_text(), wanted) for path in NAMED_IN}


def pinned(text: str) -> dict[str, str]:
    """Name of an image -> the whole of it, with tag and digest.

    Raises:
        ValueError: A line names one in another way.
    """
    found = {match["name"]: match[1] for match in _FROM.finditer(text)}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if len(found) != len(lines) or not found:
        raise ValueError(
            f"{PINNED}: wanted FROM NAME:TAG@sha256:DIGEST in each line, found {lines}"
        )
    return found


def _named(path: Path, text: str, wanted: dict[str, str]) -> str:
    places = 0
    for name, whole in wanted.items():
        any_of_it = rf"{re.escape(name)}:[\w.-]+(@sha256:[0-9a-f]{{64}})?"
        text, count = re.subn(any_of_it, whole, text)
        places += count
    if not places:
        raise ValueError(f"{path}: wanted an image of {PINNED}, found none")
    return text
