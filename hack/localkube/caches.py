"""What is kept to be used again: programs, images, and what Go keeps; where, and how much.

Space is asked for where it is needed, and only when something is going to be built there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from localkube.errors import LocalkubeError
from localkube.layout import Roots

_PROGRAMS_GIB = 2.0
_GO_GIB = 9.5
"""What all programs, and what Go keeps of building them, take: measured."""


def go_folders(home: Path) -> tuple[Path, Path]:
    """Where Go keeps what it compiled, and the sources it downloaded."""
    compiled = os.environ.get("GOCACHE") or home / ".cache" / "go-build"
    gopath = os.environ.get("GOPATH") or home / "go"
    return Path(compiled), Path(os.environ.get("GOMODCACHE") or Path(gopath) / "pkg" / "mod")


def require_space(places: Roots, share: float) -> None:
    """Make sure that there is room for what is about to be built.

    Args:
        places: folders of state and cache.
        share: how much of all the programs is to be built, from 0 to 1.

    Raises:
        LocalkubeError: a disk has too little; names the folder and what frees some.
    """
    compiled, _ = go_folders(Path.home())
    for folder, gib in ((places.cache, _PROGRAMS_GIB), (compiled, _GO_GIB)):
        free = shutil.disk_usage(_existing(folder)).free / 2**30
        if free < gib * share:
            raise LocalkubeError(
                f"{gib * share:.1f} GiB are needed in {folder}, {free:.1f} are free there: "
                "`localkube cache` shows what is kept, `localkube cache --clear` frees it; "
                "LOCALKUBE_CACHE and GOCACHE choose other folders"
            )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def sizes(places: Roots) -> Iterator[tuple[str, Path, int]]:
    """What is kept, where, and how many bytes of the disk it takes."""
    compiled, sources = go_folders(Path.home())
    for what, folder in (
        ("programs", places.cache / "bin"),
        ("images", places.cache / "images"),
        ("downloads", places.cache / "pypi"),
        ("compiled by Go, for all", compiled),
        ("sources of Go, for all", sources),
    ):
        yield what, folder, _used(folder)


def _used(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # removed meanwhile
    return total


def clear(places: Roots) -> None:
    """Remove what localkube keeps, and what Go compiled for it; sources stay with Go.

    Raises:
        LocalkubeError: something cannot be removed.
    """
    images = places.cache / "images"
    if images.exists() and shutil.which("buildah"):
        from localkube.buildah import Store

        Store(places.cache).clear()
    compiled, _ = go_folders(Path.home())
    for folder in (places.cache / "bin", places.cache / "pypi", images, compiled):
        try:
            shutil.rmtree(folder, ignore_errors=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LocalkubeError(f"{folder} cannot be removed: {error}") from error
