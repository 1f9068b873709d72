"""What pages show, as it stands there, and programs made of it in other languages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from localkube import binaries

from support.kube import ROOT

LANGUAGES: Final = ROOT / "tests/support/languages"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outbox-operator"
_BUILD_SECONDS: Final = 600


def fences(page: str, language: str) -> list[str]:
    """Texts of the fences of a language on a page, in order."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^ *```{language}\b[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def filled(template: str, fence: str) -> str:
    """A program of `languages` with a fence in its place."""
    before, found, after = (LANGUAGES / template).read_text().partition("// FENCE\n")
    assert found, template
    return before + fence + after


def go_program(folder: Path, sources: dict[str, str]) -> Path:
    """Build a program; its modules are those of `languages/go.mod`.

    Raises:
        AssertionError: It is no Go; with what the compiler says.
    """
    for name, text in sources.items():
        (folder / name).write_text(text)
    for name in ("go.mod", "go.sum"):
        shutil.copy(LANGUAGES / name, folder)
    program = folder / "program"
    # As the tools are built, so that most is in the compiler's cache already.
    done = subprocess.run(
        [binaries.find_go(CACHE / "localkube"), "build", "-trimpath", "-buildvcs=false", "-o",
         program, "."],
        cwd=folder, env=binaries.go_environment(os.environ), capture_output=True, text=True,
        check=False, timeout=_BUILD_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program


def node_environment() -> dict[str, str]:
    """An environment in which `node`, `npm` and `npx` are found."""
    return binaries.node_environment(CACHE / "localkube", os.environ)


def node_modules() -> Path:
    """The packages of `languages/package.json`, installed once for each state of its lock file."""
    lock = (LANGUAGES / "package-lock.json").read_bytes()
    kept = CACHE / f"node-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=kept.parent))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(LANGUAGES / name, folder)
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder,
                env=node_environment(), check=True, capture_output=True, timeout=_BUILD_SECONDS,
            )  # fmt: skip
            with contextlib.suppress(OSError):  # another process was faster
                folder.rename(kept)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    # Under this name: packages look for each other there.
    return kept / "node_modules"
