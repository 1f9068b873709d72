"""The picture of the README, out of what a real run of the demo has said: `make demo-picture`.

    hack/uv run --group release python hack/demo/picture.py build/demo.txt docs/img/demo.svg

Shown are the last lines of its live part and its end; nothing of them is written by hand.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

LIVE, CLOSES, SUMMARY, END = "==> Live", "==> The shop closes", "==> Summary", "==> The cluster"
_BEFORE, _TABLES = 4, 11
"""How many lines are shown before the last table of the live part, and of it."""
# The theme's own template asks another server for a font; every reader has one of this kind.
_TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def shown(log: str) -> list[str]:
    """The lines of a run that are in the picture: its last table with what came before, its end.

    Raises:
        ValueError: the log is not that of a whole run.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", log).replace("\r", "")
    live, closed, rest = text.partition(LIVE)[2].partition(CLOSES)
    summary, end, _ = rest.partition(SUMMARY)[2].partition(END)
    lines = [line.rstrip() for line in live.splitlines()]
    # A table of each kind follows the line that was counted at the same time.
    first = [
        number
        for number, line in enumerate(lines)
        if line.split()[:2] == ["NAME", "READY"] and re.match(r"\s+\d+ s ", lines[number - 1])
    ]
    if not (closed and end and first):
        raise ValueError(f"wanted the log of a whole run, from {LIVE!r} to {END!r}")
    shop = [f"{LIVE}{lines[0]}", *lines[first[-1] - _BEFORE : first[-1] + _TABLES]]
    return ["$ make demo", "…", *_trimmed(shop), "", SUMMARY, *_trimmed(summary.splitlines())]


def _trimmed(lines: list[str]) -> list[str]:
    return "\n".join(lines).rstrip().removeprefix("\n").splitlines()


def picture(lines: list[str]) -> str:
    """Lines as an SVG image of a terminal."""
    width = max(map(len, lines)) + 1
    console = Console(record=True, width=width, file=io.StringIO(), legacy_windows=False)
    for line in lines:
        console.print(Text(line, style="bold" if line.startswith(("==>", "$")) else ""))
    return console.export_svg(
        title="outbox-operator", theme=MONOKAI, code_format=_TEMPLATE, unique_id="demo"
    )


def main() -> int:
    """Draw the picture; prints its path."""
    parser = argparse.ArgumentParser(prog="picture", description="draw what the demo has said")
    parser.add_argument("log", type=Path, help="what a whole run of the demo printed")
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        lines = shown(args.log.read_text())
    except ValueError as error:
        print(f"picture: {args.log}: {error}", file=sys.stderr)
        return 1
    args.target.parent.mkdir(parents=True, exist_ok=True)
    args.target.write_text(picture(lines))
    print(args.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
