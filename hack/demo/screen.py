"""What the demo prints. Lines only, no cursor movement, so that a log file reads well too."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def _bold(text: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\033[1m{text}\033[0m"


def title(text: str) -> None:
    """Start of a part."""
    print(f"\n{_bold('==> ' + text)}", flush=True)


def say(text: str = "") -> None:
    """A line, or several."""
    print("\n".join(f"    {line}" if line else "" for line in text.splitlines()), flush=True)


@contextmanager
def timed(text: str) -> Iterator[None]:
    """A part that takes a while: title before, seconds after."""
    title(text)
    started = time.monotonic()
    yield
    say(f"done in {time.monotonic() - started:.1f} s")


def table(rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side; the first is left-aligned, numbers are right-aligned."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in texts) for index in range(len(texts[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )
