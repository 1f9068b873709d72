"""What is said of a database while a look at it is under way."""

from __future__ import annotations

import dataclasses

import pytest

from outbox_operator.api.conditions import Condition
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus, SchemaStatus
from outbox_operator.plan.passes.approval import Question
from outbox_operator.plan.passes.database import DatabaseResult
from outbox_operator.plan.passes.database_result import CONNECTED, MIGRATED
from outbox_operator.plan.passes.pending import NOT_LOOKED, database_pending, inbox_pending
from outbox_operator.plan.passes.pipeline import relay_unchanged
from outbox_operator.wire.tables import CURRENT_SCHEMA_VERSION
from support.resources import consumer, pipeline


@pytest.mark.parametrize(
    ("schema_applied", "generation", "elsewhere", "reasons", "said"),
    [
        # As the process before left it: a new leader whose look waits says no less.
        ("True", 1, False, ["Connected", "UpToDate"], "True"),
        ("True", 1, True, ["NotObserved", "NotObserved"], "True"),
        ("False", 1, False, ["NotObserved", "NotObserved"], "Unknown"),
        ("True", 0, False, ["NotObserved", "NotObserved"], "Unknown"),
    ],
)
def test_what_is_said_while_a_look_is_under_way(
    schema_applied: str, generation: int, elsewhere: bool, reasons: list[str], said: str
) -> None:
    said_before = [
        Condition(type=kind, status=status, reason=reason, observedGeneration=generation)
        for kind, status, reason in (
            ("DatabaseReachable", "True", "Connected"),
            ("SchemaApplied", schema_applied, "UpToDate"),
            ("RelayAvailable", schema_applied, "MinimumReplicas"),
        )
    ]
    before = SchemaStatus(currentVersion=CURRENT_SCHEMA_VERSION - 1)
    status = OutboxPipelineStatus(conditions=said_before, schema=before)
    resource = dataclasses.replace(pipeline(), status=status)
    result = database_pending(resource, None, elsewhere=elsewhere)
    assert [result.reachable.reason, result.schema_applied.reason] == reasons
    # No relay is made or changed: its Secret may lead elsewhere by now.
    assert (result.pending, result.migrated, result.schema, result.sample) == (
        True, False, before, None,
    )  # fmt: skip
    assert result.waiting  # so that the numbers that were read last are exported yet
    assert [part.status for part in relay_unchanged(resource).parts] == [said]
    if said == "Unknown":
        assert result.reachable.message == NOT_LOOKED


def test_a_look_under_way_repeats_the_last_without_what_was_done() -> None:
    last = DatabaseResult(
        reachable=CONNECTED, schema_applied=MIGRATED, migrated=True,
        question=Question(part="Schema", plan="abc"), drifts=("a column was dropped",),
    )  # fmt: skip
    result = database_pending(pipeline(), last, elsewhere=False)
    assert (result.reachable, result.schema_applied, result.migrated) == (CONNECTED, MIGRATED, True)
    assert result.waiting
    assert (result.drifts, result.question, result.pending) == ((), None, False)


@pytest.mark.parametrize(("generation", "elsewhere"), [(1, False), (1, True), (2, False)])
def test_what_is_said_of_an_inbox(generation: int, elsewhere: bool) -> None:
    """What was known of this generation there; else nothing: no pods start on a guess."""
    known = [
        Condition(type=kind, status="True", reason="R", observedGeneration=generation)
        for kind in ("DatabaseReachable", "SchemaApplied")
    ]
    resource = dataclasses.replace(consumer(), status=EventConsumerStatus(conditions=known))
    result = inbox_pending(resource, elsewhere=elsewhere)
    holds = generation == 1 and not elsewhere
    assert [part.status for part in result.parts] == ["True" if holds else "Unknown"] * 2
    assert result.pending is not holds
