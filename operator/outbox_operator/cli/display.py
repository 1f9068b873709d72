"""What `outbox dev` shows: tables that are drawn anew, and what is said above them."""

from __future__ import annotations

import shutil
from typing import Final

from outbox_operator.cli.cluster.screen import Column, Screen, clean
from outbox_operator.dev.table import Shown, Table

_GO: Final = {"REDELIVERED": 1, "IN STREAM": 1, "PER S": 2}
"""Columns that go where there is no room."""


class Display:
    """Redraws the tables in place on a terminal; elsewhere prints them when they change."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self._shown: Shown = ()
        self._printed = 0

    def say(self, line: str) -> None:
        """Print a line, above the tables."""
        self._print([clean(line)], self._shown if self.terminal else ())

    def show(self, shown: Shown) -> None:
        """Print the tables anew."""
        if self.terminal or shown != self._shown:
            self._print([], shown)
        self._shown = shown

    def _print(self, said: list[str], shown: Shown) -> None:
        if self.terminal and self._printed:
            print(f"\x1b[{self._printed}F\x1b[J", end="")
        lines = self._lines(shown)
        self._printed = len(lines)
        print("\n".join([*said, *lines]), flush=True)

    def _lines(self, shown: Shown) -> list[str]:
        """Lines that take no more than one of a terminal's: as many are erased as were shown."""
        width = max(1, shutil.get_terminal_size().columns - 1) if self.terminal else None
        lines = [line for one in shown for line in _laid_out(one, Screen(width=width))]
        if width is None:
            return lines
        return [line[at : at + width] for line in lines for at in range(0, len(line) or 1, width)]


def _laid_out(one: Table | str, screen: Screen) -> list[str]:
    if isinstance(one, str):
        return screen.wrap(one, hang="  ")
    last = len(one.head) - 1
    columns = [
        Column(head, right=0 < place < last, wraps=place in (0, last), goes=_GO.get(head, 0))
        for place, head in enumerate(one.head)
    ]
    return screen.table(columns, one.rows)
