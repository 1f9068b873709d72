"""Which files the site has, and in which order its menu names them. Pure but for reading files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_TITLED = re.compile(r'^(```\w+ title=)([^\s"]+)$', re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
INDEX = "docs/README.md"
_FOR_USERS = ("docs/", "examples/", "README.md", "CHANGELOG.md", "SECURITY.md")
_UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"
"""Of pages for who works on the project: they have all words, and would be found first."""


def links(text: str) -> Iterator[str]:
    """Where a page leads within the repository: paths without their anchors."""
    for _, _, target in LINK.findall(_FENCE.sub("", text)):
        path = target.partition("#")[0]
        if path and "://" not in path and not path.startswith("mailto:"):
            yield path


def linked_files(root: Path, page: str) -> set[str]:
    """Files of the repository that a page leads to, by their paths in it."""
    found = set()
    for link in links((root / page).read_text()):
        path = os.path.normpath(os.path.join(os.path.dirname(page), link))
        if (root / path).is_file():
            found.add(path)
    return found


def as_on_the_site(root: Path, page: str, source: str) -> str:
    """A page as the site has it: links to folders lead to the sources, or are words only, titles
    of blocks are in quotes, and what is not for users is not searched.

    Args:
        root: the repository.
        page: path of the page in it.
        source: URL of the sources at this version; empty: there is none.
    """

    def replaced(found: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join(os.path.dirname(page), found[3].partition("#")[0]))
        if found[1] or "://" in found[3] or not (root / path).is_dir():
            return found[0]
        return f"[{found[2]}]({source}/{path})" if source else found[2]

    unsearched = "" if page.startswith(_FOR_USERS) else _UNSEARCHED
    # Without quotes the site's Markdown takes such a line for text, and its end for a beginning.
    text = _TITLED.sub(r'\1"\2"', (root / page).read_text())
    return unsearched + LINK.sub(replaced, text)


def menu(index: str) -> list[dict[str, object]]:
    """The menu: the sections of the index of the documentation, with all pages each of them names.

    Args:
        index: text of `docs/README.md`.
    """
    headings = list(_HEADING.finditer(index))
    ends = [one.start() for one in headings[1:]] + [len(index)]
    sections: list[dict[str, object]] = [{"Start": "README.md"}, {"All pages": INDEX}]
    seen = {"README.md", INDEX}
    for heading, end in zip(headings, ends, strict=True):
        entries = list(_entries(index[heading.end() : end], seen))
        if entries:
            sections.append({heading[1]: entries})
    return [*sections, {"Changelog": "CHANGELOG.md"}, {"Contributing": "CONTRIBUTING.md"}]


def _entries(section: str, seen: set[str]) -> Iterator[dict[str, str]]:
    for _, title, target in LINK.findall(section):
        path = os.path.normpath(os.path.join("docs", target.partition("#")[0]))
        if path.endswith(".md") and path.startswith("docs/") and path not in seen:
            seen.add(path)
            yield {title.strip("`"): path}


def requests_elsewhere(page: str) -> list[str]:
    """What a page of the site would have a browser ask another server for."""
    loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*?\ssrc=[\"']?([^\"'\s>]+)", page)
    for tag in re.findall(r"<link[^>]+>", page):
        if not re.search(r"rel=[\"']?(canonical|prev|next|alternate)\b", tag):
            loaded += re.findall(r"href=[\"']?([^\"'\s>]+)", tag)
    return [one for one in loaded if "://" in one or one.startswith("//")]


def broken(site: Path, pages: Iterable[Path]) -> list[str]:
    """Links of built pages that lead to no file or to no place in one."""
    texts = {page: page.read_text() for page in pages}
    places = {
        page: set(re.findall(r"\s(?:id|name)=[\"']?([^\"'\s>]+)", text))
        for page, text in texts.items()
    }
    found = []
    for page, text in texts.items():
        for link in re.findall(r"<a[^>]*?\shref=[\"']?([^\"'\s>]+)", text):
            if "://" in link or link.startswith(("mailto:", "data:")):
                continue
            path, _, anchor = link.partition("#")
            # The page for what is not there is shown at any address: its links begin at the root.
            start = site if path.startswith("/") else page.parent
            target = (start / path.lstrip("/")).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            name = page.relative_to(site)
            if not target.exists():
                found.append(f"{name}: {link}: no such file")
            elif anchor and target in places and anchor not in places[target]:
                found.append(f"{name}: {link}: no such place")
    return sorted(set(found))
