"""Autoscaling within a pass: the last status in; count, condition and next status out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.plan.scaling.decide import Decision, Memory, decide
from outbox_operator.plan.scaling.limits import Limits
from outbox_operator.plan.scaling.load import Load, Pace
from outbox_operator.plan.status.conditions import Part, info, stamp
from outbox_operator.plan.status.workload import is_settled, replicas
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What autoscaling decided in a pass.

    Attributes:
        count: Pods that there shall be, unless they are stopped.
        part: The condition Autoscaling.
        status: For the status.
        change: What changed and why; None: nothing.
        memory: For the next pass.
    """

    count: int
    part: Part
    status: AutoscalingStatus
    change: str | None
    memory: Memory


def scaled(
    limits: Limits,
    load: Load | None,
    deployment: Mapping[str, Any] | None,
    last: AutoscalingStatus | None,
    memory: Memory | None,
    *,
    stopped: str | None,
    paused: bool,
    now: datetime,
) -> Scaled:
    """How many pods a workload shall have.

    Args:
        limits: What was asked for, and what is possible.
        load: What there is to do; None: nobody knows.
        deployment: The live Deployment; None: there is none (yet).
        last: What the status said.
        memory: What the last pass left; None: this process has made none.
        stopped: Why no pods are wanted; None: they are.
        paused: Whether nothing may be changed.
        now: Time of the pass.
    """
    pods = replicas(deployment)
    current = limits.least if deployment is None else pods.wanted or limits.least
    if last is not None:
        current = last.wantedReplicas
    if memory is None:
        memory = _restored(last)
    if stopped is not None:
        rest = replace(memory, pace=replace(memory.pace, since=None), more=None, fewer=None)
        decision = Decision(
            count=current, reason=Reason.STOPPED, text=stopped, why=stopped, memory=rest
        )
    else:
        decision = decide(
            limits, load, pods, memory,
            current=current, settled=is_settled(deployment), paused=paused, now=now,
        )  # fmt: skip
    each = decision.memory.pace.per_pod
    changed = decision.change is not None
    known = decision.reason is not Reason.BACKLOG_UNKNOWN
    return Scaled(
        count=decision.count,
        part=info(ConditionType.AUTOSCALING, known, decision.reason, decision.text),
        status=AutoscalingStatus(
            wantedReplicas=decision.count,
            currentReplicas=pods.existing,
            limit=limits.limit,
            why=decision.why,
            perPodPerSecond=None if each is None else float(f"{each:.3g}"),
            lastChange=decision.change if changed else last.lastChange if last else None,
            lastChangeTime=stamp(now) if changed else last.lastChangeTime if last else None,
        ),
        change=decision.change,
        memory=decision.memory,
    )


def _restored(last: AutoscalingStatus | None) -> Memory:
    """What is known of an earlier process: for how long the load has asked is not."""
    if last is None:
        return Memory()
    return Memory(
        pace=Pace(per_pod=last.perPodPerSecond or None), changed_at=_moment(last.lastChangeTime)
    )


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
