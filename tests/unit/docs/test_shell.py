"""Every shell fence of a page is run by bash as it stands, in one process for all, with stand-ins
for the programs that it calls. A typing mistake, a program that nobody named here, or a place
holder that a shell takes for a redirection ends it. What our own programs are given is looked at in
`test_commands`; tutorial, README and examples are run with real ones elsewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.kube import ROOT
from unit.docs.test_commands import pages

PROGRAMS: Final = (
    "awk", "base64", "cat", "cosign", "cp", "curl", "date", "docker", "fastapi", "generate",
    "git", "go", "grep",
    "helm", "jq", "kind", "kubeconform",
    "kubectl", "ls", "make", "mkdir", "nats", "node", "npm", "npx", "nsc", "openssl",
    "outbox", "pip", "pg_dump", "psql", "pytest", "python", "python3", "redis-cli", "rm", "sed",
    "sha256sum",
    "sleep", "sort", "tail", "tar", "tee", "uniq", "uvicorn", "xargs", "yq",
)  # fmt: skip
_BUILT_IN: Final = "kill() { :; }; cd() { :; }; source() { :; }; .() { :; }; "
"""What would be done here in earnest."""
_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?:sh|bash|console)\b[^\n]*\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE
)


def shown(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each shell fence on a page."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        lines = (line.removeprefix(found["indent"]) for line in found["text"].splitlines())
        typed = "\n".join(line.removeprefix("$ ") for line in lines)
        yield text.count("\n", 0, found.start()) + 1, typed


def run(folder: Path, fences: dict[str, str]) -> dict[str, str]:
    """What bash says of each fence that does not end well, by its place."""
    programs = folder / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    home = folder / "home"
    home.mkdir()
    script = "".join(
        f"echo {shlex.quote(f'@ {place}')} >&2\n"
        f"/bin/bash -eo pipefail -c {shlex.quote(_BUILT_IN + text)} </dev/null >/dev/null "
        "|| echo '!' >&2\n"
        for place, text in fences.items()
    )
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=home, capture_output=True, text=True, check=True,
        env={"PATH": str(programs), "HOME": str(home)}, timeout=120,
    )  # fmt: skip
    said = {
        place: text for place, _, text in (one.partition("\n") for one in done.stderr.split("@ "))
    }
    return {place: text for place, text in said.items() if text.rstrip().endswith("!")}


def test_what_is_to_be_typed_is_shell(tmp_path: Path) -> None:
    found = {
        f"{page.relative_to(ROOT)}:{line}": text for page in pages() for line, text in shown(page)
    }
    assert len(found) > 100
    wrong = run(tmp_path, found)
    assert not wrong, "\n".join(f"{place}: {said}" for place, said in wrong.items())


def test_each_example_says_how_it_is_run() -> None:
    folders = [folder for folder in (ROOT / "examples").iterdir() if folder.is_dir()]
    assert [one.name for one in folders if not list(shown(one / "README.md"))] == []


@pytest.mark.parametrize(
    "text", ["kubctl get pods", "echo 'open", "cat <<END | gerp x\nEND", "outbox logs <name>", "if"]
)
def test_what_is_no_shell_is_found(tmp_path: Path, text: str) -> None:
    assert list(run(tmp_path, {"page:1": text, "page:2": "kubectl get pods"})) == ["page:1"]


_COMMENT: Final = re.compile(r"(?:^|\s)#(?:\s|$)")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")


def with_comments(text: str) -> list[str]:
    """Lines that have what a shell takes for a comment."""
    return [line for line in text.splitlines() if _COMMENT.search(_QUOTED.sub("''", line))]


def test_nothing_is_to_be_typed_that_zsh_takes_for_arguments() -> None:
    """At its prompt zsh, the shell of macOS, knows no comments: they belong into the prose."""
    found = {
        f"{page.relative_to(ROOT)}:{line}": lines
        for page in pages()
        for line, text in shown(page)
        if (lines := with_comments(text))
    }
    assert not found


def test_nothing_is_to_be_typed_that_an_old_curl_refuses() -> None:
    """`--json` came with 7.82; Ubuntu 22.04 has an older one."""
    new = re.compile(r"\bcurl\b[^|;&]*\s--json\b")
    found = {f"{page.relative_to(ROOT)}:{line}" for page in pages() for line, text in shown(page)
             if new.search(text)}  # fmt: skip
    assert not found
    assert new.search("curl http://localhost:8000/orders --json '{}'")


@pytest.mark.parametrize(
    ("text", "has_one"),
    [
        ("outbox dev status   # all", True),
        ("ls\n# then", True),
        ("echo 'a # b' \"c # d\" e#f $# ${#a}", False),
    ],
)
def test_a_comment_is_told_from_what_looks_like_one(text: str, has_one: bool) -> None:
    assert bool(with_comments(text)) is has_one
