"""A rotated Secret is noticed within a minute: the pauses between two looks add up to less."""

from __future__ import annotations

import pytest

from outbox_operator.controller.runtime.schedule import backoff_s, jittered_s
from outbox_operator.controller.settings import from_environment

MINUTE = 60.0
SETTINGS = from_environment({"OUTBOX_IMAGE": "outbox-operator:1"})


@pytest.mark.parametrize("interval", [SETTINGS.pipeline_interval_s, SETTINGS.handler_interval_s])
def test_pods_are_rolled(interval: float) -> None:
    longest = jittered_s(interval, 1.0)
    assert longest is not None
    assert longest + SETTINGS.secret_age_s < MINUTE


def test_a_login_that_was_refused_is_tried_again() -> None:
    """What was refused is read anew at once, so only the back-off counts."""
    assert backoff_s(100, 1.0, SETTINGS.stalled_ceiling_s, 1.0) < MINUTE
