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
from outbox_operator.errors import ConflictError, CredentialsError, OutboxError, PostgresError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.archive import (
    ArchivePlan,
    ArchiveResult,
    archive_claim,
    archive_result,
    plan_archive_tables,
)
from outbox_operator.plan.passes.archive_tables import (
    desired_archive,
    with_api,
)
from outbox_operator.plan.passes.consumer import condition_types, consumer_result, keeps_pods
from outbox_operator.plan.passes.durable import DurableResult
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.plan.postgres.archive_numbers import ArchiveNumbers, BackfillNumbers, Gap
from outbox_operator.plan.postgres.archive_schema import ARCHIVE_VERSION, ObservedArchive
from outbox_operator.plan.postgres.archive_seals import Head
from outbox_operator.plan.postgres.mark import Mark
from outbox_operator.plan.postgres.state import ObservedDatabase, ObservedSchema
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.workload import WorkloadResult, replicas
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
    assert (result.state.database, result.state.version) == ("7:1", ARCHIVE_VERSION)

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


def marked(owner: Consumer | None = None) -> ObservedArchive:
    """An empty schema, that is said to be somebody's."""
    comment = None if owner is None else Mark(owner=Owner.of(owner.meta)).text()
    schema = ObservedSchema(owner="keeper", owned=True, may_create=True, comment=comment)
    database = dataclasses.replace(NOTHING.database, schema=schema)
    return dataclasses.replace(NOTHING, database=database)


@pytest.mark.parametrize("copied", [False, True])
def test_elsewhere_it_goes_on_only_with_what_is_in_it(copied: bool) -> None:
    resource = audit(ArchiveState(database="6:1", version=1))
    plan = planned(resource, marked(resource) if copied else marked())
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


BACKFILL = BackfillNumbers(
    source="/shop/orders", began_at=NOON, up_to=90, position=30, rows=20, stored=9, moved_at=NOON,
    ended_at=None, problem=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "status", "reason", "said"),
    [
        (None, "False", Reason.BACKFILLING, "not begun"),
        (
            BACKFILL, "False", Reason.BACKFILLING,
            "20 rows of /shop/orders, of which 9 were not archived yet; at position 30 of 90",
        ),
        (
            dataclasses.replace(BACKFILL, source="", problem="x" * 9000), "False",
            Reason.BACKFILL_STUCK, "spec.handler.archive.backfill: xxx",
        ),
        (dataclasses.replace(BACKFILL, ended_at=NOON), "True", Reason.BACKFILLED, "20 rows"),
    ],
)  # fmt: skip
def test_how_far_the_rows_of_the_outbox_are(
    found: BackfillNumbers | None, status: str, reason: Reason, said: str
) -> None:
    resource = audit(backfill={"connectionSecretRef": {"name": "orders"}})
    assert ConditionType.ARCHIVE_BACKFILLED in condition_types(resource.spec)
    result = told(resource, planned(resource), dataclasses.replace(WHOLE, backfill=found))
    part, state = result.backfilled, result.state
    assert part is not None
    assert (part.status, part.reason, part.blocks) == (status, reason, False)
    assert said in part.message
    assert len(part.message) < 1000
    assert state is not None
    assert (state.backfill is None) == (found is None)
    if found is not None and found.source:
        assert state.backfill is not None
        assert (state.backfill.rows, state.backfill.position) == (20, 30)
        assert (state.backfill.finishedAt is None) == (found.ended_at is None)
    assert told(audit(), planned(audit()), WHOLE).backfilled is None
    assert ConditionType.ARCHIVE_BACKFILLED not in condition_types(audit().spec)


BROKEN = SessionFailure(
    error=ConflictError("seal 3 is gone", reason=Reason.SEAL_BROKEN), entered=True
)


def test_what_is_missing_is_told_while_nothing_can_be_sealed() -> None:
    before = audit(ArchiveState(database="7:1", rows=5, lastSeal="3:aa"))
    numbers = dataclasses.replace(WHOLE, gaps=1, first_gaps=(GAP,))
    result = told(before, planned(before), numbers, BROKEN)
    assert [part.reason for part in result.parts] == [Reason.CONNECTED, Reason.SEAL_BROKEN]
    assert result.complete is not None
    assert result.complete.reason == Reason.EVENTS_MISSING
    assert result.state is not None
    assert (result.state.rows, result.state.gaps) == (9, 1)
    assert result.fresh


NINTH = Head(number=9, hash=bytes(32))


@pytest.mark.parametrize(
    ("database", "seal", "failure", "remembered"),
    [
        ("7:1", NINTH, None, str(NINTH)),
        ("7:1", NINTH, BROKEN, str(NINTH)),  # of something else, behind it
        # Not sealed any more, paused, or another one was at it: the chain may be another one now.
        ("7:1", None, None, "3:aa"),
        ("7:1", None, BROKEN, "3:aa"),
        (None, None, None, "3:aa"),
        # Another archive has another chain.
        ("6:1", NINTH, None, str(NINTH)),
        ("6:1", None, None, None),
        ("6:1", None, BROKEN, "3:aa"),
        ("6:1", NINTH, BROKEN, "3:aa"),
    ],
)
def test_a_seal_is_remembered_until_somebody_has_seen_that_the_chain_holds(
    database: str | None, seal: Head | None, failure: SessionFailure | None, remembered: str | None
) -> None:
    before = audit(ArchiveState(database=database, lastSeal="3:aa"))
    plan = planned(before, marked(before))
    result = archive_result(before, plan, failure, WHOLE, NOW, seal=seal)
    assert result.state is not None
    assert result.state.lastSeal == remembered


API = {
    "connectionSecretRef": {"name": "reader"},
    "jwt": {"issuer": "i", "audience": "a", "jwksUrl": "https://i/keys"},
}
NO_SECRET = CredentialsError("Secret shop/reader does not exist", reason=Reason.SECRET_NOT_FOUND)


@pytest.mark.parametrize(
    ("role", "error", "marked", "wanted", "said"),
    [
        ("api", None, "api", "api", None),
        ("api", None, None, "api", None),
        (None, NO_SECRET, "api", "api", "does not exist"),
        (None, NO_SECRET, None, None, "does not exist"),
        (None, NO_SECRET, "dropped", None, "does not exist"),
        ("dropped", None, "api", "api", "dropped"),
        ("writer", None, "api", "api", "reads and nothing else"),
        ("keeper", None, None, None, "reads and nothing else"),
    ],
)
def test_an_api_that_cannot_be_as_declared_stays_as_it_is(
    role: str | None,
    error: OutboxError | None,
    marked: str | None,
    wanted: str | None,
    said: str | None,
) -> None:
    resource = audit(api=API)
    archive = archive_of(resource.spec)
    assert archive is not None
    comment = Mark(owner=Owner.of(resource.meta), api_role=marked).text()
    schema = ObservedSchema(owner="keeper", owned=True, may_create=True, comment=comment)
    roles = frozenset({"writer", "keeper", "api"})
    database = dataclasses.replace(NOTHING.database, schema=schema, roles=roles)
    observed = dataclasses.replace(NOTHING, database=database)
    desired = desired_archive(archive, "spec", writer="writer", api_role=role)
    kept, refused = with_api(archive, desired, observed, error)
    assert (kept.api and kept.api.role) == wanted
    assert (said is None) == (refused is None)
    assert said is None or said in str(refused)
    plan = plan_archive_tables(
        resource, archive, kept, observed, archive_claim(resource, archive, frozenset())
    )
    result = archive_result(resource, plan, None, WHOLE, NOW, refused)
    assert [part.status for part in result.parts] == ["True", "True"]
    whole = consumer_result(resource, DurableResult(parts=()), result, WorkloadResult(), NOW,
                            pods=replicas(None))  # fmt: skip
    parts = {part.type: part for part in whole.parts}
    assert (ConditionType.API_AVAILABLE in parts) == (said is not None)
    if said is not None:
        assert said in parts[ConditionType.API_AVAILABLE].message
