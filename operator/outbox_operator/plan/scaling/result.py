"""Autoscaling within a pass: the last status in; count, condition and next status out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.autoscaling import AutoscalingStatus
from outbox_operator.counted import counted
from outbox_operator.plan.scaling.decide import Decision, Memory, decide
from outbox_operator.plan.scaling.limits import (
    Ceiling,
    Limits,
    consumer_ceiling,
    consumer_limits,
    relay_ceiling,
    relay_limits,
)
from outbox_operator.plan.scaling.load import Load, Pace
from outbox_operator.plan.status.conditions import Part, stamp
from outbox_operator.plan.status.workload import is_settled, replicas, stopped_by
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


def relay_scaled(
    pipeline: Pipeline,
    load: Load | None,
    deployment: Mapping[str, Any] | None,
    memory: Memory | None,
    now: datetime,
) -> Scaled | None:
    """How many pods a relay shall have; None: autoscaling has no say. Arguments as of `scaled`."""
    relay, before = pipeline.spec.relay, pipeline.status.relay
    asked, last = relay.autoscaling, None if before is None else before.autoscaling
    if asked is None:
        return None
    if not asked.builtin:
        return given(
            relay_ceiling(pipeline.spec), relay.replicas, deployment, last,
            field="spec.relay.replicas", now=now,
            stopped=stopped_by("spec.relay", relay.state, relay.replicas),
        )  # fmt: skip
    return scaled(
        relay_limits(pipeline.spec, asked), load, deployment, last, memory,
        stopped=stopped_by("spec.relay", relay.state, None),
        paused=pipeline.meta.paused, now=now,
    )  # fmt: skip


def consumer_scaled(
    consumer: Consumer,
    load: Load | None,
    deployment: Mapping[str, Any] | None,
    memory: Memory | None,
    now: datetime,
    *,
    resetting: str | None,
) -> Scaled | None:
    """The same for a consumer's pods.

    Args:
        resetting: Why they are stopped for a while; None: they are not.
    """
    spec, last = consumer.spec, consumer.status.autoscaling
    asked = spec.autoscaling
    if asked is None:
        return None
    if not asked.builtin:
        return given(
            consumer_ceiling(spec), spec.replicas, deployment, last, field="spec.replicas",
            stopped=resetting or stopped_by("spec", spec.state, spec.replicas), now=now,
        )  # fmt: skip
    return scaled(
        consumer_limits(spec, asked), load, deployment, last, memory,
        stopped=resetting or stopped_by("spec", spec.state, None),
        paused=consumer.meta.paused, now=now,
    )  # fmt: skip


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
    if memory is None:
        memory = _restored(last)
    if memory.count is not None:
        current = memory.count
    elif last is not None:
        current = last.wantedReplicas
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
    return Scaled(
        count=decision.count,
        part=_part(decision.reason, decision.text),
        status=AutoscalingStatus(
            wantedReplicas=decision.count,
            currentReplicas=pods.existing,
            limit=limits.limit,
            why=decision.why,
            perPodPerSecond=None if each is None else float(f"{each:.3g}"),
            **_last_change(decision.change, last, now),
        ),
        change=decision.change,
        memory=decision.memory,
    )


def given(
    ceiling: Ceiling | None,
    count: int,
    deployment: Mapping[str, Any] | None,
    last: AutoscalingStatus | None,
    *,
    field: str,
    stopped: str | None,
    now: datetime,
) -> Scaled:
    """The number of pods that somebody else decided about, and what is to be said of it.

    Args:
        ceiling: Pods that can work; None: any number can.
        count: The number.
        deployment: The live Deployment; None: there is none (yet).
        last: What the status said.
        field: Where the number is written.
        stopped: Why no pods are wanted; None: they are.
        now: Time of the pass.
    """
    reason, text = Reason.SCALED_EXTERNALLY, f"{field} is {count}, written from outside"
    if stopped is not None:
        reason, text = Reason.STOPPED, stopped
    elif ceiling is not None and count > ceiling.pods:
        reason, text = Reason.SCALING_LIMITED, f"{ceiling.pods} of {count}: {ceiling.why}"
    change = None
    if last is not None and last.wantedReplicas != count:
        change = f"from {last.wantedReplicas} to {counted(count, 'pod')}: {field} was written"
    return Scaled(
        count=count,
        part=_part(reason, text),
        status=AutoscalingStatus(
            wantedReplicas=count,
            currentReplicas=replicas(deployment).existing,
            limit=None if ceiling is None else ceiling.pods,
            why=text,
            **_last_change(change, last, now),
        ),
        change=change,
        memory=Memory(),
    )


def _part(reason: Reason, text: str) -> Part:
    """The condition, which never decides about Ready."""
    return Part(
        type=ConditionType.AUTOSCALING,
        status="Unknown" if reason is Reason.BACKLOG_UNKNOWN else "True",
        reason=reason,
        message=text,
        blocks=False,
    )


def _last_change(
    change: str | None, last: AutoscalingStatus | None, now: datetime
) -> dict[str, str | None]:
    if change is not None:
        return {"lastChange": change, "lastChangeTime": stamp(now)}
    if last is None:
        return {}
    return {"lastChange": last.lastChange, "lastChangeTime": last.lastChangeTime}


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
