"""An archive within a pass: what is done about it, and what is said of what is in it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.errors import CredentialsError, OutboxError, PostgresError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.archive import (
    ArchivePlan,
    ArchiveResult,
    archive_claim,
    archive_result,
    desired_archive,
    plan_archive_tables,
)
from outbox_operator.plan.passes.consumer import keeps_pods
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers, Gap
from outbox_operator.plan.postgres.archive_schema import ObservedArchive
from outbox_operator.plan.postgres.mark import Mark
from outbox_operator.plan.postgres.state import ObservedDatabase, ObservedSchema
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason
from support.passes import NOW, paused
from support.resources import consumer

ARCHIVE: dict[str, Any] = {
    "connectionSecretRef": {"name": "writer"},
    "retention": [{"name": "default", "keep": "90d"}],
}
NOTHING = ObservedArchive(
    database=ObservedDatabase(
        server_version=150018, database="audit", role="keeper", identity="7:1"
    )
)
NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
EMPTY = ArchiveNumbers(
    rows=0, bytes=8192, partitions=5, unpartitioned=0, oldest=None, newest=None, shards=0, gaps=0,
    first_gaps=(), numbered_to=None,
)  # fmt: skip
WHOLE = dataclasses.replace(EMPTY, rows=9, shards=2, numbered_to=NOON, oldest=NOON, newest=NOON)
GAP = Gap(
    source="/shop/orders", shard=1, first=8, last=9, sent_after=NOON - timedelta(minutes=5),
    sent_before=NOON,
)  # fmt: skip


def audit(status: ArchiveState | None = None, **archive: Any) -> Consumer:
    """A consumer with an archive, and what its status said of it."""
    resource = consumer(name="audit", handler={"archive": {**ARCHIVE, **archive}})
    return dataclasses.replace(resource, status=EventConsumerStatus(archive=status))


def planned(
    resource: Consumer, observed: ObservedArchive | SessionFailure = NOTHING, *votes: Vote
) -> ArchivePlan:
    archive = archive_of(resource.spec)
    assert archive is not None
    claim = archive_claim(resource, archive, frozenset())
    desired = desired_archive(archive, "spec", writer="writer")
    if isinstance(observed, ObservedArchive):
        roles = frozenset({"writer"})
        observed = dataclasses.replace(
            observed, database=dataclasses.replace(observed.database, roles=roles)
        )
    return plan_archive_tables(resource, archive, desired, observed, claim, votes)


def told(
    resource: Consumer,
    plan: ArchivePlan,
    numbers: ArchiveNumbers | None = EMPTY,
    failure: SessionFailure | None = None,
) -> ArchiveResult:
    return archive_result(resource, plan, failure, numbers, NOW)


def test_tables_are_made_at_once_or_once_a_person_agrees() -> None:
    plan = planned(audit())
    assert plan.change is Change.PATCHED
    result = told(audit(), plan)
    assert [part.reason for part in result.parts] == [Reason.CONNECTED, Reason.UP_TO_DATE]
    assert result.state is not None
    assert (result.state.database, result.state.version) == ("7:1", 1)

    careful = audit(migrations={"policy": "RequireApproval"})
    plan = planned(careful)
    assert (plan.change, plan.part and plan.part.reason) == (
        Change.FROZEN,
        Reason.APPROVAL_PENDING,
    )
    held = told(careful, plan, None)
    assert held.state is not None
    assert held.state.pendingPlan is not None
    assert held.state.pendingPlan.hash == plan.hash
    assert held.state.version is None
    assert not held.located
    agreed = Vote(task="t", name="yes", plan=plan.hash or "", approves=True)
    assert planned(careful, NOTHING, agreed).change is Change.PATCHED


def test_paused_it_is_left_as_it_is() -> None:
    plan = planned(paused(audit()))
    assert plan.change is Change.FROZEN
    assert told(paused(audit()), plan).parts[1].reason == Reason.UPDATE_FROZEN


@pytest.mark.parametrize("copied", [False, True])
def test_elsewhere_it_goes_on_only_with_what_is_in_it(copied: bool) -> None:
    resource = audit(ArchiveState(database="6:1", version=1))
    comment = Mark(owner=Owner.of(resource.meta)).text() if copied else None
    schema = ObservedSchema(owner="keeper", owned=True, may_create=True, comment=comment)
    database = dataclasses.replace(NOTHING.database, schema=schema)
    plan = planned(resource, dataclasses.replace(NOTHING, database=database))
    result = told(resource, plan, None)
    assert plan.change is (Change.PATCHED if copied else Change.FROZEN)
    assert (result.pending_move is None) == copied
    why = keeps_pods(DurableResult(parts=()), result, changed=False)
    assert (why is None) == copied
    if not copied:
        assert "archive may move" in (why or "")
        assert result.state is not None
        assert result.state.database == "6:1"


@pytest.mark.parametrize(
    ("error", "entered", "worker", "reasons"),
    [
        (PostgresError("away"), False, False, [Reason.POSTGRES_UNREACHABLE]),
        (CredentialsError("no"), True, True, [Reason.CREDENTIALS_REJECTED, Reason.UP_TO_DATE]),
        (
            PostgresError("locked", reason=Reason.LOCK_TIMEOUT), True, False,
            [Reason.CONNECTED, Reason.LOCK_TIMEOUT],
        ),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_of_its_part(
    error: OutboxError, entered: bool, worker: bool, reasons: list[Reason]
) -> None:
    failure = SessionFailure(error=error, entered=entered, worker=worker)
    before = audit(ArchiveState(database="7:1", rows=5))
    result = told(before, planned(before), None, failure)
    assert [part.reason for part in result.parts] == reasons
    assert result.complete is None
    assert result.state is not None
    assert result.state.rows == 5, "what nobody could read stays as it was"


@pytest.mark.parametrize(
    ("numbers", "filters", "status", "reason", "to", "gaps"),
    [
        (EMPTY, [], "Unknown", Reason.NOT_PROVABLE, None, None),
        (WHOLE, [], "True", Reason.NOTHING_MISSING, "2026-11-29T12:00:00Z", 0),
        (WHOLE, ["orders.a"], "Unknown", Reason.NOT_PROVABLE, None, None),
        (
            dataclasses.replace(WHOLE, gaps=7, first_gaps=(GAP,)), [], "False",
            Reason.EVENTS_MISSING, "2026-11-29T11:55:00Z", 7,
        ),
        (
            dataclasses.replace(
                WHOLE, gaps=1, first_gaps=(dataclasses.replace(GAP, sent_after=None),)
            ),
            [], "False", Reason.EVENTS_MISSING, None, 1,
        ),
    ],
)  # fmt: skip
def test_nobody_claims_more_than_the_numbers_prove(
    numbers: ArchiveNumbers,
    filters: list[str],
    status: str,
    reason: Reason,
    to: str | None,
    gaps: int | None,
) -> None:
    resource = audit()
    spec = resource.spec.model_copy(update={"filterSubjects": filters})
    resource = dataclasses.replace(resource, spec=spec)
    result = told(resource, planned(resource), numbers)
    part, state = result.complete, result.state
    assert part is not None
    assert state is not None
    assert (part.type, part.status, part.reason) == (
        ConditionType.ARCHIVE_COMPLETE,
        status,
        reason,
    )
    assert not part.blocks
    assert (state.completeTo, state.gaps) == (to, gaps)
    if reason == Reason.EVENTS_MISSING:
        assert "shard 1 of /shop/orders: 8 to 9" in part.message
