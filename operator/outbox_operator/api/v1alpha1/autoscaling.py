"""Autoscaling of relay and consumer workloads: what may be asked for, and what is said of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from outbox_operator.api.fields import ApiModel, Duration, cel, model_rules


class ScaleUp(ApiModel):
    """How pods are added."""

    stabilization: Duration = Field(
        default="0s", description="So long the load has to ask for more without a break."
    )
    maxStep: int = Field(default=4, ge=1, le=1000, description="Most pods added at once.")


class ScaleDown(ApiModel):
    """How pods are taken away."""

    stabilization: Duration = Field(
        default="300s", description="So long fewer have to do without a break, before each step."
    )
    maxStep: int = Field(default=2, ge=1, le=1000, description="Most pods taken away at once.")


class Autoscaling(ApiModel):
    """The number of pods follows the events that wait."""

    model_config = model_rules(
        cel("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas")
    )

    mode: Literal["Builtin", "External"] = Field(
        default="Builtin",
        description="Builtin: the operator decides at each look, needs nothing installed, and "
        "`replicas` does not count. External: the number is `replicas`, which a "
        "HorizontalPodAutoscaler or KEDA writes through the scale subresource; the other fields do "
        "not count.",
    )
    minReplicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Never fewer than these. 0, of consumers only: no pods while nothing waits, "
        "and one within two seconds of the first event.",
    )
    maxReplicas: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Never more than these, nor more than can work: what limits them is said by "
        "condition Autoscaling.",
    )
    targetBacklog: int | None = Field(
        default=None,
        ge=1,
        description="Waiting events per pod to aim at; 1000 where no target is named. Of two "
        "targets the one that asks for more pods counts.",
    )
    targetDrainTime: Duration | None = Field(
        default=None,
        description="What waits is to be done within this time, at the rate that a pod was "
        "measured to have.",
    )
    scaleUp: ScaleUp = Field(default_factory=ScaleUp, description="How pods are added.")
    scaleDown: ScaleDown = Field(default_factory=ScaleDown, description="How pods are taken away.")

    @property
    def builtin(self) -> bool:
        """Whether the operator decides."""
        return self.mode == "Builtin"


class AutoscalingStatus(ApiModel):
    """How many pods there shall be, and why."""

    wantedReplicas: int = Field(description="Pods that are wanted.")
    currentReplicas: int = Field(default=0, description="Pods that exist.")
    limit: int | None = Field(
        default=None,
        description="Most pods that are ever asked for: maxReplicas, or as many as can work. With "
        "mode External as many as can work; absent: any number can.",
    )
    why: str = Field(default="", description="What led to that number.")
    perPodPerSecond: float | None = Field(
        default=None,
        description="Events a second that a pod does which always has work; absent: not known yet.",
    )
    lastChange: str | None = Field(default=None, description="From how many to how many, and why.")
    lastChangeTime: str | None = Field(default=None, description="When that was.")
