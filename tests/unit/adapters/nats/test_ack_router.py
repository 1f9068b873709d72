"""Runs that share a connection share what may be in flight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.nats.ack_router import LINK_BYTES, WINDOW_BYTES, Link


@pytest.mark.parametrize(
    ("runs", "window"),
    [
        (0, WINDOW_BYTES),
        (1, WINDOW_BYTES),
        (4, WINDOW_BYTES),
        (16, LINK_BYTES // 16),
        (64, WINDOW_BYTES // 8),
    ],
)
def test_many_runs_get_smaller_windows(runs: int, window: int) -> None:
    client = SimpleNamespace(new_inbox=lambda: "_INBOX.x")
    link = Link(cast(Any, client), stream="S", address="a", why_lost=str, last_server_error=str)
    tokens = [link.register(cast(Any, object()))[0] for _ in range(runs)]
    assert link.window_bytes == window
    for token in tokens:
        link.forget(token)
    assert link.window_bytes == WINDOW_BYTES
