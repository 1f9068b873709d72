"""What `outbox dev` shows: tables that are drawn anew, and what is said above them."""

from __future__ import annotations

import shutil
from typing import Final

from outbox_operator.cli.cluster.screen import Column, Screen, clean
from outbox_operator.dev.table import Restarted, Shown, Table

_GO: Final = {"REDELIVERED": 1, "IN STREAM": 1, "PER S": 2}
"""Columns that go where there is no room."""


class Display:
    """Redraws the tables in place on a terminal; elsewhere prints them when they change.

    What ends again and again is said there once, and then each time that it has ended twice as
    often.
    """

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self._shown: Shown = ()
        self._printed = 0
        self._told: dict[str, int] = {}
        """How often what ended had done so when that was last said."""

    def say(self, line: str) -> None:
        """Print a line, above the tables."""
        self._print([clean(line)], self._shown if self.terminal else ())

    def show(self, shown: Shown) -> None:
        """Print the tables anew."""
        printed = shown
        if not self.terminal:
            shown, ended = _parted(shown)
            self._told = {one.name: self._told.get(one.name, 0) for one in ended}
            printed = [*(shown if shown != self._shown else ()), *filter(self._is_due, ended)]
        if printed:
            self._print([], printed)
        self._shown = shown

    def _is_due(self, one: Restarted) -> bool:
        told = self._told[one.name]
        if told <= one.times < 2 * told:
            return False
        self._told[one.name] = one.times
        return True

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


def _parted(shown: Shown) -> tuple[Shown, list[Restarted]]:
    """What is shown, without what ended; and that."""
    ended = [one for one in shown if isinstance(one, Restarted)]
    return [one for one in shown if not isinstance(one, Restarted)], ended


def _laid_out(one: Table | Restarted | str, screen: Screen) -> list[str]:
    if not isinstance(one, Table):
        return screen.wrap(one if isinstance(one, str) else one.sentence, hang="  ")
    last = len(one.head) - 1
    columns = [
        Column(head, right=0 < place < last, wraps=place in (0, last), goes=_GO.get(head, 0))
        for place, head in enumerate(one.head)
    ]
    return screen.table(columns, one.rows)
