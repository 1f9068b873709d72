"""Loopback ports for servers that must know theirs beforehand or keep it over a restart.

Below the range from which the kernel serves whoever asks for just any port or connects somewhere,
so that nobody takes the port of a server that a test has stopped. Each worker of a parallel run
takes from a part of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from typing import Final

_FIRST: Final = 20_000
_WORKERS: Final = 12
_EACH: Final = 1_000
_turns = itertools.count(random.randrange(_EACH))


def free_port() -> int:
    """A port that nobody listens on, and that nobody else in this run is given."""
    start = _FIRST + _EACH * (_worker() % _WORKERS)
    for turn in itertools.islice(_turns, _EACH):
        port = start + turn % _EACH
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port from {start} to {start + _EACH - 1}")


def _worker() -> int:
    """Number of this worker of a parallel run; 0 without one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
