"""Expressions of the models, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from outbox_operator.api import patterns
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec, OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, EventStreamStatus
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec, OutboxTaskStatus

MODELS: tuple[type[BaseModel], ...] = (
    OutboxPipelineSpec, OutboxPipelineStatus, EventStreamSpec, EventStreamStatus,
    EventConsumerSpec, EventConsumerStatus, OutboxTaskSpec, OutboxTaskStatus,
)  # fmt: skip


def declared(schema: Any) -> Iterator[str]:
    """Every expression in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from declared(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for item in schema.values():
            yield from declared(item)


def test_every_expression_of_the_models_has_words_and_no_other() -> None:
    found = {one for model in MODELS for one in declared(model.model_json_schema())}
    assert found == set(patterns.WORDS)


@pytest.mark.parametrize(
    ("pattern", "found", "said"),
    [
        (patterns.SHARE, "ten", "wanted a share such as 10%, found 'ten'"),
        (patterns.SHARE, "9" * 65, f"wanted a share such as 10%, found '{'9' * 64}'…"),
        (patterns.SHARE, "1\n0", r"wanted a share such as 10%, found '1\n0'"),
        (patterns.DATA_KEY, "hunter 2", patterns.WORDS[patterns.DATA_KEY]),
        (patterns.DATABASE_HOSTS, "app:hunter2@db", patterns.WORDS[patterns.DATABASE_HOSTS]),
        (patterns.NO_SPACES, "redis://app:hunter2@db 1", patterns.WORDS[patterns.NO_SPACES]),
    ],
)
def test_what_was_found_is_told_where_it_is_no_secret(pattern: str, found: str, said: str) -> None:
    assert patterns.told(pattern, found) in (said, f"wanted {said}")
    assert "hunter" not in patterns.told(pattern, found)
