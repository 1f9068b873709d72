"""The pinned programs that a release is made, signed and proved with."""

from __future__ import annotations

import os
import subprocess

from localkube import binaries
from localkube.layout import current_roots

from release.stamp import ROOT, Release

_SECONDS = 1800


def program(name: str) -> str:
    """Path of a program; built if it is missing, in some minutes."""
    places = current_roots()
    binaries.build(places, (name,))
    return str(binaries.path(places.cache, name))


def environment(release: Release) -> dict[str, str]:
    """Environment of programs that write times into what they make."""
    return {**os.environ, "SOURCE_DATE_EPOCH": str(release.epoch)}


def run(release: Release | None, *command: str) -> str:
    """What a program says.

    Raises:
        subprocess.CalledProcessError: it failed; with what it said.
    """
    done = subprocess.run(
        command, cwd=ROOT, env=environment(release) if release else None,
        capture_output=True, text=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}"
        raise subprocess.CalledProcessError(done.returncode, command, stderr=said)
    return done.stdout
