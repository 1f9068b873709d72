"""What persons say of a plan that waits: each word counts once, until the plan runs or changes."""

from __future__ import annotations

import dataclasses

import pytest

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.approval import Approvals, Decision
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.plan.passes.approval import (
    LONGEST_HISTORY,
    LONGEST_REASON,
    Question,
    Vote,
    allows,
    annotation_counted,
    approvals_after,
    held,
    last_word,
    outdone,
)
from support.passes import NOW
from support.resources import pipeline

PLAN, OTHER = "0123456789abcdef", "fedcba9876543210"
FIELD = "spec.database.migrations.approvedPlan"
YES = Vote(
    task="u1", name="yes", plan=PLAN, approves=True, by="ann", verified=True,
    time="2026-01-02T03:00:00Z",
)  # fmt: skip
NO = Vote(
    task="u2", name="no", plan=PLAN, approves=False, by="bob", time="2026-01-02T03:00:00Z",
    reason="not on a Friday.",
)  # fmt: skip
LATER = dataclasses.replace(YES, task="u3", time="2026-01-02T03:01:00Z")


def resource(
    *, field: str | None = None, annotation: str | None = None, before: Approvals | None = None
) -> Pipeline:
    """A pipeline that says this of its plans."""
    migrations = {"policy": "RequireApproval", **({"approvedPlan": field} if field else {})}
    database = {"connectionSecretRef": {"name": "orders-db"}, "migrations": migrations}
    found = pipeline(database=database)
    annotations = {meta.APPROVE_PLAN_ANNOTATION: annotation} if annotation else {}
    return dataclasses.replace(
        found,
        meta=dataclasses.replace(found.meta, annotations=annotations),
        status=OutboxPipelineStatus(approvals=before),
    )


def after(
    before: Approvals | None,
    waits: str | None,
    *votes: Vote,
    field: str | None = None,
    annotation: str | None = None,
    shown: str | None = None,
) -> tuple[Approvals | None, str | None]:
    """A pass that finds a plan waiting: what is known then, and what was said of the plan.

    A plan that is approved runs in this pass. `shown` waited when the status was written last.
    """
    one = resource(field=field, annotation=annotation, before=before)
    word = None if waits is None else last_word(one, "Schema", waits, votes)
    question = Question(
        part="Schema", before=shown, plan=waits, waits=waits is not None and not allows(word)
    )
    return approvals_after(one, [question], votes, NOW), word.decision if word else None


def told(approvals: Approvals | None) -> list[tuple[str, str, str]]:
    history = approvals.history if approvals else []
    return [(one.decision, one.through.split()[0], one.state) for one in history]


@pytest.mark.parametrize(
    ("field", "annotation", "votes", "said"),
    [
        (None, None, [], None),
        (PLAN, None, [], "Approved"),
        (None, PLAN, [], "Approved"),
        (None, None, [YES], "Approved"),
        (None, None, [NO], "Rejected"),
        (OTHER, OTHER, [], None),  # stale, or of another part
        (PLAN, PLAN, [NO], "Rejected"),  # at the same time: nothing runs
        (None, None, [NO, LATER], "Approved"),  # somebody thought better of it
        (None, None, [YES, NO], "Rejected"),  # of one second: nothing runs
        (OTHER, PLAN, [], "Approved"),
    ],
)
def test_the_last_word(
    field: str | None, annotation: str | None, votes: list[Vote], said: str | None
) -> None:
    assert after(None, PLAN, *votes, field=field, annotation=annotation)[1] == said


def test_a_field_approves_once_and_stays() -> None:
    """Nothing has to be taken out of a repository, and what waits later is not waved through."""
    known, said = after(None, PLAN, field=PLAN)
    assert (said, told(known)) == ("Approved", [("Approved", FIELD, "Done")])
    assert known is not None
    assert (known.spentPlan, known.history[0].time) == (PLAN, "2026-01-02T03:04:05Z")
    known, said = after(known, None, field=PLAN)
    assert (said, known is not None and known.spentPlan) == (None, PLAN)
    # The same statements wait again: somebody has dropped the same index again.
    known, said = after(known, PLAN, field=PLAN)
    assert (said, told(known)) == (None, [("Approved", FIELD, "Done")])
    part = held(
        resource(field=PLAN, before=known), ConditionType.SCHEMA_APPLIED, PLAN, None, "1 waits"
    )
    assert "has approved this plan once" in part.message
    # Taken out and put back it is a new word.
    known, _ = after(known, PLAN)
    assert known is not None
    assert known.spentPlan is None
    known, said = after(known, PLAN, field=PLAN)
    assert said == "Approved"
    assert told(known) == 2 * [("Approved", FIELD, "Done")]


def test_a_rejection_holds_until_the_plan_changes() -> None:
    known, said = after(None, PLAN, NO, shown=PLAN)
    assert (said, told(known)) == ("Rejected", [("Rejected", "OutboxTask", "Open")])
    known, said = after(known, PLAN, NO, shown=PLAN)  # the task is still there
    assert (said, told(known)) == ("Rejected", [("Rejected", "OutboxTask", "Open")])
    word = last_word(resource(before=known), "Schema", PLAN)
    part = held(resource(before=known), ConditionType.SCHEMA_APPLIED, PLAN, word, "1 waits")
    assert (part.reason, part.stalled) == ("PlanRejected", True)
    assert part.message == (
        f"plan {PLAN} was rejected by bob at 2026-01-02T03:00:00Z: not on a Friday. It does not "
        "run unless it is approved"
    )
    known, said = after(known, OTHER, shown=PLAN)
    assert (said, told(known)) == (None, [("Rejected", "OutboxTask", "Outdated")])
    assert after(known, PLAN, shown=OTHER)[1] is None


def test_who_decides_last_decides() -> None:
    known, _ = after(None, PLAN, NO)
    known, said = after(known, PLAN, LATER, field=OTHER)
    assert said == "Approved"
    assert told(known) == [
        ("Rejected", "OutboxTask", "Replaced"),
        ("Approved", "OutboxTask", "Done"),
    ]
    # An approval that could not be carried out yet is taken back.
    waits = Question(part="Schema", plan=PLAN, waits=True)
    locked = approvals_after(resource(field=PLAN), [waits], (), NOW)
    assert told(locked) == [("Approved", FIELD, "Open")]
    assert after(locked, PLAN, field=PLAN)[1] == "Approved"
    known, said = after(locked, PLAN, NO, field=PLAN)
    assert (said, told(known)[0][2]) == ("Rejected", "Replaced")


def test_who_approved_is_known_although_the_operator_was_killed() -> None:
    """Between the migration and the status: the plan that was shown has run."""
    known, _ = after(None, None, YES, shown=PLAN)
    assert told(known) == [("Approved", "OutboxTask", "Done")]
    assert known is not None
    (one,) = known.history
    assert (one.by, one.verified, one.task, one.plan) == ("ann", True, "u1", PLAN)
    # Nobody knows of a plan that was never shown.
    assert after(None, None, YES, shown=OTHER)[0] is None


def test_a_word_on_a_plan_that_cannot_be_looked_at_is_kept() -> None:
    away = Question.unchanged("Schema", PLAN)
    known = approvals_after(resource(), [away, None], (YES,), NOW)
    assert told(known) == [("Approved", "OutboxTask", "Open")]
    assert approvals_after(resource(), [None], (YES,), NOW) is None
    assert Question.unchanged("Schema", None) is None


def test_a_part_does_not_speak_for_another() -> None:
    known, _ = after(None, PLAN, NO)
    assert last_word(resource(before=known), "Stream", PLAN) is None
    stream = Question(part="Stream", plan=OTHER, waits=True)
    assert approvals_after(resource(before=known), [stream], (), NOW) == known


@pytest.mark.parametrize(
    ("plan", "waits", "looked", "gone"),
    [
        (PLAN, True, True, False),  # it has yet to run
        (PLAN, False, True, True),
        (OTHER, True, True, False),  # somebody may want to know why it does nothing
        (OTHER, False, True, True),  # nothing waits for it any more
        (OTHER, False, False, False),
    ],
)
def test_when_the_annotation_goes(plan: str, waits: bool, looked: bool, gone: bool) -> None:
    one = resource(annotation=PLAN)
    question = Question(part="Schema", plan=plan, waits=waits) if looked else None
    known = approvals_after(one, [question], (), NOW)
    assert annotation_counted(one, [question], known) is gone
    assert annotation_counted(resource(), [question], None) is False
    # Once it is written down it is not counted again, whether or not it could be removed.
    again = approvals_after(resource(annotation=PLAN, before=known), [question], (), NOW)
    if waits:
        assert told(again) == told(known)


def votes(*said: str) -> list[Vote]:
    """Tasks by what they say and the second in which they were made, as "yes 1"."""
    return [
        dataclasses.replace(
            YES if one.startswith("yes") else NO, task=f"{one}, {at}", name=one,
            time=f"2026-01-02T03:00:{int(one.split()[1]):02}Z",
        )
        for at, one in enumerate(said)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "last"),
    [
        (["yes 0", *[f"no {at}" for at in range(1, 11)]], "Rejected"),
        (["yes 0", *[f"no {at}" for at in range(1, 12)]], "Rejected"),
        (["yes 0", *["no 0"] * 12], "Rejected"),  # all in one file
        (["no 0", *[f"yes {at}" for at in range(1, 30)]], "Approved"),
        ([f"{word} {at}" for at in range(29) for word in ("yes", "no")], "Rejected"),
    ],
)
def test_what_was_said_does_not_come_to_life_again(said: list[str], last: str) -> None:
    """The history forgets the first of them while their tasks are still at work."""
    known: Approvals | None = None
    before, waits = known, Question(part="Schema", before=PLAN, plan=PLAN, waits=True)
    for _ in range(4):
        before = known
        one = resource(before=before)
        word = last_word(one, "Schema", PLAN, votes(*said))
        assert word is not None
        assert word.decision == last
        known = approvals_after(one, [waits], votes(*said), NOW)
    assert known == before, "a pass that hears nothing new writes nothing"
    assert known is not None
    assert [one.state for one in known.history].count("Open") == 1
    tasks = [one for one in votes(*said) if one.task not in {o.task for o in known.history}]
    assert all(outdone(one, known) for one in tasks), "they end, although nothing is kept of them"


@pytest.mark.parametrize(
    ("first", "then", "last"),
    [
        ("no 9", "yes 1", "Rejected"),
        ("yes 9", "no 1", "Approved"),
        ("no 1", "yes 9", "Approved"),
        ("no 5", "yes 5", "Rejected"),
    ],
)
def test_a_task_that_is_heard_late_speaks_in_its_turn(first: str, then: str, last: str) -> None:
    """One that waited, was suspended, or whose pass was slow."""
    waits = Question(part="Schema", before=PLAN, plan=PLAN, waits=True)
    known = approvals_after(resource(), [waits], votes(first), NOW)
    one = resource(before=known)
    word = last_word(one, "Schema", PLAN, votes(first, then))
    assert word is not None
    assert word.decision == last
    known = approvals_after(one, [waits], votes(first, then), NOW)
    assert known is not None
    states = {o.task: o.state for o in known.history}
    assert sorted(states.values()) == ["Open", "Replaced"]
    assert states[word.task] == "Open"


def test_a_plan_that_waits_is_not_forgotten_over_another_part() -> None:
    known, _ = after(None, PLAN, NO, shown=PLAN)
    stream = Question(part="Stream", before=OTHER, plan=OTHER, waits=True)
    for one in votes(*[f"no {at}" for at in range(30)]):
        on_stream = dataclasses.replace(one, plan=OTHER)
        known = approvals_after(resource(before=known), [stream], [on_stream], NOW)
    word = last_word(resource(before=known), "Schema", PLAN)
    assert word is not None
    assert (word.decision, word.by) == ("Rejected", "bob")


def test_an_annotation_that_could_not_be_removed_approves_once() -> None:
    """Its removal is a write of its own: the operator may end in between, or be refused."""
    waits = Question(part="Schema", before=PLAN, plan=PLAN, waits=True)
    known = approvals_after(resource(annotation=PLAN), [waits], (), NOW)  # a table is locked
    known, said = after(known, PLAN, NO, annotation=PLAN, shown=PLAN)
    assert said == "Rejected"
    known, said = after(known, PLAN, annotation=PLAN, shown=PLAN)
    assert (said, told(known)[-1][0]) == ("Rejected", "Rejected")
    assert annotation_counted(resource(annotation=PLAN), [waits], known)
    # Once it is gone, it can be set again.
    known, _ = after(known, PLAN, shown=PLAN)
    assert after(known, PLAN, annotation=PLAN, shown=PLAN)[1] == "Approved"


def test_what_is_kept_is_bounded() -> None:
    known: Approvals | None = None
    for number in range(3 * LONGEST_HISTORY):
        vote = dataclasses.replace(NO, task=f"t{number}", reason="x" * 9999)
        known, _ = after(known, PLAN, vote)
    assert known is not None
    assert len(known.history) == LONGEST_HISTORY
    assert {len(one.reason or "") for one in known.history} == {LONGEST_REASON}
    assert [one.state for one in known.history].count("Open") == 1


def test_the_status_of_another_version_is_read() -> None:
    known = Approvals.model_validate(
        {"history": [Decision(plan=PLAN, decision="Rejected", through="x").model_dump()]}
    )
    word = last_word(resource(before=known), "Schema", PLAN)
    assert word is not None
    assert not allows(word)
