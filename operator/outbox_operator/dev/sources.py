"""Which files of Python changed below a folder, for those who start handlers anew on save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MOST_FILES: Final = 5000
"""Looked at; somebody who starts in `/` shall not read the disk all day."""
_LEFT_OUT: Final = frozenset(("__pycache__", "node_modules", "site-packages", "venv", "env"))


class Sources:
    """Files of Python below a folder, without hidden folders and virtual environments.

    Args:
        folder: Where handlers are imported from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = _times(folder)

    def changed(self) -> list[str]:
        """Files that were written, made or removed since the last look, as paths below the folder.

        Blocks for as long as reading the folders takes.
        """
        now, before = _times(self._folder), self._seen
        self._seen = now
        different = {path for path, _ in now.items() ^ before.items()}
        return sorted(os.path.relpath(path, self._folder) for path in different)


def _times(folder: Path) -> dict[str, tuple[int, int]]:
    """Time of change and size of each file, by path."""
    found: dict[str, tuple[int, int]] = {}
    for where, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _LEFT_OUT
            and not os.path.exists(os.path.join(where, name, "pyvenv.cfg"))
        ]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(where, name)
                try:
                    status = os.stat(path)
                except OSError:  # gone in this moment
                    continue
                found[path] = status.st_mtime_ns, status.st_size
                if len(found) >= MOST_FILES:
                    return found
    return found
