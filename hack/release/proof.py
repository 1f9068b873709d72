"""What is held of the images of a release: what is in them, that they run, that they come again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from localkube.buildah import Store

from release import image, sbom, stamp
from release.layout import Layout
from release.stamp import Release, ReleaseError

_UNWANTED = ("usr/bin/gcc", "usr/bin/pip", "opt/venv/bin/pip", "root/.cache/")
_EMULATORS = {"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}
# Compiled parts of what the image brings, each of which has to fit the machine.
_IMPORTED = (
    "aiohttp", "asyncpg", "cryptography.hazmat.bindings._rust", "hiredis", "nacl.signing",
    "pydantic_core", "sqlite3", "ssl", "uvloop", "yaml", "outbox_operator.cli.main",
)  # fmt: skip
_SECONDS = 600


def facts(machine: str, folder: Path) -> dict[str, object]:
    """What there is to say of an image, and what it must not have.

    Args:
        machine: the architecture that it is for.
        folder: its layout.

    Raises:
        ReleaseError: it runs as root, holds what builds and tests need or programs of another
            architecture, or is not whole.
    """
    layout = Layout(folder)
    config = json.loads(json.dumps(layout.config))
    unwanted = [
        path
        for path, _, _ in layout.files()
        if path.startswith(_UNWANTED) or "/site-packages/pytest" in path
    ]
    programs = layout.machines()
    if {*programs, config["architecture"]} != {machine}:
        unwanted.append(f"of {config['architecture']}, with programs for {programs}")
    problems = layout.problems() + unwanted
    if problems or config["config"]["User"] in ("", "0", "root"):
        raise ReleaseError(
            f"the image for {machine}: user {config['config'].get('User')!r}, {problems}"
        )
    packages = sbom.packages(layout)
    return {
        "digest": layout.digest,
        "user": config["config"]["User"],
        "layers": {layer.name[:12]: layer.stat().st_size for layer in layout.layers()},
        "bytes": sum(layer.stat().st_size for layer in layout.layers()),
        "unpacked": sum(entry.size for _, entry, _ in layout.files()),
        "packages": {kind: sum(one.kind == kind for one in packages) for kind in ("deb", "pypi")},
        "programs": programs[machine],
    }


def emulated(machine: str, folder: Path, root: Path) -> str:
    """Start the program of an image for another architecture, and load all that is compiled.

    Args:
        machine: the architecture.
        folder: layout of the image.
        root: where to unpack it; made.

    Returns:
        What it said.

    Raises:
        ReleaseError: it does not run.
    """
    root.mkdir()
    for layer in Layout(folder).layers():
        subprocess.run(
            ["tar", "--extract", f"--file={layer}", "--gzip"],
            cwd=root,
            check=True,
            timeout=_SECONDS,
        )
    emulator = shutil.which(_EMULATORS[machine])
    if emulator is None:
        raise ReleaseError(f"{_EMULATORS[machine]} is not installed: `localkube prereqs`")
    shutil.copy(emulator, root / "emulator")
    python = ["chroot", str(root), "/emulator", "/opt/venv/bin/python"]
    said = ""
    for arguments in (
        ["/opt/venv/bin/outbox", "--version"],
        ["-c", f"import {', '.join(_IMPORTED)}"],
    ):
        done = subprocess.run(
            [*python, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        if done.returncode:
            raise ReleaseError(f"the image for {machine}: {arguments}: {done.stderr.strip()}")
        said += done.stdout
    shutil.rmtree(root)
    return f"{machine}: {said.strip()}"


def rebuilt(release: Release, built: Mapping[str, Path], scratch: Path) -> None:
    """Build the images again in an empty store.

    Args:
        release: what is released.
        built: architecture -> layout of its image as it was built before.
        scratch: where to build.

    Raises:
        ReleaseError: one is another one; names files that differ.
    """
    sources = scratch / "sources-again"
    stamp.export(release, sources)
    store = Store(scratch / "store")
    try:
        for machine, folder in built.items():
            target = scratch / f"layout-again-{machine}"
            _same(Layout(folder), image.build(release, sources, target, store, machine))
    finally:
        store.clear()
        shutil.rmtree(scratch / "store", ignore_errors=True)


def _same(wanted: Layout, found: Layout) -> None:
    if found.digest == wanted.digest:
        return
    before, after = (
        {path: (entry.get_info(), content) for path, entry, content in one.files()}
        for one in (wanted, found)
    )
    names = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    raise ReleaseError(
        f"an image was built again: wanted {wanted.digest}, found {found.digest}; "
        f"{len(names)} files differ: {', '.join(names[:20])}"
    )
