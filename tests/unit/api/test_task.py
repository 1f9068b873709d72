"""What a task may say, for those that no API server has looked at."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api.resource import parse_task
from outbox_operator.api.v1alpha1.task import TARGETS
from outbox_operator.errors import SpecError

OF_PIPELINE = {"pipelineRef": {"name": "orders"}}


def body(**spec: Any) -> dict[str, Any]:
    return {"kind": "OutboxTask", "metadata": {"name": "t", "namespace": "shop"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"diagnose": {}}, "set exactly one of pipelineRef, consumerRef and streamRef"),
        ({**OF_PIPELINE, "streamRef": {"name": "x"}, "diagnose": {}}, "set exactly one of"),
        (OF_PIPELINE, "set exactly one action"),
        ({**OF_PIPELINE, "diagnose": {}, "verify": {}}, "set exactly one action"),
        ({"streamRef": {"name": "x"}, "replayDeadLetters": {}}, "needs pipelineRef or consumerRef"),
        ({**OF_PIPELINE, "purgeDeadLetters": {}}, "set confirm to true, or dryRun"),
        (
            {**OF_PIPELINE, "replayDeadLetters": {"filter": {"since": "2026-01-31T09:00:00"}}},
            "has no time zone",
        ),
        # What a server takes for a time, and a text that no database has.
        (
            {**OF_PIPELINE, "replayHistory": {"fromTime": "0001-01-01T00:00:00+14:00"}},
            "within the years 1 to 9999",
        ),
        ({**OF_PIPELINE, "verify": {"toTime": "9999-12-31T23:59:59-12:00"}}, "years 1 to 9999"),
        ({**OF_PIPELINE, "replayHistory": {"keys": ["ok", "k\0"]}}, "keys"),
        ({**OF_PIPELINE, "replayHistory": {"eventTypes": ["a\0b"]}}, "eventTypes"),
        ({**OF_PIPELINE, "replayDeadLetters": {"ids": ["\0"]}}, "ids"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_task(body(**spec))


def test_action_and_target() -> None:
    spec = parse_task(body(**OF_PIPELINE, purgeDeadLetters={}, dryRun=True)).spec
    assert (spec.action, spec.target) == ("purgeDeadLetters", ("OutboxPipeline", "orders"))
    assert set(TARGETS) == {name for name in TARGETS if name in type(spec).model_fields}
