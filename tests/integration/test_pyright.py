"""The project of a user in `tests/unit/typed`, as pyright sees it in strict mode; mypy looks at it
in `make check`. Pyright is that of `languages/package-lock.json`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from support.fences import node_environment, node_modules
from support.kube import ROOT

PROJECT: Final = ROOT / "tests/unit/typed"


def errors(folder: Path) -> list[dict[str, Any]]:
    """What pyright finds in the project."""
    for name in ("right.py", "mistakes.py"):
        shutil.copy(PROJECT / name, folder)
    settings = {"typeCheckingMode": "strict", "enableTypeIgnoreComments": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [node_modules() / ".bin/pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=folder, env=node_environment(), capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    return [one for one in found if one["severity"] == "error"]


@pytest.mark.thorough
def test_pyright_finds_the_mistakes_and_nothing_else(tmp_path: Path) -> None:
    found = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in errors(tmp_path)
    }
    lines = (PROJECT / "mistakes.py").read_text().splitlines()
    wanted = {n for n, line in enumerate(lines, 1) if re.search(r"# type: ignore\[", line)}
    missed = [f"{n}: {lines[n - 1]}" for n in sorted(wanted) if ("mistakes.py", n) not in found]
    assert missed == []
    assert {place: text for place, text in found.items() if place[0] == "right.py"} == {}
