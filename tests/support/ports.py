"""Loopback ports for servers that must know theirs beforehand or keep it over a restart.

Below the range from which the kernel serves whoever asks for just any port or connects somewhere,
so that nobody takes the port of a server that a test has stopped. Each worker of a parallel run
takes ports of its own, however many workers there are: of N workers, every N-th port.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from typing import Final

_PORTS: Final = range(20_000, 32_000)
_turns = itertools.count(random.randrange(len(_PORTS)))


def free_port() -> int:
    """A port that nobody listens on, and that no other worker of this run is given."""
    ours = _PORTS[_worker() :: _workers()]
    for turn in itertools.islice(_turns, len(ours)):
        port = ours[turn % len(ours)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"none of the {len(ours)} ports of this worker is free, from {ours[0]} on")


def _worker() -> int:
    """Number of this worker of a parallel run; 0 without one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _workers() -> int:
    """How many workers the run has."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
