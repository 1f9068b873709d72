"""The inbox table of a consumer within a pass: what is done about it, what is said then."""

from __future__ import annotations

import dataclasses

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.errors import CredentialsError, OutboxError, PostgresError
from outbox_operator.plan.passes.inbox import (
    InboxPlan,
    InboxResult,
    inbox_result,
    plan_inbox_table,
)
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.schema import inbox_tables
from outbox_operator.plan.postgres.state import DesiredInbox, ObservedDatabase, ObservedSchema
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from outbox_operator.wire.tables import INBOX
from support import schema
from support.passes import paused
from support.resources import consumer

DESIRED = DesiredInbox(schema="outbox", consumer_role=None)
AS_WANTED = dataclasses.replace(
    schema.NOTHING,
    schema=ObservedSchema(owner="owner", owned=True, may_create=True),
    tables={table.name: schema.found(table) for table in inbox_tables(DESIRED)},
    indexes=schema.found_indexes(inbox_tables(DESIRED)),
)


@pytest.mark.parametrize(
    ("observed", "is_paused", "change", "reason"),
    [
        (AS_WANTED, False, Change.NOOP, Reason.UP_TO_DATE),
        (AS_WANTED, True, Change.NOOP, Reason.UP_TO_DATE),
        (schema.NOTHING, False, Change.PATCHED, Reason.UP_TO_DATE),
        (schema.NOTHING, True, Change.FROZEN, Reason.UPDATE_FROZEN),
    ],
)
def test_the_plan(
    observed: ObservedDatabase, is_paused: bool, change: Change, reason: Reason
) -> None:
    resource = paused(consumer()) if is_paused else consumer()
    plan = plan_inbox_table(resource, DESIRED, observed)
    assert plan.change is change
    result = inbox_result(plan, None)
    assert [part.reason for part in result.parts] == [Reason.CONNECTED, reason]
    assert result.error is None


def test_no_inbox_has_nothing_to_say() -> None:
    assert InboxResult().parts == ()


@pytest.mark.parametrize(
    ("error", "entered", "types"),
    [
        (CredentialsError("refused"), False, ["DatabaseReachable"]),
        (PostgresError("gone"), True, ["DatabaseReachable"]),
        (PostgresError("busy", reason=Reason.LOCK_TIMEOUT), True,
         ["DatabaseReachable", "SchemaApplied"]),
    ],
)  # fmt: skip
def test_what_went_wrong(error: OutboxError, entered: bool, types: list[str]) -> None:
    failure = SessionFailure(error=error, entered=entered)
    planned = plan_inbox_table(consumer(), DESIRED, failure)
    for result in (inbox_result(planned, None), inbox_result(InboxPlan(), failure)):
        assert [part.type for part in result.parts] == types
        assert result.parts[-1].failing
        assert result.error is error


def test_the_login_of_the_pods_is_no_failure_of_the_schema() -> None:
    refused = SessionFailure(error=CredentialsError("refused"), entered=True, worker=True)
    result = inbox_result(InboxPlan(), refused)
    assert [(part.status, part.reason) for part in result.parts] == [
        ("False", "CredentialsRejected"), ("True", "UpToDate"),
    ]  # fmt: skip
    assert result.parts[0].stalled


def test_a_table_that_cannot_be_made_so_is_a_failure_of_the_schema() -> None:
    old = dataclasses.replace(AS_WANTED, server_version=120000)
    result = inbox_result(plan_inbox_table(consumer(), DESIRED, old), None)
    assert [part.status for part in result.parts] == ["True", "False"]


def test_an_inbox_that_was_dropped_is_made_again_and_said() -> None:
    applied = Condition(
        type="SchemaApplied", status="True", reason="UpToDate", observedGeneration=1
    )
    before = dataclasses.replace(consumer(), status=EventConsumerStatus(conditions=[applied]))
    (said,) = inbox_result(plan_inbox_table(before, DESIRED, schema.NOTHING), None).corrections
    assert said.startswith("table outbox.consumer_inbox was gone and has been made again")
    new = inbox_result(plan_inbox_table(consumer(), DESIRED, schema.NOTHING), None)
    assert new.corrections == ()
    bare = dataclasses.replace(
        AS_WANTED, tables={INBOX: AS_WANTED.tables[INBOX]}
    )  # without the positions
    (said,) = inbox_result(plan_inbox_table(before, DESIRED, bare), None).corrections
    assert "was missing" in said
    away = SessionFailure(error=PostgresError("away"), entered=False)
    assert inbox_result(plan_inbox_table(before, DESIRED, schema.NOTHING), away).corrections == ()


ELSEWHERE = dataclasses.replace(schema.NOTHING, identity="2/7")
COPIED = dataclasses.replace(AS_WANTED, identity="2/7")
HASH, KNOWN = "HASH", "KNOWN"


@pytest.mark.parametrize(
    ("before", "found", "unacknowledged", "approve", "held", "says"),
    [
        (None, ELSEWHERE, 3, None, False, None),  # a new one
        ("2/7", ELSEWHERE, 3, None, False, None),  # by another name or login
        ("1/5", dataclasses.replace(ELSEWHERE, identity=None), 3, None, False, None),
        ("1/5", ELSEWHERE, 3, None, True, None),
        ("1/5", ELSEWHERE, 3, "another", True, None),
        ("1/5", ELSEWHERE, 3, HASH, False, "3 messages were handed out"),
        ("1/5", ELSEWHERE, 0, None, False, "0 messages were handed out"),
        ("1/5", COPIED, 3, None, True, None),  # an inbox of others
        ("1/5", COPIED, 3, KNOWN, False, "knew the consumer already"),
    ],
)
def test_a_login_that_leads_to_another_database(
    before: str | None,
    found: ObservedDatabase,
    unacknowledged: int,
    approve: str | None,
    held: bool,
    says: str | None,
) -> None:
    """What was handled is known where the inbox was: what may come again would be handled again."""
    resource = consumer()
    status = EventConsumerStatus(inboxDatabase=before)
    resource = dataclasses.replace(resource, status=status)
    if approve == HASH:
        first = plan_inbox_table(resource, DESIRED, found, unacknowledged)
        assert first.move is not None
        approve = first.move.hash
    if approve not in (None, KNOWN):
        annotations = {meta.APPROVE_PLAN_ANNOTATION: approve}
        resource = dataclasses.replace(
            resource, meta=dataclasses.replace(resource.meta, annotations=annotations)
        )
    known = approve == KNOWN
    plan = plan_inbox_table(resource, DESIRED, found, unacknowledged, known=known)
    result = inbox_result(plan, None)
    assert result.held is held
    assert (result.moved is None) is (says is None)
    assert says is None or says in str(result.moved)
    assert result.corrections == ()
    assert result.database == (None if held else found.identity)
    assert (result.parts[-1].reason is Reason.APPROVAL_PENDING) is held
