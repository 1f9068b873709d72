"""The pinned programs that a release is made, signed and proved with."""

from __future__ import annotations

from localkube import binaries
from localkube.layout import current_roots


def program(name: str) -> str:
    """Path of a program; built if it is missing, in some minutes."""
    places = current_roots()
    binaries.build(places, (name,))
    return str(binaries.path(places.cache, name))
