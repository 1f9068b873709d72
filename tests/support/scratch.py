"""Where servers of tests keep what is of no use after them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30
"""Much more than the servers of a run have at once."""


def in_memory() -> str | None:
    """A folder in memory, if there is one with room, where programs may be run from, too."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        return None
    return None if os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC else str(_MEMORY)
