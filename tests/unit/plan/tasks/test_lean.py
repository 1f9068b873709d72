"""What is remembered of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.controller.runtime.objects import Objects, key_of
from outbox_operator.plan.tasks.lean import is_lean, lean


def task(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "t", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
    return {"kind": "OutboxTask", "metadata": metadata, "spec": spec}


LONG = [f"id-{number}" for number in range(1000)]


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        (
            task(consumerRef={"name": "a"}, replayDeadLetters={"ids": LONG, "limit": 3}),
            {"consumerRef": {"name": "a"}, "replayDeadLetters": {"ids": LONG[:1], "limit": 3}},
        ),
        (
            task(purgeDeadLetters={"filter": {"keys": LONG, "reasons": ["Refused"]}}),
            {"purgeDeadLetters": {"filter": {"keys": LONG[:1], "reasons": ["Refused"]}}},
        ),
    ],
)
def test_long_lists_are_left_out(body: dict[str, Any], spec: dict[str, Any]) -> None:
    found = lean(body)
    assert (found["spec"], is_lean(found), is_lean(body)) == (spec, True, False)
    objects = Objects()
    objects.observed(body)
    assert objects.get(key_of(body)) == found


@pytest.mark.parametrize(
    "body",
    [
        task(consumerRef={"name": "a"}, replayDeadLetters={"ids": LONG[:20]}),
        {**task(), "spec": None},
        {**task(ids=LONG), "kind": "EventConsumer"},
    ],
)
def test_all_else_is_kept(body: dict[str, Any]) -> None:
    assert lean(body) is body
    assert not is_lean(body)
