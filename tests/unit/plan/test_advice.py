"""The command that a reason leads to: the way out, and logs where nothing is better."""

from __future__ import annotations

import pytest

from outbox_operator.api import meta
from outbox_operator.plan.advice import STEPS, beyond_status, next_step, step_or_look
from outbox_operator.reasons import Reason


@pytest.mark.parametrize(
    ("reason", "kind", "command"),
    [
        (Reason.STREAM_FULL, meta.PIPELINE, "kubectl edit obp/a -n shop"),
        (Reason.RELAY_NOT_PROGRESSING, meta.PIPELINE, "kubectl outbox doctor a -n shop"),
        (Reason.PODS_NOT_READY, meta.PIPELINE, "kubectl outbox doctor a -n shop"),
        (Reason.PODS_NOT_READY, meta.CONSUMER, "kubectl outbox logs evc/a -n shop"),
        (Reason.CRASH_LOOP_BACK_OFF, meta.CONSUMER, "kubectl outbox logs evc/a -n shop --previous"),
        (Reason.BACKLOG_ABOVE_THRESHOLD, meta.PIPELINE, "kubectl outbox doctor a -n shop"),
        (Reason.PUBLISHING_WITHOUT_FENCE, meta.PIPELINE, "kubectl edit obp/a -n shop"),
        (Reason.STREAM_ROLLED_BACK, meta.PIPELINE, "kubectl outbox verify a -n shop"),
        (Reason.KEY_BUSY, meta.TASK, "kubectl outbox status -n shop"),
    ],
)
def test_the_way_out(reason: Reason, kind: str, command: str) -> None:
    assert next_step(reason, kind, "shop", "a") == command


def test_only_what_pods_say_leads_to_logs_alone() -> None:
    of_logs = {reason for reason, step in STEPS.items() if step.startswith("kubectl outbox logs")}
    assert of_logs == {Reason.PODS_NOT_READY, Reason.CRASH_LOOP_BACK_OFF}


@pytest.mark.parametrize(
    "reason",
    [Reason.PODS_NOT_READY, Reason.RELAY_NOT_PROGRESSING, Reason.BACKLOG_ABOVE_THRESHOLD],
)
def test_the_doctor_sends_nobody_back_to_itself(reason: Reason) -> None:
    assert step_or_look(reason, meta.PIPELINE, "shop", "a") == "kubectl outbox logs a -n shop"


def test_status_does_not_name_itself() -> None:
    assert beyond_status(Reason.KEY_BUSY, meta.PIPELINE, "shop", "a") == ""
    assert beyond_status(Reason.PODS_NOT_READY, meta.PIPELINE, "shop", "a") != ""
