"""The files of the repository, as git knows them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.kube import ROOT


def tracked(*patterns: str) -> list[Path]:
    """Paths below the root that git has or would take, of those that match."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return sorted(path for line in listed.splitlines() if (ROOT / (path := Path(line))).is_file())
