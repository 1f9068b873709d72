"""Progress on the screen: one line per step with its elapsed time, on standard error.

Standard output stays free for what a command answers (a path, JSON), so scripts can read it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print one line of progress."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step and, when it is over, how long it took (seconds).

    On a terminal the line is completed in place; in a log it is written twice, so that a reader of
    a running log sees what is being waited for.
    """
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    print(f"  {text} ...", end="" if terminal else "\n", file=sys.stderr, flush=True)
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        prefix = " " if terminal else f"  {text}: "
        print(f"{prefix}{outcome} in {time.monotonic() - started:.1f} s", file=sys.stderr)
