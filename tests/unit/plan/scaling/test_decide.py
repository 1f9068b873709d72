"""How many pods there shall be, by rows of numbers; and a simulated load that rises and falls."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from generate.scaling import REFERENCE, Look, Workload, step_of_load

from outbox_operator.plan.scaling.decide import Decision, Memory, Trend, decide
from outbox_operator.plan.scaling.limits import Ceiling, Limits, Step
from outbox_operator.plan.scaling.load import Load, Pace
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason
from support.passes import NOW

LIMITS = Limits(
    least=1, most=10, ceiling=None, backlog=1000, drain_seconds=None,
    up=Step(after_seconds=0, most=4), down=Step(after_seconds=300, most=2), what="rows",
)  # fmt: skip
LONG_AGO = NOW - timedelta(seconds=301)


def decided(
    waiting: int | None,
    *,
    current: int = 1,
    ready: int | None = None,
    existing: int | None = None,
    settled: bool = True,
    paused: bool = False,
    memory: Memory | None = None,
    at_least: bool = False,
    in_hand: int = 0,
    oldest: float | None = None,
    **limits: Any,
) -> Decision:
    load = None
    if waiting is not None:
        load = Load(
            backlog=waiting, at_least=at_least, done=0, at=NOW, in_hand=in_hand,
            oldest_seconds=oldest,
        )  # fmt: skip
    pods = Replicas(
        wanted=current,
        existing=current if existing is None else existing,
        ready=current if ready is None else ready,
        updated=current,
    )
    return decide(
        dataclasses.replace(LIMITS, **limits), load, pods, memory or Memory(),
        current=current, settled=settled, paused=paused, now=NOW,
    )  # fmt: skip


ONE_WORKS = Ceiling(pods=1, why="outbox.shards is 1")
MORE = Memory(more=Trend(since=LONG_AGO, count=2))
FEWER = Memory(fewer=Trend(since=LONG_AGO, count=1))
KNOWN = Memory(pace=Pace(per_pod=100.0))
SEEN = Memory(pace=Pace(seen_per_pod=100.0), fewer=FEWER.fewer)
_BEFORE = Load(backlog=0, at_least=False, done=0, at=NOW - timedelta(seconds=5))
NOTHING_CAME = Memory(
    pace=Pace(coming=0.0, since=(_BEFORE, 1)), fewer=Trend(since=LONG_AGO, count=0)
)
UNSEEN = dataclasses.replace(FEWER, looked_at=NOW - timedelta(seconds=121))
NONE: dict[str, Any] = {"least": 0, "current": 0}


@pytest.mark.parametrize(
    ("backlog", "given", "count", "reason"),
    [
        # Up: at once, by the step, to the limit, and for a tenth more only.
        (2500, {}, 3, Reason.SCALING_ACTIVE),
        (1100, {}, 1, Reason.SCALING_ACTIVE),
        (1101, {}, 2, Reason.SCALING_ACTIVE),
        (99_000, {}, 5, Reason.SCALING_ACTIVE),
        (99_000, {"current": 9}, 10, Reason.SCALING_ACTIVE),
        (99_000, {"current": 10}, 10, Reason.SCALING_LIMITED),
        (99_000, {"up": Step(after_seconds=60, most=4)}, 1, Reason.SCALING_ACTIVE),
        # The nearest of what was asked for meanwhile; without stabilization what is asked for now.
        (9900, {"memory": MORE}, 5, Reason.SCALING_ACTIVE),
        (9900, {"memory": MORE, "up": Step(after_seconds=300, most=4)}, 2, Reason.SCALING_ACTIVE),
        # Only once those asked for are there and the last step has had its time.
        (2500, {"current": 2, "ready": 1}, 2, Reason.SCALING_HELD),
        (2500, {"settled": False}, 1, Reason.SCALING_HELD),
        (2500, {"paused": True}, 1, Reason.SCALING_HELD),
        (2500, {"memory": Memory(changed_at=NOW - timedelta(seconds=14))}, 1,
         Reason.SCALING_ACTIVE),
        (2500, {"memory": Memory(changed_at=NOW + timedelta(hours=1))}, 3, Reason.SCALING_ACTIVE),
        # More would stand by.
        (99_000, {"ceiling": ONE_WORKS}, 1, Reason.SCALING_LIMITED),
        (0, {"ceiling": ONE_WORKS}, 1, Reason.SCALING_LIMITED),
        # Down: after a while, by the step, never below minReplicas nor while pods still stop.
        (0, {"current": 5}, 5, Reason.SCALING_ACTIVE),
        (0, {"current": 5, "memory": FEWER}, 3, Reason.SCALING_ACTIVE),
        (0, {"current": 3, "memory": FEWER, "least": 2}, 2, Reason.SCALING_ACTIVE),
        (0, {"current": 5, "memory": FEWER, "existing": 6}, 5, Reason.SCALING_ACTIVE),
        (0, {"current": 5, "memory": FEWER, "paused": True}, 5, Reason.SCALING_ACTIVE),
        (4500, {"current": 5, "memory": FEWER}, 5, Reason.SCALING_ACTIVE),
        # The nearest of what was asked for meanwhile.
        (0, {"current": 5, "memory": Memory(fewer=Trend(since=LONG_AGO, count=4))}, 4,
         Reason.SCALING_ACTIVE),
        # A broken pod is no reason to keep others.
        (0, {"current": 5, "ready": 4, "settled": False, "memory": FEWER}, 3,
         Reason.SCALING_ACTIVE),
        # Not known: as it is.
        (None, {"current": 5, "memory": FEWER}, 5, Reason.BACKLOG_UNKNOWN),
        # What is declared counts at once.
        (0, {"least": 3}, 3, Reason.SCALING_ACTIVE),
        (None, {"least": 3}, 3, Reason.SCALING_ACTIVE),
        (9000, {"current": 9, "most": 4}, 4, Reason.SCALING_ACTIVE),
        (9000, {"current": 9, "most": 4, "paused": True}, 9, Reason.SCALING_ACTIVE),
        # What was asked for before a time that nobody saw does not count.
        (0, {"current": 5, "memory": UNSEEN}, 5, Reason.SCALING_ACTIVE),
        (0, {"current": 5, "memory": dataclasses.replace(UNSEEN, looked_at=NOW)}, 3,
         Reason.SCALING_ACTIVE),
        (2500, {"up": Step(after_seconds=300, most=4), "memory": dataclasses.replace(
            MORE, looked_at=UNSEEN.looked_at)}, 1, Reason.SCALING_ACTIVE),
        # However much is said to wait.
        (10**30, {"current": 9}, 10, Reason.SCALING_ACTIVE),
        # To zero only where nothing waits, is in hand, comes, or may have come.
        (0, {"least": 0, "memory": NOTHING_CAME}, 0, Reason.SCALING_ACTIVE),
        (0, {"least": 0, "memory": NOTHING_CAME, "in_hand": 1}, 1, Reason.SCALING_ACTIVE),
        (0, {"least": 0, "memory": FEWER}, 1, Reason.SCALING_ACTIVE),
        (0, {"least": 0, "current": 3, "memory": FEWER}, 1, Reason.SCALING_ACTIVE),
        (None, {"least": 0, "memory": NOTHING_CAME}, 1, Reason.BACKLOG_UNKNOWN),
        (0, {"least": 0, "memory": NOTHING_CAME, "paused": True}, 1, Reason.SCALING_ACTIVE),
        # Back at once: whatever the target, the last step, the stabilization or the roll-out.
        (0, NONE, 0, Reason.SCALING_ACTIVE),
        (1, {**NONE, "settled": False, "up": Step(after_seconds=300, most=4),
             "memory": Memory(changed_at=NOW)}, 1, Reason.SCALING_ACTIVE),
        (1, {**NONE, "backlog": None, "drain_seconds": 60.0}, 1, Reason.SCALING_ACTIVE),
        (99_000, NONE, 4, Reason.SCALING_ACTIVE),
        (0, {**NONE, "in_hand": 1}, 1, Reason.SCALING_ACTIVE),
        (1, {**NONE, "paused": True}, 0, Reason.SCALING_HELD),
        # And where nobody knows for a while.
        (None, NONE, 0, Reason.BACKLOG_UNKNOWN),
        (None, {**NONE, "memory": Memory(unknown_since=LONG_AGO)}, 1, Reason.BACKLOG_UNKNOWN),
        (None, {**NONE, "memory": Memory(unknown_since=LONG_AGO), "paused": True}, 0,
         Reason.BACKLOG_UNKNOWN),
        (None, {**NONE, "memory": Memory(unknown_since=LONG_AGO, looked_at=LONG_AGO)}, 0,
         Reason.BACKLOG_UNKNOWN),
    ],
)  # fmt: skip
def test_the_backlog_decides(
    backlog: int | None, given: dict[str, Any], count: int, reason: Reason
) -> None:
    decision = decided(backlog, **given)
    assert (decision.count, decision.reason) == (count, reason)
    assert (decision.change is not None) is (count != given.get("current", 1))


@pytest.mark.parametrize(
    ("backlog", "given", "count"),
    [
        # 18000 in 60 s are 300 a second: three pods of 100.
        (18_000, {"memory": KNOWN}, 3),
        (18_000, {}, 1),  # nobody knows how fast a pod is
        (18_000, {"memory": SEEN}, 1),  # it may be faster than was seen
        (18_000, {"backlog": 9000, "memory": KNOWN}, 3),
        (18_000, {"backlog": 4500, "memory": KNOWN}, 4),
        (18_000, {"backlog": 9000}, 2),  # one target knows
        # Down needs every answer; of a pod that does 100 at least, two will do.
        (6000, {"current": 4, "memory": FEWER}, 4),
        (6000, {"current": 4, "memory": SEEN}, 2),
        (0, {"current": 2, "memory": FEWER}, 1),
        # A rate that nobody can have is no reason to fall over.
        (18_000, {"memory": Memory(pace=Pace(per_pod=5e-324))}, 5),
        # Counting stopped: how long the oldest has waited tells whether it is done in time.
        (10_000, {"memory": Memory(pace=Pace(per_pod=40_000.0)), "at_least": True,
                  "oldest": 61.0, "current": 2}, 3),
        (10_000, {"memory": Memory(pace=Pace(per_pod=40_000.0)), "at_least": True,
                  "oldest": 59.0, "current": 2}, 2),
        (10_000, {"memory": Memory(pace=Pace(per_pod=40_000.0)), "oldest": 61.0, "current": 2}, 2),
        # And never below what keeps up with what comes.
        (100, {"current": 5, "memory": Memory(
            pace=Pace(per_pod=100.0, coming=350.0, since=(
                Load(backlog=100, at_least=False, done=0, at=NOW), 5)), fewer=FEWER.fewer)}, 4),
    ],
)  # fmt: skip
def test_the_time_to_drain_decides(backlog: int, given: dict[str, Any], count: int) -> None:
    assert decided(backlog, **{"backlog": None, "drain_seconds": 60.0, **given}).count == count


def test_what_is_said() -> None:
    decision = decided(2500)
    assert decision.change == "from 1 to 3 pods: 2500 rows wait, targetBacklog is 1000"
    assert decided(2500, at_least=True).why == "2500 or more rows wait, targetBacklog is 1000"
    assert decided(1).why.startswith("1 row waits, ")
    assert decided(1, at_least=True).why.startswith("1 or more rows wait, ")
    limited = decided(5000, ceiling=ONE_WORKS)
    assert limited.text == "1 of 10: outbox.shards is 1"
    most = decided(99_000, current=10)
    assert most.text == "10 of 10: maxReplicas is 10, and more would be needed"
    stand_by = decided(0, ceiling=ONE_WORKS, least=3, current=3)
    assert stand_by.text.endswith("; minReplicas is 3, and the others stand by")
    held = decided(2500, settled=False)
    assert held.text == "1 pod, and no more before all that are asked for are ready"
    drained = decided(6000, backlog=None, drain_seconds=60.0, memory=KNOWN)
    assert drained.why == "6000 rows wait, targetDrainTime is 60 s, and a pod does 100 a second"


def changes(looks: Sequence[Look]) -> list[int]:
    steps = [after.pods - before.pods for before, after in itertools.pairwise(looks)]
    return [one for one in steps if one]


def test_the_reference_case_three_to_ten_pods_by_pending_events() -> None:
    """A step of load up for 20 minutes, and down again; docs/how-to/scale.md has its picture."""
    looks = Workload(REFERENCE).run(step_of_load, 7200)
    assert 7 <= max(one.pods for one in looks) <= 10
    # The backlog of the step is gone before the load is, and the pods are given back.
    assert next(one for one in looks if one.second == 1305).backlog < 1000
    assert (looks[-1].pods, looks[-1].backlog) == (3, 0)
    # Up, then down: no count is left and taken up again.
    steps = changes(looks)
    ups = [one for one in steps if one > 0]
    assert steps == ups + [one for one in steps if one < 0]
    assert all(one <= 4 for one in ups)


@pytest.mark.parametrize("wobble", [0.0, 0.3])
@pytest.mark.parametrize("targets", [(1000, None), (None, 60.0), (1000, 60.0)])
def test_a_steady_load_does_not_make_pods_come_and_go(
    targets: tuple[int | None, float | None], wobble: float
) -> None:
    """What keeps up is kept, although nothing waits: an average of zero would take it away."""
    backlog, drain = targets
    limits = dataclasses.replace(LIMITS, backlog=backlog, drain_seconds=drain)

    def comes(second: float) -> float:
        return 450.0 * (1 + wobble * math.sin(second / 40))

    looks = Workload(limits).run(comes, 3 * 3600)
    # The pods that drain what had piled up may be given back, once.
    later = [one for one in looks if one.second >= 3600]
    assert changes(later) == []
    assert later[-1].pods >= 5
    assert max(one.backlog for one in later) < 2000
