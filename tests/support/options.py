"""Numbers and names on the command lines of measurements and of the delivery checker."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


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


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A `type` for argparse: names of some parts, separated by commas, in their order; '': all."""
    there = list(known)

    def parse(text: str) -> list[str]:
        wanted = set(text.split(",")) if text else set(there)
        if unknown := wanted - set(there):
            raise argparse.ArgumentTypeError(
                f"no part {', '.join(sorted(unknown))}; there are {', '.join(there)}"
            )
        return [name for name in there if name in wanted]

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
