"""Between which numbers of pods a workload may be, and why no more of them would work. Pure.

Pods beyond the shards of an outbox stand by, and so do those of a consumer that keeps an order:
an autoscaler that does not know that makes pods that do nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.autoscaling import Autoscaling
from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.plan.jetstream.consumers import handled_by_runtime, is_ordered
from outbox_operator.plan.postgres.state import BACKLOG_CAP

DEFAULT_BACKLOG = 1000
"""Events that may wait for each pod where no target is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Pods of a workload that can work at once, and why no more can."""

    pods: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a count moves in one direction.

    Attributes:
        after_seconds: So long the load has to ask for it without a break.
        most: Pods at once.
    """

    after_seconds: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What was asked for, and what is possible.

    Attributes:
        least: Never fewer pods.
        most: Never more pods, as declared.
        ceiling: Pods that can work; None: as many as there are.
        backlog: Events that may wait for each pod; None: it does not matter.
        drain_seconds: In which what waits is to be done; None: it does not matter.
        up: How pods are added.
        down: How pods are taken away.
        what: That which waits, in the plural.
    """

    least: int
    most: int
    ceiling: Ceiling | None
    backlog: int | None
    drain_seconds: float | None
    up: Step
    down: Step
    what: str

    @property
    def limit(self) -> int:
        """Most pods that are ever asked for: those that stand by are no more than declared."""
        return max(self.least, self.most if self.ceiling is None else self.ceiling.pods)

    @property
    def limited(self) -> bool:
        """Whether fewer can work than may be declared."""
        return self.ceiling is not None


def relay_limits(spec: OutboxPipelineSpec, autoscaling: Autoscaling) -> Limits:
    """Those of a relay."""
    ceiling = relay_ceiling(spec)
    counted = math.ceil(BACKLOG_CAP / _backlog(autoscaling))
    if autoscaling.targetDrainTime is None and counted < ceiling.pods:
        why = f"rows are counted up to {BACKLOG_CAP}, and targetBacklog is {_backlog(autoscaling)}"
        ceiling = Ceiling(pods=counted, why=f"{why}; with targetDrainTime their age counts too")
    # Nobody else would see the first row, whatever an older definition let through.
    limits = _limits(autoscaling, ceiling, "rows")
    return replace(limits, least=max(1, limits.least))


def consumer_limits(spec: ConsumerConfigSpec, autoscaling: Autoscaling) -> Limits:
    """Those of a consumer workload."""
    return _limits(autoscaling, consumer_ceiling(spec), "messages")


def relay_ceiling(spec: OutboxPipelineSpec) -> Ceiling:
    """How many relay pods can work at once."""
    return Ceiling(pods=spec.outbox.shards, why=f"outbox.shards is {spec.outbox.shards}")


def consumer_ceiling(spec: ConsumerConfigSpec) -> Ceiling | None:
    """How many pods of a consumer can work at once; None: any number."""
    if handled_by_runtime(spec) and is_ordered(spec):
        field = "ordering is PerKey" if spec.ordering == "PerKey" else "inbox.mode is PerShard"
        return Ceiling(pods=1, why=f"{field}, so that one pod at a time reads")
    if spec.priorityPolicy == "PinnedClient":
        # Tried on nats-server 2.11 and 2.15: of several groups, too, one reader is given all.
        return Ceiling(
            pods=1, why="priorityPolicy is PinnedClient, so that one pod at a time reads"
        )
    if spec.maxAckPending <= 0:
        return None
    # A program that reads by itself may take one message at a time.
    each = spec.concurrency if handled_by_runtime(spec) else 1
    beside = f", and a pod takes {each} at once" if each > 1 else ""
    return Ceiling(
        pods=math.ceil(spec.maxAckPending / each),
        why=f"maxAckPending is {spec.maxAckPending}{beside}",
    )


def _limits(autoscaling: Autoscaling, ceiling: Ceiling | None, what: str) -> Limits:
    drain, backlog = autoscaling.targetDrainTime, autoscaling.targetBacklog
    if drain is None:
        backlog = _backlog(autoscaling)
    matters = ceiling is not None and ceiling.pods < autoscaling.maxReplicas
    return Limits(
        least=autoscaling.minReplicas,
        most=autoscaling.maxReplicas,
        ceiling=ceiling if matters else None,
        backlog=backlog,
        drain_seconds=None if drain is None else seconds(drain),
        up=_step(autoscaling.scaleUp.stabilization, autoscaling.scaleUp.maxStep),
        down=_step(autoscaling.scaleDown.stabilization, autoscaling.scaleDown.maxStep),
        what=what,
    )


def _backlog(autoscaling: Autoscaling) -> int:
    """Events that may wait for each pod where that is the only target."""
    return autoscaling.targetBacklog or DEFAULT_BACKLOG


def _step(stabilization: str, most: int) -> Step:
    return Step(after_seconds=seconds(stabilization), most=most)
