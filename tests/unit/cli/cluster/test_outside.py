"""What the doctor looks at when a pipeline is named."""

from __future__ import annotations

from typing import Any

from outbox_operator.api import meta
from outbox_operator.cli.cluster import outside


def body(kind: str, name: str, spec: dict[str, Any] | None = None, of: str = "") -> dict[str, Any]:
    labels = {meta.PIPELINE_LABEL: of} if of else {}
    return {"kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec or {}}


def test_tasks_of_a_pipelines_consumers_belong_to_it() -> None:
    bodies = [
        body(meta.TASK, "reset", {"consumerRef": {"name": "orders-billing"}}),
        body(meta.TASK, "replay", {"pipelineRef": {"name": "orders"}}),
        body(meta.TASK, "other", {"consumerRef": {"name": "payments-audit"}}),
        body(meta.TASK, "of no kind", {"pipelineRef": {"name": "orders-billing"}}),
        body(meta.PIPELINE, "orders"),
        body(meta.PIPELINE, "payments"),
        body(meta.CONSUMER, "orders-billing", of="orders"),
        body(meta.CONSUMER, "payments-audit", of="payments"),
    ]
    found = [one["metadata"]["name"] for one in outside._of("orders", bodies)]
    assert found == ["orders", "orders-billing", "reset", "replay"]
    assert outside._of(None, bodies) == bodies
