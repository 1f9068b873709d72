"""Pages and examples keep up with the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

from outbox_operator.api.conditions import ConditionType

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "operator/outbox_operator"
PARTS = {"ok", "waiting", "unknown", "info"}
WORD = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*")


def reasons(tree: ast.AST) -> Iterator[str]:
    """Reasons written as text: `reason="X"`, class attributes, and arguments that make a part."""
    for node in ast.walk(tree):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.keyword) and node.arg in ("reason", "exists_reason"):
            values = [node.value]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "reason" for t in targets):
                values = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = list(node.args[1:3]) if node.func.id in PARTS else []
        for value in values:
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(text, str) and WORD.fullmatch(text):
                yield text


def test_every_reason_is_explained() -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    explained = set(re.findall(r"`([A-Za-z]+)`", page))
    used = {r for file in PACKAGE.rglob("*.py") for r in reasons(ast.parse(file.read_text()))}
    assert len(used) > 40, "the search does not find reasons any more"
    assert used - explained == set()


def test_every_condition_type_is_explained() -> None:
    page = (ROOT / "docs/reference/conditions.md").read_text()
    assert [t for t in ConditionType if f"| `{t}` |" not in page] == []


def test_readme_shows_the_smallest_example_as_it_is() -> None:
    example = (ROOT / "examples/smallest/pipeline.yaml").read_text()
    assert f"```yaml\n{example}```" in (ROOT / "README.md").read_text()


def test_links_lead_somewhere() -> None:
    links = [
        (page, target)
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target
    ]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page, target in links
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = [
        str(page.relative_to(ROOT / "docs"))
        for page in (ROOT / "docs").rglob("*.md")
        if page.name != "index.md"
    ]
    assert [page for page in pages if f"({page})" not in index] == []


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
    sizes = {f: len(f.read_text().splitlines()) for f in PACKAGE.rglob("*.py")}
    assert {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > 500} == {}
