"""Which files changed, for those who start handlers anew on save or apply a manifest again."""

from __future__ import annotations

import os
from collections.abc import Sequence
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


class Files:
    """Some files by name, and all that lie in some folders.

    Args:
        paths: Need not exist.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._seen = self._look()

    def changed(self) -> bool:
        """Whether one was written, made or removed since the last look."""
        now, before = self._look(), self._seen
        self._seen = now
        return now != before

    def _look(self) -> dict[str, tuple[int, int] | None]:
        files = [one for path in self._paths for one in _in(path)]
        return {str(path): _time(path) for path in files}


def _in(path: Path) -> list[Path]:
    try:
        return list(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return [path]


def _time(path: str | Path) -> tuple[int, int] | None:
    """Time of change and size of a file; None: it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


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
                if (time := _time(path)) is not None:  # else it is gone in this moment
                    found[path] = time
                if len(found) >= MOST_FILES:
                    return found
    return found
