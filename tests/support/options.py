"""Bounds of numbers on the command lines of measurements and of the delivery checker."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """A `type` for argparse: a whole number within bounds, both included."""

    def parse(text: str) -> int:
        wanted = f"a whole number from {lowest}" + ("" if highest is None else f" to {highest}")
        try:
            found = int(text)
        except ValueError:
            found = lowest - 1
        if found < lowest or (highest is not None and found > highest):
            raise argparse.ArgumentTypeError(f"wanted {wanted}, found {text!r}")
        return found

    return parse


def positive(text: str) -> float:
    """A `type` for argparse: a finite number above zero."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number above 0, found {text!r}")
    return found
