"""When the work queue runs which object."""

from __future__ import annotations

from collections import Counter

import pytest

from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.controller.runtime.schedule import (
    BACKGROUND_SECONDS,
    SETTLE_SECONDS,
    Schedule,
    Urgency,
    backoff_seconds,
    jittered_seconds,
)

A = ObjectKey("EventStream", "shop", "a")
B = ObjectKey("EventStream", "shop", "b")
MIDDLE = 0.5
"""Jitter that changes nothing."""


def run_once(schedule: Schedule, now: float, result: ReconcileResult) -> float | None:
    turn = schedule.take(now)
    assert turn is not None
    return schedule.finish(turn.key, result, now, MIDDLE)


def test_wakes_are_merged_into_one_pass() -> None:
    schedule = Schedule()
    for trigger in ("created", "generation", "labels"):
        schedule.wake(A, trigger, Urgency.URGENT, 0)

    turn = schedule.take(0)

    assert turn is not None
    assert turn.key == A
    schedule.finish(A, ReconcileResult(), 0, MIDDLE)
    assert schedule.take(1000) is None
    assert schedule.wait_seconds(1000) is None


def test_an_object_never_runs_twice_at_once() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    assert schedule.take(0) is not None

    schedule.wake(A, "generation", Urgency.URGENT, 1)

    assert schedule.take(1) is None


@pytest.mark.parametrize(
    ("urgency", "runs_at"), [(Urgency.URGENT, 10.0), (Urgency.ORDINARY, 10 + SETTLE_SECONDS)]
)
def test_a_wake_during_a_pass_brings_one_more(urgency: Urgency, runs_at: float) -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    schedule.take(0)
    schedule.wake(A, "news", urgency, 5)
    schedule.wake(A, "more", Urgency.BACKGROUND, 6)

    schedule.finish(A, ReconcileResult(), 10, MIDDLE)

    assert schedule.wait_seconds(10) == pytest.approx(runs_at - 10)
    turn = schedule.take(runs_at)
    assert turn is not None
    assert turn.trigger == "news"
    schedule.finish(A, ReconcileResult(), runs_at, MIDDLE)
    assert schedule.wait_seconds(runs_at) is None


def test_different_objects_run_side_by_side() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    schedule.wake(B, "created", Urgency.URGENT, 0)

    assert {turn.key for turn in (schedule.take(0), schedule.take(0)) if turn} == {A, B}


def test_what_a_person_did_goes_before_a_resync() -> None:
    schedule = Schedule()
    schedule.wake(A, "resync", Urgency.BACKGROUND, 0)
    schedule.wake(B, "generation", Urgency.URGENT, 1)

    turn = schedule.take(1)

    assert turn is not None
    assert turn.key == B


def test_namespaces_take_turns() -> None:
    """One with much to do leaves room for the next, and what a person did goes first in each."""
    schedule = Schedule()
    for number in range(5):
        schedule.wake(ObjectKey("EventStream", "busy", str(number)), "new", Urgency.URGENT, 0)
    late = ObjectKey("EventStream", "calm", "late")
    schedule.wake(late, "child", Urgency.ORDINARY, 1)
    old = ObjectKey("EventStream", "old", "one")
    schedule.wake(old, "resync", Urgency.BACKGROUND, 0)

    turns = [schedule.take(2) for _ in range(7)]

    order = [turn.key.namespace for turn in turns if turn is not None]
    assert order == ["busy", "calm", "busy", "busy", "busy", "busy", "old"]
    assert schedule.take(2) is None
    assert schedule.wait_seconds(2) is None


@pytest.mark.parametrize(
    ("workers", "crowds", "held"),
    [
        (1, 1, [1]),
        (2, 1, [1]),
        (4, 1, [2]),
        (20, 1, [10]),
        (20, 2, [7, 7]),
        (20, 4, [4, 4, 4, 4]),
    ],
)
def test_a_crowd_leaves_a_worker_to_the_next_who_comes(
    workers: int, crowds: int, held: list[int]
) -> None:
    schedule = Schedule(workers)
    for number in range(workers):
        for crowd in range(crowds):
            key = ObjectKey("EventStream", f"crowd-{crowd}", str(number))
            schedule.wake(key, "new", Urgency.URGENT, 0)
    taken = []
    while (turn := schedule.take(0)) is not None:
        taken.append(turn.key)
    counted = Counter(key.namespace for key in taken)
    assert [counted[f"crowd-{crowd}"] for crowd in range(crowds)] == held
    assert schedule.wait_seconds(0) is None  # until one of them ends

    schedule.wake(A, "new", Urgency.BACKGROUND, 0)
    turn = schedule.take(0)

    assert (turn is None) is (workers == 1)
    if turn is not None:
        assert turn.key == A


def test_what_takes_long_holds_no_worker() -> None:
    schedule = Schedule(1)
    schedule.wake(A, "new", Urgency.URGENT, 0)
    schedule.wake(B, "new", Urgency.URGENT, 1)
    assert schedule.take(1) is not None
    assert schedule.take(1) is None

    assert schedule.let_go(A)
    assert not schedule.let_go(A)

    run_once(schedule, 2, ReconcileResult())  # B
    schedule.finish(A, ReconcileResult(), 3, MIDDLE)
    schedule.forget(A)
    assert not schedule.let_go(A)  # it has ended meanwhile


def test_a_crowd_of_one_tenant_does_not_starve_what_is_due_elsewhere() -> None:
    """Hundreds of objects of one namespace, each touched again and again."""
    schedule = Schedule()
    crowd = [ObjectKey("EventConsumer", "red", f"c{number}") for number in range(50)]
    schedule.wake(A, "periodic", Urgency.BACKGROUND, 0)
    started = []
    for now in range(20):
        for one in crowd:
            schedule.wake(one, "annotation", Urgency.URGENT, now)
        turn = schedule.take(now)
        assert turn is not None
        started.append(turn.key)
    assert started.index(A) == BACKGROUND_SECONDS
    # What a person does elsewhere still goes before it.
    schedule.finish(A, ReconcileResult(), 20, MIDDLE)
    schedule.wake(A, "periodic", Urgency.BACKGROUND, 20)
    other = ObjectKey("EventStream", "blue", "a")
    schedule.wake(other, "generation", Urgency.URGENT, 40)
    turn = schedule.take(40)
    assert turn is not None
    assert turn.key == other


@pytest.mark.parametrize("urgency", [Urgency.URGENT, Urgency.ORDINARY])
@pytest.mark.parametrize("namespaces", [1, 50])
def test_what_changes_all_the_time_does_not_starve_the_rest(
    urgency: Urgency, namespaces: int
) -> None:
    """Fifty consumers whose pods come and go, or that somebody writes to; and what is due, in the
    same namespace, or everybody in another one.
    """
    schedule = Schedule(20)
    crowd = [
        ObjectKey("EventConsumer", "shop" if namespaces == 1 else f"other-{number}", f"c{number}")
        for number in range(50)
    ]
    due = [ObjectKey("OutboxPipeline", "shop", f"p{number}") for number in range(5)]
    for one in due:
        schedule.wake(one, "retry", Urgency.BACKGROUND, 0)
    started: list[ObjectKey] = []
    for tick in range(400):
        now = tick * SETTLE_SECONDS
        for one in crowd:
            schedule.wake(one, "child", urgency, now)
        for _ in range(2):  # as many as there is processor for
            turn = schedule.take(now)
            assert turn is not None
            started.append(turn.key)
            schedule.finish(turn.key, ReconcileResult(), now, MIDDLE)
    first = int(BACKGROUND_SECONDS / SETTLE_SECONDS) * 2
    assert not set(started[:first]) & set(due), "they stand back at first"
    assert set(started[first : first + 4 * len(due)]) > set(due), "then each fourth is theirs"


def test_a_person_stands_behind_one_that_has_waited_and_no_more() -> None:
    """A new leader's three hundred objects, that nobody has got to for a minute."""
    schedule = Schedule()
    for number in range(300):
        key = ObjectKey("OutboxPipeline", "shop", f"p{number}")
        schedule.wake(key, "created", Urgency.BACKGROUND, 0)
    for now in range(60, 80):
        mended = ObjectKey("OutboxPipeline", "shop", f"mended-{now}")
        schedule.wake(mended, "generation", Urgency.URGENT, now)
        turns = [schedule.take(now) for _ in range(2)]
        assert mended in [turn.key for turn in turns if turn is not None]


def test_failures_back_off_and_a_success_forgets_them() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    now, pauses = 0.0, []
    for _ in range(5):
        pause = run_once(schedule, now, ReconcileResult(failed=True, requeue_after=6))
        assert pause is not None
        pauses.append(pause)
        assert schedule.take(now + pause - 0.01) is None
        now += pause

    assert pauses == pytest.approx([1, 2, 4, 6, 6])
    assert schedule.failing() == 1
    assert run_once(schedule, now, ReconcileResult(requeue_after=30)) == pytest.approx(30)
    assert schedule.failing() == 0


def test_without_a_cap_the_back_off_ends_at_five_minutes() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    now = 0.0
    for _ in range(12):
        pause = run_once(schedule, now, ReconcileResult(failed=True))
        assert pause is not None
        now += pause

    assert pause == pytest.approx(300)


def test_a_person_ends_the_back_off() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    for now in (0, 10, 20):
        run_once(schedule, now, ReconcileResult(failed=True))

    schedule.wake(A, "generation", Urgency.URGENT, 20.1)

    assert run_once(schedule, 20.1, ReconcileResult(failed=True)) == pytest.approx(1)


def test_children_that_flap_cannot_make_a_failing_object_hot() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    passes, now = 0, 0.0
    while now < 10:
        schedule.wake(A, "child", Urgency.ORDINARY, now)
        if schedule.take(now) is not None:
            passes += 1
            schedule.finish(A, ReconcileResult(failed=True), now, MIDDLE)
        now += 0.01

    assert passes <= 11


def test_children_that_flap_wake_a_healthy_object_only_so_often() -> None:
    schedule = Schedule()
    passes, now = 0, 0.0
    while now < 10:
        schedule.wake(A, "child", Urgency.ORDINARY, now)
        if schedule.take(now) is not None:
            passes += 1
            schedule.finish(A, ReconcileResult(), now, MIDDLE)
        now += 0.01

    assert passes <= 10 / SETTLE_SECONDS + 1


def test_a_wake_never_puts_a_pass_back() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    run_once(schedule, 0, ReconcileResult(requeue_after=0.1))

    schedule.wake(A, "child", Urgency.ORDINARY, 0.05)

    assert schedule.wait_seconds(0.05) == pytest.approx(0.05)


def test_an_object_that_is_gone_is_forgotten_unless_it_was_woken_again() -> None:
    schedule = Schedule()
    schedule.wake(A, "gone", Urgency.URGENT, 0)
    schedule.wake(B, "gone", Urgency.URGENT, 0)
    for key in (A, B):
        schedule.take(0)
        schedule.finish(key, ReconcileResult(), 0, MIDDLE)
    schedule.wake(B, "created", Urgency.URGENT, 1)

    schedule.forget(A)
    schedule.forget(B)

    assert len(schedule) == 1
    turn = schedule.take(1)
    assert turn is not None
    assert turn.key == B


def test_ready_counts_what_waits_for_a_worker() -> None:
    schedule = Schedule()
    schedule.wake(A, "created", Urgency.URGENT, 0)
    schedule.wake(A, "generation", Urgency.URGENT, 0)
    schedule.wake(B, "created", Urgency.URGENT, 0)

    assert schedule.ready(0) == 2
    schedule.take(0)
    assert schedule.ready(0) == 1


@pytest.mark.parametrize(
    ("failures", "jitter", "expected"),
    [(1, 0.5, 1), (2, 0.5, 2), (9, 0.5, 256), (10, 0.5, 300), (1000, 0.5, 300), (1, 0, 0.8),
     (1, 1, 1.2)],
)  # fmt: skip
def test_backoff(failures: int, jitter: float, expected: float) -> None:
    assert backoff_seconds(failures, 1, 300, jitter) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("after", "jitter", "expected"), [(None, 0, None), (30, 0, 27), (30, 0.5, 30), (30, 1, 33)]
)
def test_spread(after: float | None, jitter: float, expected: float | None) -> None:
    assert jittered_seconds(after, jitter) == (
        None if expected is None else pytest.approx(expected)
    )
