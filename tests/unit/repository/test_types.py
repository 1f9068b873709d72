"""`hack/types`: what one clone found out is there for the next one, and nothing half of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.kube import ROOT

# What of mypy counts here: it says whether it had something to begin with.
UV = """#!/bin/sh
[ -e .mypy_cache/found ] && echo warm || echo cold
[ ! -e wrong ] || exit 1
mkdir -p .mypy_cache && echo it >.mypy_cache/found
"""


def made(clone: Path) -> Path:
    """A clone beside others, of what counts here."""
    (clone / "hack").mkdir(parents=True)
    shutil.copy(ROOT / "hack/types", clone / "hack/types")
    (clone / "hack/uv").write_text(UV)
    (clone / "hack/uv").chmod(0o755)
    return clone


def check(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "hack/types", *arguments], text=True, capture_output=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(clone.parent / "cache")},
    )  # fmt: skip


def test_a_fresh_clone_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    wrong, some, one, other = (made(tmp_path / name) for name in ("wrong", "some", "one", "other"))
    (wrong / "wrong").touch()
    assert check(wrong).returncode == 1
    assert check(some, "a.py").stdout == "cold\n"
    assert check(one).stdout == "cold\n", "neither a failure nor some files are kept"
    assert check(one).stdout == "warm\n"
    assert check(other).stdout == "warm\n"
    [kept] = (tmp_path / "cache/outbox-operator").iterdir()
    assert kept.name == "mypy.tar"


def test_what_cannot_be_read_is_said_and_made_anew(tmp_path: Path) -> None:
    one, other, third = (made(tmp_path / name) for name in ("one", "other", "third"))
    check(one)
    kept = tmp_path / "cache/outbox-operator/mypy.tar"
    kept.write_bytes(kept.read_bytes()[:1026])
    found = check(other)
    assert (found.returncode, found.stdout) == (0, "cold\n")
    assert f"{kept} cannot be read; going on without it" in found.stderr
    assert check(third).stdout == "warm\n"
