"""In which order tasks speak about a plan."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, PendingPlan, SchemaStatus
from outbox_operator.controller.reconcile.votes import votes_on
from outbox_operator.controller.runtime.objects import Objects
from support.resources import pipeline

PLAN = "0123456789abcdef"
ORDERS = dataclasses.replace(
    pipeline(), status=OutboxPipelineStatus(schema=SchemaStatus(pendingPlan=PendingPlan(hash=PLAN)))
)


def vote(uid: str, action: str, second: int, **more: Any) -> dict[str, Any]:
    """A task that is at work."""
    conditions = [{"type": "Complete", "status": "False", "reason": "Running"}]
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxTask",
        "metadata": {
            "name": uid, "namespace": ORDERS.meta.namespace, "uid": uid, "resourceVersion": "1",
            "creationTimestamp": f"2026-01-02T03:04:{second:02}Z",
        },
        "spec": {"pipelineRef": {"name": ORDERS.meta.name}, action: {"planHash": PLAN}, **more},
        "status": {"conditions": conditions},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "order"),
    [
        ([vote("b", "approveMigration", 2), vote("a", "rejectMigration", 1)], ["a", "b"]),
        # A second is all that the API server tells: who says no is heard last, and wins.
        ([vote("z", "approveMigration", 1), vote("a", "rejectMigration", 1)], ["z", "a"]),
        ([vote("a", "approveMigration", 1), vote("z", "rejectMigration", 1)], ["a", "z"]),
        # It may say for what it is meant, and this version would not know.
        ([vote("a", "approveMigration", 1, onlyOnSundays=True)], []),
    ],
)
def test_the_last_word(tasks: list[dict[str, Any]], order: list[str]) -> None:
    objects = Objects()
    for one in tasks:
        objects.observed(one)
    assert [one.task for one in votes_on(objects, ORDERS)] == order
