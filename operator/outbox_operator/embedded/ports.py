"""Ports that stay the same from run to run, as long as nobody else takes them."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Final

from outbox_operator.embedded.process import free_port

_LONGEST_NUMBER: Final = 20
"""Bytes of a file with a port that are read."""
_LOWEST: Final = 1024


def kept_port(file: Path) -> int:
    """The port of the run before if nobody listens there, else one that is free; kept in a file.

    Args:
        file: Holds the port; may not exist, or hold anything.
    """
    port = port_in(file)
    if port is None or not _is_free(port):
        port = free_port()
        with contextlib.suppress(OSError):  # a full disk: the next run has another one
            file.write_text(f"{port}\n")
    return port


def port_in(file: Path) -> int | None:
    """The port that a file holds; None: none that could be kept."""
    try:
        with file.open("rb") as open_file:
            port = int(open_file.read(_LONGEST_NUMBER))
    except (OSError, ValueError):
        return None
    return port if _LOWEST <= port <= 0xFFFF else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of the run before that are fading away are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))  # nothing listens: this only asks
        except OSError:
            return False
    return True
