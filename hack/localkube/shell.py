"""Short system commands whose output or failure matters."""

from __future__ import annotations

import subprocess

from localkube.errors import LocalkubeError


def run(*argv: str) -> str:
    """Run a short system command and return its output.

    Raises:
        LocalkubeError: it failed; the text holds its own words.
    """
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    if result.returncode != 0:
        raise LocalkubeError(f"{' '.join(argv)} failed: {result.stderr.strip()}")
    return result.stdout
