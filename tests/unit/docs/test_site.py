"""The site of the documentation: its menu has every page, and what is wrong in it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docsite.pages import INDEX, as_on_the_site, broken, linked_files, menu, requests_elsewhere

from support.kube import ROOT


def paths(entries: list[Any]) -> list[str]:
    """Every page of a menu, in its order."""
    found: list[str] = []
    for entry in entries:
        for value in entry.values():
            found += paths(value) if isinstance(value, list) else [value]
    return found


def test_the_menu_has_every_page_once() -> None:
    found = paths(menu((ROOT / INDEX).read_text()))
    assert len(found) == len(set(found))
    docs = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")}
    assert docs <= set(found)


def test_sections_are_those_of_the_index() -> None:
    sections = menu(
        "# Docs\n\n## How-to\n\n- [Do](how-to/do.md), [`it`](how-to/it.md#now)\n\n## Empty\n"
    )
    assert sections[2:-2] == [
        {"How-to": [{"Do": "docs/how-to/do.md"}, {"it": "docs/how-to/it.md"}]}
    ]


def test_files_that_pages_lead_to_come_along_and_folders_do_not(tmp_path: Path) -> None:
    (tmp_path / "docs" / "folder").mkdir(parents=True)
    (tmp_path / "app.py").touch()
    page = tmp_path / "docs" / "page.md"
    page.write_text("[a](../app.py#L1) [b](folder) [c](https://d.example) ![e](folder)\n")
    assert linked_files(tmp_path, "docs/page.md") == {"app.py"}
    text = as_on_the_site(tmp_path, "docs/page.md", "")
    assert text == "[a](../app.py#L1) b [c](https://d.example) ![e](folder)\n"
    text = as_on_the_site(tmp_path, "docs/page.md", "https://s.example")
    assert "[b](https://s.example/docs/folder)" in text
    page.write_text("```sh title=a.sh\n```\n\n## Heading\n")
    titled = as_on_the_site(tmp_path, "docs/page.md", "")
    assert titled == '```sh title="a.sh"\n```\n\n## Heading\n'


@pytest.mark.parametrize(
    ("page", "searched"),
    [
        *((one, True) for one in ("README.md", "docs/how-to/page.md", "examples/a/README.md")),
        *((one, False) for one in ("CONTRIBUTING.md", "tests/regressions.md", "hack/x/README.md")),
    ],
)
def test_what_is_for_who_works_on_the_project_is_not_found_first(
    tmp_path: Path, page: str, searched: bool
) -> None:
    (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / page).write_text("# A page")
    text = as_on_the_site(tmp_path, page, "")
    assert text.endswith("# A page")
    assert ("search: {exclude: true}" in text) is not searched


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<script src="a.js"></script><a href="https://b.example">b</a>', []),
        ('<script src="https://a.example/a.js"></script>', ["https://a.example/a.js"]),
        ("<img alt=x src=//a.example/a.png>", ["//a.example/a.png"]),
        ('<link rel="stylesheet" href="https://a.example/a.css">', ["https://a.example/a.css"]),
        ('<link rel="canonical" href="https://a.example/">', []),
    ],
)
def test_what_is_asked_of_other_servers(page: str, expected: list[str]) -> None:
    assert requests_elsewhere(page) == expected


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h2 id="there">x</h2>')
    page = tmp_path / "a.html"
    page.write_text(
        '<a href="b/index.html#there">1</a><a href="b/#not">2</a><a href="c.html">3</a>'
        '<a href="/b/index.html">4</a><a href="#self" id="self">5</a><a href="https://x.example">6</a>'
    )
    assert broken(tmp_path, sorted(tmp_path.rglob("*.html"))) == [
        "a.html: b/#not: no such place",
        "a.html: c.html: no such file",
    ]
