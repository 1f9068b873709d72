"""Plain SVG charts: bars and lines, with direct labels, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
_LABELS: Final = 215
_VALUES: Final = 120
_BAR: Final = 18
_GAP: Final = 6
_GROUP_GAP: Final = 14
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}"
    ".title{font-size:15px;font-weight:600}.note{fill:#59636e;font-size:12px}"
    ".axis{stroke:#d1d9e0}.grid{stroke:#d1d9e0;stroke-dasharray:2 3}"
    ".ours{fill:#0969da}.ours2{fill:#80b3ee}.other{fill:#818b98}.other2{fill:#c4cad1}"
    ".line{fill:none;stroke:#0969da;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}"
    ".axis,.grid{stroke:#3d444d}.ours{fill:#4493f8}.ours2{fill:#2a5c9c}"
    ".other{fill:#9198a1}.other2{fill:#59636e}.line{stroke:#4493f8}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its length, and what stands beside it."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Bars of one thing; the first is drawn strongly, the others lightly."""

    label: str
    bars: Sequence[Bar]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One line over time."""

    label: str
    points: Sequence[tuple[float, float]]
    unit: str


def bars(title: str, note: str, groups: Sequence[Group]) -> str:
    """A chart of horizontal bars, all on one scale from zero."""
    longest = max(bar.value for group in groups for bar in group.bars)
    room = WIDTH - _LABELS - _VALUES
    parts, y = [], 58
    for group in groups:
        middle = y + (len(group.bars) * (_BAR + _GAP) - _GAP) / 2 + 4
        parts.append(_text(_LABELS - 10, middle, group.label, anchor="end"))
        for index, bar in enumerate(group.bars):
            kind = ("ours" if group.ours else "other") + ("2" if index else "")
            length = max(1.0, bar.value / longest * room)
            parts.append(
                f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{length:.1f}" '
                f'height="{_BAR}" rx="2"/>'
            )
            parts.append(_text(_LABELS + length + 6, y + 13, bar.text))
            y += _BAR + _GAP
        y += _GROUP_GAP - _GAP
    parts.append(f'<line class="axis" x1="{_LABELS}" y1="52" x2="{_LABELS}" y2="{y - 6}"/>')
    return _document(title, note, parts, y + 4)


def lines(title: str, note: str, panels: Sequence[Panel], end_label: str) -> str:
    """Panels below each other, each from zero, over one axis of time."""
    height, left, right = 90, 150, WIDTH - 30
    parts, y = [], 62.0
    for panel in panels:
        last = panel.points[-1][0]
        top = max(value for _, value in panel.points) * 1.1 or 1.0
        bottom = y + height
        path = " ".join(
            f"{left + x / last * (right - left):.1f},{bottom - value / top * height:.1f}"
            for x, value in panel.points
        )
        highest = max(value for _, value in panel.points)
        at = bottom - highest / top * height
        parts.append(_text(left - 10, y + height / 2, panel.label, anchor="end"))
        parts.append(f'<line class="axis" x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
        parts.append(f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(_text(right, at - 4, f"{highest:,.0f} {panel.unit}", anchor="end", note=True))
        parts.append(f'<polyline class="line" points="{path}"/>')
        y = bottom + 30
    parts.append(_text(left, y - 12, "0", note=True))
    parts.append(_text(right, y - 12, end_label, anchor="end", note=True))
    return _document(title, note, parts, y)


def _document(title: str, note: str, parts: Sequence[str], height: float) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<text class="title" x="10" y="22">{escape(title)}</text>\n'
        f'<text class="note" x="10" y="40">{escape(note)}</text>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", note: bool = False) -> str:
    kind = ' class="note"' if note else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
