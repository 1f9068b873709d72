"""README, Makefile, versions and layout agree with each other."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from support.source import parsed

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "operator/outbox_operator"
_THIRD_PERSON = re.compile(
    r"(Acts|Adds|Applies|Asks|Begins|Brings|Builds|Calls|Cancels|Closes|Compares|"
    r"Connects|Creates|Deletes|Does|Drops|Finds|Follows|Gets|Gives|Handles|"
    r"Keeps|Lists|Loads|Looks|Makes|Opens|Passes|Prepares|Puts|Raises|Reads|"
    r"Removes|Renews|Returns|Runs|Says|Sends|Sets|Shows|Sorts|Starts|Stops|"
    r"Takes|Tells|Tries|Turns|Waits|Wakes|Watches|Writes)\b"
)
"""Verbs; some other words of these forms are plurals: checks, limits, names."""


def test_readme_shows_the_smallest_example_as_it_is() -> None:
    example = (ROOT / "examples/smallest/pipeline.yaml").read_text()
    assert f"```yaml\n{example}```" in (ROOT / "README.md").read_text()


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{page.relative_to(ROOT)}: {named - targets}"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts/outbox-operator/Chart.yaml").read_text())
    assert chart["appVersion"] == project


def test_changelog_starts_with_what_is_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_source_root_never_shadows_the_standard_library() -> None:
    assert not (ROOT / "operator/__init__.py").exists()
    assert not (ROOT / "operator/operator.py").exists()


def test_modules_stay_small() -> None:
    sizes = {
        f: len(f.read_text().splitlines())
        for top in (PACKAGE, ROOT / "hack")
        for f in top.rglob("*.py")
    }
    assert {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > 400} == {}


def test_docstrings_name_modules_that_exist() -> None:
    """`relay.loop`, `wire.headers.encode_value`: the first parts are a module, or all a room."""
    rooms = "|".join(sorted(folder.name for folder in PACKAGE.iterdir() if folder.is_dir()))
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        for name in re.findall(rf"`((?:{rooms})(?:\.\w+)+)`", file.read_text()):
            parts = name.split(".")
            paths = [PACKAGE.joinpath(*parts[:end]) for end in range(2, len(parts) + 1)]
            if not (any(path.with_suffix(".py").exists() for path in paths) or paths[-1].is_dir()):
                wrong.append(f"{file.relative_to(PACKAGE)}: {name}")
    assert wrong == []


def test_rooms_speak_one_dialect() -> None:
    """Loggers, seconds and what processes share go by one name in every module."""
    forms = {
        "a logger is called log": r"^_log\b",
        "a constant in seconds ends in _SECONDS": r"^_?[A-Z][A-Z_]*_S\b",
        "a name in seconds ends in _seconds": r"\b[a-z_]*[a-z]_s\b",
        "modules of wire keep their names": r"^from outbox_operator\.wire import .* as ",
    }
    found = [
        f"{path.relative_to(PACKAGE)}: {rule}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for rule, form in forms.items()
        if re.search(form, path.read_text(), re.MULTILINE)
    ]
    assert found == []


def test_what_a_function_does_is_said_as_an_order() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(parsed(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _THIRD_PERSON.match(ast.get_docstring(node) or "")
    ]
    assert found == []


def test_modules_that_call_themselves_pure_are_held_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [held] = [c for c in contracts["contracts"] if c["name"] == "Decisions are pure"]
    claiming = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\bPure\b", ast.get_docstring(parsed(file.read_text())) or "")
    }
    assert claiming
    covered = tuple(held["source_modules"])
    assert {name for name in claiming if not name.startswith(covered)} == set()


def test_what_uv_runs_finds_uv_and_keeps_compiled_python(tmp_path: Path) -> None:
    """Tools and tests that install a wheel call it; a machine need not have it by itself, and may
    be told to compile all that a program imports at each start."""
    version = re.search(r"^uv==(\S+)", (ROOT / "hack/uv.txt").read_text(), re.MULTILINE)
    assert version is not None
    installed = tmp_path / f"outbox-operator/uv-{version[1]}/bin/uv"
    installed.parent.mkdir(parents=True)
    installed.write_text('#!/bin/sh\n[ "$1" = run ] && shift && exec "$@"\necho "uv of the test"\n')
    installed.chmod(0o755)
    not_to_keep = {"PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [ROOT / "hack/uv", "run", "sh", "-c", 'uv --version; echo "${PYTHONDONTWRITEBYTECODE-}."'],
        env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), **not_to_keep},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "uv of the test\n.\n"
