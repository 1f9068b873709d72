"""A rotated Secret is noticed within a minute: the pauses between two looks add up to less."""

from __future__ import annotations

import pytest

from outbox_operator.controller.runtime.schedule import backoff_seconds, jittered_seconds
from outbox_operator.controller.settings import from_environment

MINUTE = 60.0
SETTINGS = from_environment({"OUTBOX_IMAGE": "outbox-operator:1"})


@pytest.mark.parametrize(
    "interval", [SETTINGS.pipeline_interval_seconds, SETTINGS.handler_interval_seconds]
)
def test_pods_are_rolled(interval: float) -> None:
    longest = jittered_seconds(interval, 1.0)
    assert longest is not None
    assert longest + SETTINGS.secret_age_seconds < MINUTE


def test_a_login_that_was_refused_is_tried_again() -> None:
    """What was refused is read anew at once, so only the back-off counts."""
    assert backoff_seconds(100, 1.0, SETTINGS.stalled_ceiling_seconds, 1.0) < MINUTE
