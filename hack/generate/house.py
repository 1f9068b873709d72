"""The picture of the package: its layers and rooms, with what each room's docstring says it is for.

Drawn between `<!-- house -->` and `<!-- end -->` of the pages that show it. The order of layers is
that of the contract in pyproject.toml that holds them.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = Path("operator/outbox_operator")
PAGES: Final = (Path("CONTRIBUTING.md"), Path("docs/explanation/architecture.md"))
CONTRACT: Final = "Layers point one way"
_BLOCK: Final = re.compile(r"(<!-- house -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMES: Final = 18
_RULE: Final = "─" * 40


def files(root: Path) -> dict[Path, str]:
    """Path to text of every page with the picture."""
    drawn = f"\n```text\n{picture(root)}```\n\n"
    return {
        page: _BLOCK.sub(lambda match: f"{match[1]}{drawn}{match[2]}", (root / page).read_text())
        for page in PAGES
    }


def picture(root: Path) -> str:
    """Highest layer first; each room a line, the rooms in it indented."""
    parts = ["".join(_lines(root / PACKAGE, layer)) for layer in layers(root)]
    return f"{_RULE}\n".join(parts)


def layers(root: Path) -> list[list[str]]:
    """Names of the rooms of each layer, as the contract has them."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    [held] = [one for one in contracts["contracts"] if one["name"] == CONTRACT]
    return [[name.strip().split(".")[1] for name in one.split("|")] for one in held["layers"]]


def _lines(package: Path, layer: list[str]) -> Iterator[str]:
    for name in layer:
        if (package / f"{name}.py").exists():
            yield _line(f"{name}.py", package / f"{name}.py")
            continue
        yield _line(f"{name}/", package / name / "__init__.py")
        for inner in sorted((package / name).glob("*/__init__.py")):
            yield _line(f"  {inner.parent.name}/", inner)


def _line(name: str, file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = text.partition("\n")[0]
    assert first, f"{file} does not say what it is for"
    return f"{name:<{_NAMES}}{first.removesuffix('.')}\n"
