"""Text for a terminal of any width, for none, and for those who want no colour. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Tone = Literal["plain", "good", "bad", "warn", "dim"]

_COLOURS: Final[Mapping[Tone, str]] = {"good": "32", "bad": "31", "warn": "33", "dim": "2"}
_LEAST_WIDTH: Final = 40
_LEAST_CELL: Final = 8
_MOST_LINES: Final = 8
"""Of a cell: a name of Kubernetes has room in them, whatever the width."""
_WORD_ENDS: Final = re.compile(r"(?<=[ ./:_-])|(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Screen:
    """What text is shown on.

    Attributes:
        width: Columns; None: nobody counts them, and nothing is cut or wrapped.
        colour: Whether it shows colours.
        words: Has our sentences and commands as they are typed where it is; never data.
    """

    width: int | None = None
    colour: bool = False
    words: Callable[[str], str] = str

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        *,
        terminal: bool,
        columns: int,
        words: Callable[[str], str] = str,
    ) -> Screen:
        """The screen that a stream is.

        Args:
            environment: `COLUMNS` says the width, `NO_COLOR` and `TERM=dumb` forbid colour.
            terminal: Whether the stream is one.
            columns: Of the terminal.
            words: See the attribute.
        """
        said = environment.get("COLUMNS", "")
        width = int(said) if said.isdecimal() and int(said) > 0 else columns if terminal else None
        plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
        return cls(
            width=None if width is None else max(width, _LEAST_WIDTH),
            colour=terminal and not plain,
            words=words,
        )

    def paint(self, text: str, tone: Tone) -> str:
        """Text in a tone, where there is colour."""
        code = _COLOURS.get(tone)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self.colour and text else text

    def tell(self, text: str, indent: str = "", *, hang: str | None = None) -> list[str]:
        """A sentence of ours as lines, in the words of the place; see `wrap`."""
        return self.wrap(self.words(text), indent, hang=hang)

    def command(self, text: str) -> str:
        """A command on a line of its own, as it is typed here."""
        return f"  {clean(self.words(text))}"

    def wrap(self, text: str, indent: str = "", *, hang: str | None = None) -> list[str]:
        """A text as lines.

        Args:
            text: Whatever it is.
            indent: Before the first line.
            hang: Before the others; None: as the first.
        """
        said = clean(text)
        if self.width is None:
            return [f"{indent}{said}"]
        return textwrap.wrap(
            said, self.width, initial_indent=indent,
            subsequent_indent=indent if hang is None else hang,
            break_on_hyphens=False, break_long_words=False,
        ) or [indent.rstrip()]  # fmt: skip

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], indent: str = ""
    ) -> list[str]:
        """Rows under a head; where they are too wide, columns go, and then the rest is wrapped.

        No name and no reason is cut: a column is there with what is in it, or is not there.
        """
        table = [[Cell(column.head, "dim") for column in columns]]
        table += [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        kept = list(range(len(columns)))
        widths = [max(len(row[i].shown) for row in table) for i in kept]
        if self.width is not None:
            room = self.width - len(indent)
            for i in sorted(kept, key=lambda i: columns[i].goes):
                if columns[i].goes and _taken(widths, kept) > room:
                    kept.remove(i)
            for _ in range(_taken(widths, kept) - room):
                widest = max(
                    (i for i in kept if columns[i].wraps and widths[i] > _LEAST_CELL),
                    key=widths.__getitem__,
                    default=None,
                )
                if widest is not None:
                    widths[widest] -= 1
        return [line for row in table for line in self._row(row, widths, kept, columns, indent)]

    def _row(
        self,
        row: Sequence[Cell],
        widths: Sequence[int],
        kept: Sequence[int],
        columns: Sequence[Column],
        indent: str,
    ) -> Iterator[str]:
        parts = {i: _parts(row[i].shown, widths[i]) for i in kept}
        for n in range(max(map(len, parts.values()), default=0)):
            cells = []
            for i in kept:
                text = parts[i][n] if n < len(parts[i]) else ""
                padding = " " * (widths[i] - len(text))
                shown = self.paint(text, row[i].tone)
                last = i == kept[-1] and not columns[i].right
                cells.append(
                    padding + shown if columns[i].right else shown if last else shown + padding
                )
            yield f"{indent}{'  '.join(cells)}".rstrip()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        head: Its name, in capitals.
        right: Whether it holds numbers.
        wraps: Whether its cells may take several lines.
        goes: When there is no room, columns with a number go, the least first; 0: never. Names and
            reasons stay: nobody can act without them.
    """

    head: str
    right: bool = False
    wraps: bool = False
    goes: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell in a tone."""

    text: str
    tone: Tone = "plain"

    @property
    def shown(self) -> str:
        """What is printed of it."""
        return clean(self.text)


def clean(text: str) -> str:
    """Text on one line without what a terminal would obey: others wrote it."""
    flat = " ".join(text.split()) if not text.isprintable() else text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in flat)


def _taken(widths: Sequence[int], kept: Sequence[int]) -> int:
    """Columns of the screen that a table takes."""
    return sum(widths[i] for i in kept) + 2 * (len(kept) - 1)


def _parts(text: str, width: int) -> list[str]:
    """A text as lines; it is parted where it has words, if it can be."""
    lines = [""]
    for word in _WORD_ENDS.split(text):
        rest = word
        if len(lines[-1]) + len(rest.rstrip()) > width and lines[-1]:
            lines.append("")
        while len(rest.rstrip()) > width:
            lines[-1], rest = rest[:width], rest[width:]
            lines.append("")
        lines[-1] += rest
    if len(lines) > _MOST_LINES:
        lines = [text[at : at + width] for at in range(0, len(text), width)]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES - 1 :] = [f"{lines[_MOST_LINES - 1][:-1]}…"]
    return [line.rstrip() for line in lines]
