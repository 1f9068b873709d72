"""Keys of a kubeconfig as files that end with the process, however it ends.

The `kubernetes` library, and the TLS of Python, want keys and certificates as files. In a folder
for temporary ones they stay when a process is killed: somebody's key, on the disk, for good.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Final

CAN: Final = hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd")
"""Whether this system has files in memory alone; macOS does not."""


@functools.cache
def hold(content: str | bytes) -> str:
    """The path of a file with that content, for this process alone and as long as it runs."""
    handle = os.memfd_create("kubeconfig")
    with open(os.dup(handle), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return f"/proc/self/fd/{handle}"


def instead_of(other: Callable[..., str]) -> Callable[..., str]:
    """What to call for a file with a content: `hold`, or where that cannot be what there was."""
    if not CAN:
        return other

    def held(content: str | bytes, *_: object, **__: object) -> str:
        return hold(content)

    return held
