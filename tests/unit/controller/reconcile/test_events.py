"""What people see in the events of an object, and how it is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from outbox_operator.api.conditions import Condition, ConditionStatus
from outbox_operator.controller.reconcile.events import EventReporter, with_step

BODY = {"kind": "OutboxPipeline", "metadata": {"name": "orders", "namespace": "shop"}}


class Recorded:
    """An API server that keeps the type of each event."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.notes: list[str] = []

    async def record_event(self, _body: Mapping[str, Any], **fields: str) -> None:
        self.said.append((fields["type"], fields["reason"]))
        self.notes.append(fields["note"])


def ready(status: ConditionStatus, reason: str) -> list[Condition]:
    return [Condition(type="Ready", status=status, reason=reason)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (ready("Unknown", "Reconciling"), ready("True", "PipelineRunning"),
         [("Normal", "PipelineRunning")]),
        (ready("True", "PipelineRunning"), ready("True", "PipelineRunning"), []),
        (ready("True", "PipelineRunning"), ready("True", "Stopped"), [("Normal", "Stopped")]),
        # On purpose, or on its way.
        (ready("True", "InSync"), ready("False", "RollingOut"), [("Normal", "RollingOut")]),
        ([], ready("False", "Reconciling"), [("Normal", "Reconciling")]),
        (ready("True", "Stopped"), ready("False", "Stopping"), [("Normal", "Stopping")]),
        ([], ready("Unknown", "NotStarted"), [("Normal", "NotStarted")]),
        # Something is wrong.
        (ready("False", "RollingOut"), ready("False", "CrashLoopBackOff"),
         [("Warning", "CrashLoopBackOff")]),
        (ready("True", "InSync"), ready("False", "PodsNotReady"), [("Warning", "PodsNotReady")]),
        (ready("True", "InSync"), ready("Unknown", "NatsUnreachable"),
         [("Warning", "NatsUnreachable")]),
        (ready("True", "InSync"), ready("False", "ApprovalPending"),
         [("Warning", "ApprovalPending")]),
    ],
)  # fmt: skip
async def test_a_warning_is_something_wrong(
    before: list[Condition], after: list[Condition], said: list[tuple[str, str]]
) -> None:
    kube = Recorded()
    await EventReporter(cast(Any, kube)).ready(BODY, before, after)
    assert kube.said == said


@pytest.mark.parametrize(
    ("note", "step", "said"),
    [
        ("3 statements wait.", "kubectl x", "3 statements wait; see: kubectl x"),
        ("run kubectl x", "kubectl x", "run kubectl x"),
        ("it is so", "", "it is so"),
        ("é" * 999, "kubectl x", "é" * 490 + "…; see: kubectl x"),
    ],
)
def test_a_warning_names_the_command_that_shows_more(note: str, step: str, said: str) -> None:
    assert with_step(note, step) == said
    assert len(with_step(note, step).encode()) <= 1000


async def test_only_warnings_do() -> None:
    kube = Recorded()
    reporter = EventReporter(cast(Any, kube))
    await reporter.ready(BODY, [], ready("False", "ApprovalPending"))
    await reporter.ready(BODY, [], ready("True", "PipelineRunning"))
    assert kube.notes == [
        "OutboxPipeline is ready; see: kubectl outbox plan show orders -n shop",
        "OutboxPipeline is ready",
    ]
