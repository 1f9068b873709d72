"""Runs that share a connection share what may be in flight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.nats.ack_router import CONNECTION_BYTES, WINDOW_BYTES, AckRouter


@pytest.mark.parametrize(
    ("runs", "window"),
    [
        (0, WINDOW_BYTES),
        (1, WINDOW_BYTES),
        (4, WINDOW_BYTES),
        (16, CONNECTION_BYTES // 16),
        (64, WINDOW_BYTES // 8),
    ],
)
def test_many_runs_get_smaller_windows(runs: int, window: int) -> None:
    client = SimpleNamespace(new_inbox=lambda: "_INBOX.x")
    router = AckRouter(
        cast(Any, client), stream="S", address="a", why_lost=str, last_server_error=str
    )
    tokens = [router.register(cast(Any, object()))[0] for _ in range(runs)]
    assert router.window_bytes == window
    for token in tokens:
        router.forget(token)
    assert router.window_bytes == WINDOW_BYTES
