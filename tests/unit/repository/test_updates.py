"""What is pinned in a file is reached by what proposes newer versions of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement

from support.kube import ROOT
from support.repository import tracked

_FROM: Final = re.compile(r"FROM (?:--platform=\S+ )?([a-z\d][\w./-]*:\S+)")


def updates() -> list[dict[str, Any]]:
    """Entries of dependabot's configuration."""
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())[
        "updates"
    ]
    return found


def requirement_lines(path: Path) -> list[str] | None:
    """Requirements of a file, as dependabot recognizes one; None: it is another text for it.

    Each line is empty, a comment, an option or a requirement, which may go on in the next one.
    """
    found = []
    for line in (ROOT / path).read_text().splitlines():
        text = line.strip().removesuffix("\\").strip()
        if not text or text.startswith(("#", "--")):
            continue
        if not re.fullmatch(r"[\w.-]+(\[[\w,.-]+\])?\s*[=<>~!]=?[^ ]+", text):
            return None
        found.append(text)
    return found or None


def images(path: Path) -> list[str]:
    """Images that dependabot sees in a file: it knows no ARG, and of YAML Kubernetes alone."""
    text = (ROOT / path).read_text()
    if "Dockerfile" in path.name:
        return [match[1] for line in text.splitlines() if (match := _FROM.match(line))]
    if not re.search(r"^apiVersion: ", text, re.MULTILINE):
        return []
    named = re.findall(r"^\s*(?:- )?image: (\S+:\S+)$", text, re.MULTILINE)
    return [one for one in named if not one.startswith("registry.example/")]


def pinned() -> Iterator[tuple[str, Path]]:
    """Ecosystem and file of everything that names versions."""
    for ecosystem, name in (("uv", "uv.lock"), ("gomod", "go.mod"), ("npm", "package.json")):
        yield from ((ecosystem, path) for path in tracked(f"*{name}") if path.name == name)
    yield from (("github-actions", path) for path in tracked(".github/workflows/*.yaml"))
    yield from (("pip", path) for path in tracked("*.txt", "*.in") if requirement_lines(path))
    # What is generated from `images/pinned` follows it.
    named = [*tracked("*Dockerfile"), *tracked("examples/*.yaml")]
    yield from (("docker", path) for path in named if images(path))


def within(path: Path, folder: str) -> bool:
    """Whether a folder of an entry, which may be a pattern, is that of a file."""
    # Workflows are where they have to be, whatever folder is named.
    own = "/" if path.parts[0] == ".github" else str(PurePosixPath("/") / path.parent)
    return own.count("/") == folder.count("/") and fnmatchcase(own, folder)


def reached(ecosystem: str, path: Path) -> bool:
    """Whether an entry names the folder of that file."""
    return any(
        within(path, folder)
        for entry in updates()
        if entry["package-ecosystem"] == ecosystem
        for folder in entry.get("directories", [entry.get("directory")])
    )


PINNED: Final = sorted(set(pinned()))


@pytest.mark.parametrize(("ecosystem", "path"), PINNED, ids=lambda one: str(one))
def test_what_is_pinned_is_reached(ecosystem: str, path: Path) -> None:
    assert reached(ecosystem, path), f"{path}: no entry `{ecosystem}` of dependabot.yml has it"


def test_uv_and_the_images_that_we_build_on_are_among_it() -> None:
    assert ("pip", Path("hack/uv.txt")) in PINNED
    assert ("docker", Path("images/pinned/Dockerfile")) in PINNED
    [uv] = requirement_lines(Path("hack/uv.txt")) or []
    assert Requirement(uv).name == "uv"


def test_each_entry_reaches_something() -> None:
    for entry in updates():
        for folder in entry.get("directories", [entry.get("directory")]):
            mine = [path for ecosystem, path in PINNED if ecosystem == entry["package-ecosystem"]]
            assert any(within(path, folder) for path in mine), (entry["package-ecosystem"], folder)
