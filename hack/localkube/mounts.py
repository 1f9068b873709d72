"""Mounts below a cluster's folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from localkube.errors import LocalkubeError


def below(mounts: str, folder: Path) -> list[str]:
    """Mount points at or below a folder, the deepest first.

    Args:
        mounts: text of /proc/mounts, where spaces and the like are octal escapes.
        folder: an absolute path.
    """
    found = []
    for line in mounts.splitlines():
        point = unescape(line.split()[1])
        if Path(point).is_relative_to(folder):
            found.append(point)
    return sorted(found, key=lambda point: point.count("/"), reverse=True)


def unescape(text: str) -> str:
    """A path as /proc/mounts writes it, as it is."""
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", character)
    return text


def remove_below(folder: Path) -> None:
    """Unmount everything at or below a folder, also what is still in use (lazily).

    Raises:
        LocalkubeError: something stays mounted.
    """
    problem = ""
    # A mount point can be stacked, so one pass need not be enough.
    for _ in range(5):
        points = below(Path("/proc/self/mounts").read_text(), folder)
        if not points:
            return
        for point in points:
            done = subprocess.run(
                ["umount", "-l", point], capture_output=True, text=True, check=False, timeout=60
            )
            problem = done.stderr.strip() or problem
    raise LocalkubeError(f"mounts below {folder} cannot be removed: {problem}")
