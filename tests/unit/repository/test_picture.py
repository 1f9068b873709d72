"""The picture of the house in two pages: every room there is, in the layers that hold."""

from __future__ import annotations

import re
import tomllib
from typing import Final

from support.kube import ROOT

PACKAGE: Final = ROOT / "operator/outbox_operator"
PAGES: Final = ("CONTRIBUTING.md", "docs/explanation/architecture.md")
WIDTH: Final = 120


def picture(page: str) -> str:
    """What the page shows."""
    found = re.search(r"<!-- house -->\n\n```text\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found, f"{page} shows no picture"
    return found[1]


def shown(text: str) -> list[list[tuple[str, str]]]:
    """Layers from the top: path of each room, with its line."""
    layers: list[list[tuple[str, str]]] = [[]]
    outer = ""
    for line in text.splitlines():
        if set(line) == {"─"}:
            layers.append([])
            continue
        name, words = line.split(None, 1)
        if not line.startswith(" "):
            outer = name
        layers[-1].append((outer + name if line.startswith(" ") else name, words))
    return layers


def test_both_pages_show_the_same() -> None:
    first, second = map(picture, PAGES)
    assert first == second


def test_every_room_is_shown_once_with_what_it_is_for() -> None:
    lines = [line for layer in shown(picture(PAGES[0])) for line in layer]
    rooms = [path for path, _ in lines if path.endswith("/")]
    there = {
        f"{file.parent.relative_to(PACKAGE)}/"
        for file in PACKAGE.rglob("__init__.py")
        if file.parent != PACKAGE
    }
    assert sorted(rooms) == sorted(there)
    assert all(words.strip() for _, words in lines)
    assert max(map(len, picture(PAGES[0]).splitlines())) <= WIDTH


def test_layers_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [held] = [one for one in contracts["contracts"] if one["type"] == "layers"]
    wanted = [
        [name.strip().removeprefix("outbox_operator.") for name in layer.split("|")]
        for layer in held["layers"]
    ]
    found = [
        [path.removesuffix("/").removesuffix(".py") for path, _ in layer if path.count("/") < 2]
        for layer in shown(picture(PAGES[0]))
    ]
    assert found == wanted


def test_no_room_stands_outside_the_layers() -> None:
    shown_rooms = {path for layer in shown(picture(PAGES[0])) for path, _ in layer}
    modules = {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py", "version.py"}
    assert modules <= shown_rooms
