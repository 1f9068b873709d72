"""What a rebase is asked for by a task, and what it answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.task import TaskResult
from outbox_operator.api.v1alpha1.task_actions import Rebase
from outbox_operator.plan.postgres.rebase import Choice, ShardFacts
from outbox_operator.plan.tasks.rebase import announcement, answer, choice_of

SHARDS = [
    ShardFacts(
        shard=0, rows=7, chosen=2, first=4, last=9, problem=None,
        oldest=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ),
    ShardFacts(
        shard=1, rows=3, chosen=0, first=None, last=None, oldest=None, problem="from elsewhere"
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, Choice()),
        ({"publish": "None"}, Choice(which="none")),
        ({"publish": "All"}, Choice(which="all")),
        (
            {"publish": "FromPosition", "position": 5},
            Choice(which="from-position", position=5),
        ),
        (
            {"publish": "CreatedAfter", "createdAfter": "2026-01-02T03:04:05Z"},
            Choice(which="created-after", created_after=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ),
    ],
)
def test_what_is_asked_for(asked: dict[str, Any], choice: Choice) -> None:
    assert choice_of(Rebase.model_validate(asked)) == choice


@pytest.mark.parametrize(
    ("choice", "dry_run", "says"),
    [
        (Choice(), True, "2 of 10 rows would be published; the relay leaves out"),
        (Choice(), False, "2 of 10 rows are to be published; the relay leaves out"),
        (Choice(which="all"), False, "see those a second time"),
        (Choice(which="none"), False, "2 of 10 rows are to be published"),
    ],
)
def test_what_is_answered(choice: Choice, dry_run: bool, says: str) -> None:
    result = answer(choice, SHARDS, dry_run=dry_run)
    assert says in result.summary
    assert result.counts == {"rows": 10, "chosen": 2, "shards": 2}
    assert [one.message for one in result.findings] == [
        "its cursor belongs to this server; 2 of 7 rows, positions 4 to 9, the oldest of "
        "2026-01-02T03:04:05Z",
        "from elsewhere; none of 3 rows",
    ]
    # And it is still there when the operator that asked is not.
    written = announcement("123", "456", result)
    assert TaskResult.model_validate(written["result"]) == result
