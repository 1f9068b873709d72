"""A short run of the checker against the relay as it is. `make check-delivery` does long ones."""

from __future__ import annotations

import pytest

from delivery.__main__ import describe
from delivery.run import run
from delivery.settings import Settings

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "settings",
    [
        Settings(seed=20261121, seconds=10, replicas=2, hold_seconds=4, pace=2),
        Settings(
            seed=4, seconds=8, replicas=1, hold_seconds=3, pace=2, payload_type="bytea",
            duplicate_window_seconds=20,
        ),
    ],
    ids=["two-relays", "one-relay"],
)  # fmt: skip
async def test_every_event_is_accounted_for(settings: Settings) -> None:
    result = await run(settings)
    assert result.passed, describe(result)
    assert result.events > 50
    assert result.faults.total() >= 3
