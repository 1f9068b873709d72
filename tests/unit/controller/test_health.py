"""What the operator's probes say."""

from __future__ import annotations

import pytest

from outbox_operator.controller.health import Health


@pytest.mark.parametrize(
    ("behind", "silent", "failing"),
    [(0, 0, set()), (180, 180, set()), (181, 0, {"watch"}), (0, 181, {"heartbeat"})],
)
def test_a_deaf_watch_fails_liveness(behind: float, silent: float, failing: set[str]) -> None:
    health = Health(180, lambda: behind, lambda: silent)
    assert {name for name, check in health.live.items() if not check()[0]} == failing


@pytest.mark.parametrize(
    ("role", "ready"),
    [("starting", False), ("standby", True), ("leader", True), ("stopping", False)],
)
def test_a_standby_is_ready(role: str, ready: bool) -> None:
    health = Health(180, lambda: 0, lambda: 0)
    health.role = role
    assert health.ready["role"]() == (ready, role)
