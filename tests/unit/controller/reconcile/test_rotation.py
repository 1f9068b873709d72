"""A rotated Secret is noticed within a minute: the pauses between two looks add up to less."""

from __future__ import annotations

import pytest

from outbox_operator.controller.reconcile import base, consumer, pipeline, secrets
from outbox_operator.controller.runtime.schedule import backoff_s, jittered_s

MINUTE = 60.0


@pytest.mark.parametrize("resync", [pipeline.RESYNC_SECONDS, consumer.POD_RESYNC_SECONDS])
def test_pods_are_rolled(resync: float) -> None:
    longest = jittered_s(resync, 1.0)
    assert longest is not None
    assert longest + secrets.TTL_SECONDS < MINUTE


def test_a_login_that_was_refused_is_tried_again() -> None:
    """What was refused is read anew at once, so only the back-off counts."""
    assert backoff_s(100, 1.0, base.STALLED_BACKOFF_SECONDS, 1.0) < MINUTE
