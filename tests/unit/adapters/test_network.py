"""Why a connection failed, in words that are nobody's inner state."""

from __future__ import annotations

import socket

import pytest

from outbox_operator.adapters.network import network_problem

BOTH = (
    "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), "
    "[Errno {}] Connect call failed ('127.0.0.1', 1)"
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "no such host"),
        (OSError(BOTH.format(111)), "connection refused"),
        (OSError(BOTH.format(113)), "connection refused, no route to host"),
        (OSError("Multiple exceptions: what else"), None),
        (ConnectionError("unexpected connection_lost() call"), "the connection was closed"),
        (ConnectionError('PostgreSQL server at "a:1" rejected SSL upgrade'), None),
        (OSError(113, "No route to host"), None),  # its own text will do
        (RuntimeError("connection_lost()"), None),
    ],
)
def test_in_words(error: Exception, said: str | None) -> None:
    assert network_problem(error) == said
