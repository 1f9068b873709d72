"""The parent cgroup of a cluster's pods, in every hierarchy: made, emptied, removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localkube import processes
from localkube.errors import LocalkubeError


def hierarchies(mounts: str) -> list[Path]:
    """Mount points of all cgroup hierarchies (several with v1, one with v2), each once."""
    found = []
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append(Path(point))
    return list(dict.fromkeys(found))


def _folders(name: str) -> list[Path]:
    mounts = Path("/proc/self/mounts").read_text()
    return [hierarchy / name for hierarchy in hierarchies(mounts)]


def create(name: str) -> None:
    """Make the cgroup in every hierarchy; kubelet wants its root to exist."""
    for folder in _folders(name):
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # With v1 a new cpuset is empty, and nothing can be put below an empty one.
            own, parent = folder / setting, folder.parent / setting
            if own.exists() and parent.exists() and not own.read_text().strip():
                own.write_text(parent.read_text())


def members(name: str) -> list[processes.ProcessRecord]:
    """Every process in the cgroup and below it."""
    pids: set[int] = set()
    for folder in _folders(name):
        for one in _tree(folder):
            try:
                pids.update(map(int, (one / "cgroup.procs").read_text().split()))
            except OSError:
                continue  # removed meanwhile
    return processes.records(pids)


def remove(name: str) -> None:
    """Remove the emptied cgroup and all below it; processes may take a moment to vanish.

    Raises:
        LocalkubeError: something is still in it.
    """
    if not processes.wait_until(lambda: all(map(_remove_tree, _folders(name))), 10):
        left = ", ".join(str(folder) for folder in _folders(name) if folder.exists())
        raise LocalkubeError(f"cgroups cannot be removed, processes are left in them: {left}")


def _tree(folder: Path) -> Iterator[Path]:
    """A cgroup and those below it, the deepest first."""
    if not folder.is_dir():
        return
    for child in folder.iterdir():
        if child.is_dir():
            yield from _tree(child)
    yield folder


def _remove_tree(folder: Path) -> bool:
    for one in list(_tree(folder)):
        try:
            one.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
