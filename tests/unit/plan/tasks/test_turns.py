"""Whose turn it is among tasks, and when one may work on what it names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from outbox_operator.api.resource import Task, parse_meta, parse_task
from outbox_operator.errors import DependencyError, TaskFailedError
from outbox_operator.plan.tasks.target import Never, Ready, Waits, check_database, look_at
from outbox_operator.plan.tasks.traits import TRAITS, Excludes, traits_of
from outbox_operator.plan.tasks.turns import Turn, ahead_of, exclude


def turn(
    uid: str, *, made: int = 0, family: str = "p", target: str = "p",
    excludes: Excludes = "target", working: bool = False,
) -> Turn:  # fmt: skip
    return Turn(
        uid=uid, name=uid, created=f"2026-01-01T00:00:0{made}Z", family=family, target=target,
        excludes=excludes, working=working,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mine", "others", "ahead"),
    [
        (turn("a"), [], None),
        (turn("b", made=1), [turn("a")], "a"),
        (turn("a"), [turn("b", made=1)], None),
        # Of the same second, the UID decides.
        (turn("b"), [turn("a")], "a"),
        (turn("a"), [turn("b")], None),
        # The one at work goes on, also where an older one woke up.
        (turn("a"), [turn("b", made=1, working=True)], "b"),
        (turn("b", made=1, working=True), [turn("a")], None),
        # Another target of the same pipeline, another pipeline, and who only looks.
        (turn("b", made=1, target="c"), [turn("a")], None),
        (turn("b", made=1, target="c", excludes="pipeline"), [turn("a")], "a"),
        (turn("b", made=1, target="c"), [turn("a", excludes="pipeline")], "a"),
        (turn("b", made=1, family="q", target="q"), [turn("a", excludes="pipeline")], None),
        (turn("b", made=1, excludes="nothing"), [turn("a", excludes="pipeline")], None),
        (turn("c", made=2), [turn("b", made=1), turn("a"), turn("c", made=2)], "a"),
        # Looks wait for their own kind on the same pipeline, and hold up nobody else.
        (turn("b", made=1, target="c", excludes="verify"), [turn("a", excludes="verify")], "a"),
        (turn("b", made=1, excludes="verify"), [turn("a", excludes="diagnose")], None),
        (turn("b", made=1, excludes="verify"), [turn("a", excludes="pipeline")], None),
        (turn("b", made=1, excludes="pipeline"), [turn("a", excludes="verify")], None),
        (turn("b", made=1, family="q", excludes="verify"), [turn("a", excludes="verify")], None),
    ],
)
def test_whose_turn_it_is(mine: Turn, others: list[Turn], ahead: str | None) -> None:
    assert next((one.name for one in ahead_of(mine, others)), None) == ahead


def test_tasks_exclude_each_other_or_neither_does() -> None:
    kinds: tuple[Excludes, ...] = ("nothing", "target", "pipeline", "verify", "diagnose")
    turns = [
        turn(f"{family}{target}{kind}", family=family, target=target, excludes=kind)
        for family in "pq"
        for target in "xy"
        for kind in kinds
    ]
    assert all(exclude(one, two) is exclude(two, one) for one in turns for two in turns)


def test_nobody_waits_for_ever() -> None:
    """Of any set, at least one has its turn."""
    turns = [turn(uid, made=made, working=uid == "c") for made, uid in enumerate("abcd")]
    assert [one.name for one in turns if not ahead_of(one, turns)] == ["c"]


@pytest.mark.parametrize("action", ["verify", "diagnose"])
@pytest.mark.parametrize("dry", [False, True])
def test_looks_are_made_one_after_another(action: str, dry: bool) -> None:
    """Three hundred at once, of a CronJob or a tenant, took the memory of all."""
    assert traits_of(a_task(dryRun=dry, **{action: {}}).spec).excludes == action


def test_a_dry_run_is_in_nobodys_way() -> None:
    for action in ("replayDeadLetters", "replayHistory"):
        assert TRAITS[action].changes
        spec = a_task(dryRun=True, **{action: {}}).spec
        assert (traits_of(spec).excludes, traits_of(spec).changes) == ("nothing", False)


def a_task(*, status: dict[str, Any] | None = None, **spec: Any) -> Task:
    return parse_task(
        {
            "kind": "OutboxTask",
            "metadata": {"name": "t", "namespace": "shop", "uid": "t-1"},
            "spec": {"pipelineRef": {"name": "orders"}, **spec},
            "status": status or {},
        }
    )


def pipeline(**metadata: Any) -> dict[str, Any]:
    return {
        "kind": "OutboxPipeline",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "p-1", **metadata},
        "spec": {},
    }


PAUSED = {"annotations": {"outbox.dev/paused": "true"}}
TAKEN = {"conditions": [{"type": "SchemaApplied", "reason": "TakenOver", "message": "it is gone"}]}
REPLAY: dict[str, Any] = {"replayDeadLetters": {}}
PURGE: dict[str, Any] = {"purgeDeadLetters": {"confirm": True}}
WAITS = {"schema": {"currentVersion": 4, "pendingPlan": {"hash": "0a1b2c3d"}}}
HAD = {"target": {"kind": "OutboxPipeline", "name": "orders", "uid": "p-1"}}


BEHIND: tuple[dict[str, Any], ...] = (
    REPLAY,
    PURGE,
    {"replayHistory": {}},
    {"replayHistory": {}, "dryRun": True},
    {"verify": {}},
)
NOT_BEHIND: tuple[dict[str, Any], ...] = (
    {**PURGE, "dryRun": True},
    {"diagnose": {}},
    {"rebase": {}},
    {"approveMigration": {"planHash": "0a1b2c3d0a1b2c3d"}},
)


@pytest.mark.parametrize(
    ("task", "body", "found"),
    [
        (a_task(**REPLAY), pipeline(), "p-1"),
        (a_task(**REPLAY), None, "TargetNotFound: OutboxPipeline orders does not exist"),
        (a_task(**REPLAY, status=HAD), None, "never TargetGone: OutboxPipeline orders was deleted"),
        (
            a_task(**REPLAY, status=HAD),
            pipeline(uid="p-2"),
            "never TargetGone: OutboxPipeline orders was deleted and made anew",
        ),
        (
            a_task(**REPLAY),
            pipeline(deletionTimestamp="2026-01-01T00:00:00Z"),
            "never TargetGone: OutboxPipeline orders is being deleted",
        ),
        (a_task(**REPLAY), pipeline(**PAUSED), "Paused: OutboxPipeline orders is paused"),
        (a_task(**REPLAY, dryRun=True), pipeline(**PAUSED), "p-1"),
        (a_task(diagnose={}), pipeline(**PAUSED), "p-1"),
        (a_task(**REPLAY), {**pipeline(), "status": TAKEN}, "TakenOver: "),
        (a_task(verify={}), {**pipeline(), "status": TAKEN}, "p-1"),
        *(
            (
                a_task(**action),
                {**pipeline(), "status": WAITS},
                "MigrationsMissing: the tables of OutboxPipeline orders are of schema version 4, "
                "and this needs 5; plan 0a1b2c3d has to run first. kubectl outbox plan show orders "
                "-n shop says what it does, kubectl outbox plan approve orders 0a1b2c3d -n shop "
                "lets it",
            )
            for action in BEHIND
        ),
        (
            a_task(**PURGE),
            {**pipeline(), "status": {"schema": {"currentVersion": 4}}},
            "MigrationsMissing: the tables of OutboxPipeline orders are of schema version 4, and "
            "this needs 5; its migrations have not run yet: kubectl outbox status orders -n shop",
        ),
        *((a_task(**action), {**pipeline(), "status": WAITS}, "p-1") for action in NOT_BEHIND),
        (a_task(**PURGE), {**pipeline(), "status": {"schema": {"currentVersion": 5}}}, "p-1"),
        (a_task(**PURGE), {**pipeline(), "status": {"schema": {}}}, "p-1"),
    ],
)
def test_what_is_in_the_way_of_a_task(task: Task, body: dict[str, Any] | None, found: str) -> None:
    verdict = look_at(task, body, None)
    match verdict:
        case Ready():
            said = verdict.family
        case Waits():
            said = f"{verdict.reason}: {verdict.message}"
        case Never():
            said = f"never {verdict.reason}: {verdict.message}"
    assert said.startswith(found)


def test_a_consumer_is_paused_with_its_pipeline_and_belongs_to_it() -> None:
    task = parse_task(
        {
            "kind": "OutboxTask", "metadata": {"name": "t", "namespace": "shop", "uid": "t-1"},
            "spec": {"consumerRef": {"name": "orders-billing"}, **REPLAY},
        }
    )  # fmt: skip
    owner = {"kind": "OutboxPipeline", "name": "orders", "uid": "p-1", "controller": True}
    consumer = {
        "kind": "EventConsumer",
        "metadata": {"name": "orders-billing", "uid": "c-1", "ownerReferences": [owner]},
    }
    found = look_at(task, consumer, pipeline())
    assert isinstance(found, Ready)
    assert (found.family, found.target.uid) == ("p-1", "c-1")
    found = look_at(task, consumer, pipeline(**PAUSED))
    assert isinstance(found, Waits)
    assert "kubectl annotate outboxpipeline orders outbox.dev/paused-" in found.message


@pytest.mark.parametrize(
    ("known", "began", "said"),
    [
        (None, None, None),
        (None, "7/1", None),
        ("7/1", None, None),
        ("7/1", "7/1", None),
        ("7/2", None, "leads to another database (identity 7/1) than the one that has the outbox"),
        ("7/2", "7/2", "leads to another database"),
        ("7/1", "7/2", "is in another database now (identity 7/1)"),
        (None, "7/2", "is in another database now (identity 7/1)"),
    ],
)
def test_it_works_where_its_outbox_is(
    known: str | None, began: str | None, said: str | None
) -> None:
    owner = parse_meta(pipeline())
    if said is None:
        check_database(owner, "7/1", known=known, began=began)
        return
    with pytest.raises((DependencyError, TaskFailedError), match=re.escape(said)) as caught:
        check_database(owner, "7/1", known=known, began=began)
    assert isinstance(caught.value, TaskFailedError) is (known in (None, "7/1"))


@pytest.mark.parametrize(
    "status",
    [
        {"pendingMove": {"hash": "0a", "text": "from A to B"}},
        {"conditions": [{"reason": "ApprovalPending", "message": "from A to B"}]},
    ],
)
def test_nothing_is_changed_where_a_move_waits(status: dict[str, Any]) -> None:
    body = {
        "kind": "EventConsumer",
        "metadata": {"name": "b", "namespace": "shop", "uid": "c-1"},
        "status": status,
    }

    def of(**spec: Any) -> Task:
        named = {"consumerRef": {"name": "b"}, **spec}
        metadata = {"name": "t", "namespace": "shop", "uid": "t-1"}
        return parse_task({"kind": "OutboxTask", "metadata": metadata, "spec": named})

    found = look_at(of(**REPLAY), body, None)
    assert isinstance(found, Waits)
    assert found.message.endswith("from A to B. kubectl outbox plan show evc/b -n shop")
    others: tuple[dict[str, Any], ...] = (
        {"approveMigration": {"planHash": "0a1b2c3d0a1b2c3d"}},
        {"diagnose": {}},
    )
    for other in others:
        assert isinstance(look_at(of(**other), body, None), Ready)
