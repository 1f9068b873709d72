"""OutboxTask: one piece of work that the operator carries out once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition
from outbox_operator.api.fields import ApiModel, ObjectName, cel, fixed, model_rules
from outbox_operator.api.v1alpha1.task_actions import (
    ApproveMigration,
    Diagnose,
    PurgeDeadLetters,
    Rebase,
    RejectMigration,
    ReplayDeadLetters,
    ReplayHistory,
    ResetConsumer,
    Verify,
)

ActionName = Literal[
    "replayDeadLetters",
    "purgeDeadLetters",
    "replayHistory",
    "resetConsumer",
    "rebase",
    "approveMigration",
    "rejectMigration",
    "diagnose",
    "verify",
]
REFS: Final[Mapping[str, str]] = {
    "pipelineRef": meta.PIPELINE,
    "consumerRef": meta.CONSUMER,
    "streamRef": meta.STREAM,
}
"""Fields that name the target, with its kind."""

TARGETS: Final[Mapping[ActionName, tuple[str, ...]]] = {
    "replayDeadLetters": ("pipelineRef", "consumerRef"),
    "purgeDeadLetters": ("pipelineRef", "consumerRef"),
    "replayHistory": ("pipelineRef",),
    "resetConsumer": ("consumerRef",),
    "rebase": ("pipelineRef",),
    "approveMigration": ("pipelineRef", "consumerRef", "streamRef"),
    "rejectMigration": ("pipelineRef", "consumerRef", "streamRef"),
    "diagnose": ("pipelineRef", "consumerRef", "streamRef"),
    "verify": ("pipelineRef",),
}
"""What each action can be about."""

MOST_FAILURES: Final = 20
"""Failures that a status lists; the others are counted."""
MOST_FINDINGS: Final = 100
LONGEST_TEXT: Final = 1024

_ONE_TARGET: Final = "set exactly one of pipelineRef, consumerRef and streamRef"
_ONE_ACTION: Final = f"set exactly one action: {', '.join(TARGETS)}"


def _exactly_one(names: Mapping[str, object] | tuple[str, ...], message: str) -> dict[str, str]:
    found = ", ".join(f"has(self.{name})" for name in names)
    return cel(f"[{found}].filter(x, x).size() == 1", message)


def _target_text(action: ActionName) -> str:
    return f"{action} needs {' or '.join(TARGETS[action])}"


def _target_rules() -> list[dict[str, str]]:
    return [
        cel(
            f"!has(self.{action}) || {' || '.join(f'has(self.{ref})' for ref in refs)}",
            _target_text(action),
        )
        for action, refs in TARGETS.items()
        if len(refs) < len(REFS)
    ]


_UNCONFIRMED: Final = "purgeDeadLetters deletes for good: set confirm to true, or dryRun"


class TargetRef(ApiModel):
    """Names a resource in the task's namespace."""

    name: ObjectName = Field(description="Its name.")


class OutboxTaskSpec(ApiModel):
    """What is to be done, once. Fixed at creation, but for `suspend` and when it goes."""

    model_config = model_rules(
        _exactly_one(REFS, _ONE_TARGET),
        _exactly_one(tuple(TARGETS), _ONE_ACTION),
        *_target_rules(),
        cel(
            "!has(self.purgeDeadLetters) || self.purgeDeadLetters.confirm || self.dryRun",
            _UNCONFIRMED,
        ),
        *(fixed(name, optional=True) for name in (*REFS, *TARGETS)),
        fixed("dryRun"),
        fixed("eventsPerSecond", optional=True),
        fixed("requestedBy", optional=True),
    )

    pipelineRef: TargetRef | None = Field(
        default=None, description="The OutboxPipeline that it is about."
    )
    consumerRef: TargetRef | None = Field(
        default=None,
        description="The EventConsumer that it is about; one that a pipeline made, "
        "too: `<pipeline>-<consumer>`.",
    )
    streamRef: TargetRef | None = Field(
        default=None, description="The EventStream that it is about."
    )
    replayDeadLetters: ReplayDeadLetters | None = Field(
        default=None,
        description="Send dead letters again, each once, in the order of their keys. Of an "
        "OutboxPipeline, those of its relay: they go back into the outbox, all dead letters of a "
        "key together. Of an EventConsumer, what it gave up: published where it came from.",
    )
    purgeDeadLetters: PurgeDeadLetters | None = Field(
        default=None, description="Give dead letters up for good."
    )
    replayHistory: ReplayHistory | None = Field(
        default=None,
        description="Send events again that the outbox still has (`outbox.retention`), through "
        "the relay.",
    )
    resetConsumer: ResetConsumer | None = Field(
        default=None, description="Let a consumer read its stream from another place on."
    )
    rebase: Rebase | None = Field(
        default=None,
        description="Set the cursors of an outbox anew after its database was restored or moved.",
    )
    approveMigration: ApproveMigration | None = Field(
        default=None, description="Let a migration plan run that waits for approval."
    )
    rejectMigration: RejectMigration | None = Field(
        default=None, description="Say no to a migration plan; another one may come."
    )
    diagnose: Diagnose | None = Field(
        default=None,
        description="Look for what is wrong, from the operator's place, and change nothing: "
        "`diagnose: {}`.",
    )
    verify: Verify | None = Field(
        default=None,
        description="Compare the outbox with its stream: events that are missing, double or out "
        "of order.",
    )
    dryRun: bool = Field(default=False, description="Count what would be done, and change nothing.")
    suspend: bool = Field(
        default=False,
        description="Stop after what is under way, and go on from there when this is false again. "
        "May be changed at any time.",
    )
    ttlSecondsAfterFinished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="The task is deleted so long after its end; default: never. May be changed at "
        "any time. Not for tasks that a GitOps tool applies, which would make them again.",
    )
    eventsPerSecond: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="At most so many events in a second; default: as fast as it goes.",
    )
    requestedBy: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Who asked: the name of the user who creates the task, as the API server knows "
        "it. The command line fills it in; `status.requestedByVerified` says whether it was "
        "compared.",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> OutboxTaskSpec:
        """What the CEL rules say, for tasks that no API server has seen."""
        if len(self.targets) != 1:
            raise ValueError(_ONE_TARGET)
        if len(self.actions) != 1:
            raise ValueError(_ONE_ACTION)
        if self.targets[0] not in TARGETS[self.action]:
            raise ValueError(_target_text(self.action))
        if self.purgeDeadLetters and not (self.purgeDeadLetters.confirm or self.dryRun):
            raise ValueError(_UNCONFIRMED)
        return self

    @property
    def targets(self) -> list[str]:
        """Fields that name a target: one."""
        return [name for name in REFS if getattr(self, name) is not None]

    @property
    def actions(self) -> list[ActionName]:
        """Actions that are asked for: one."""
        return [name for name in TARGETS if getattr(self, name) is not None]

    @property
    def action(self) -> ActionName:
        """What is to be done."""
        return self.actions[0]

    @property
    def target(self) -> tuple[str, str]:
        """Kind and name of what it is about."""
        field = self.targets[0]
        return REFS[field], getattr(self, field).name


class TaskTarget(ApiModel):
    """What a task is about, as it was when the task was first looked at."""

    kind: str = Field(description="Its kind.")
    name: str = Field(description="Its name.")
    uid: str = Field(description="Its UID: one that is made anew under the same name is another.")


class Failure(ApiModel):
    """One event that could not be done."""

    id: str = Field(description="Id of the event.")
    reason: str = Field(description="One word.")
    message: str = Field(default="", description="What went wrong.")


class Finding(ApiModel):
    """One thing that a task found out."""

    severity: Literal["Error", "Warning", "Unknown", "Info"] = Field(
        description="How bad it is; Unknown: it could not be looked at, and why."
    )
    check: str = Field(description="What was looked at: one word, safe to match on.")
    object: str = Field(
        default="", description="What it is about: `Kind/name`, a server, an event."
    )
    message: str = Field(description="What was found.")
    wanted: str = Field(default="", description="What it should be.")
    remedy: str = Field(default="", description="The command that heals it or shows more.")


class TaskResult(ApiModel):
    """The answer of an action that answers something."""

    summary: str = Field(default="", description="In one sentence.")
    counts: dict[str, int] = Field(default_factory=dict, description="What was counted, by name.")
    findings: list[Finding] = Field(
        default_factory=list, max_length=MOST_FINDINGS, description="The worst first."
    )
    omitted: int = Field(default=0, description="Findings that had no room here.")


class OutboxTaskStatus(ApiModel):
    """How far a task is. Payloads and keys of events never stand here."""

    observedGeneration: int | None = Field(
        default=None, description="The `metadata.generation` this status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Complete or Failed is True at the end, as of a Job. Until then the reason of "
        "Complete says what is going on, and Suspended whether it was stopped.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    operatorVersion: str | None = Field(
        default=None, description="Version of the operator that worked on it last."
    )
    action: str | None = Field(default=None, description="What is done.")
    target: TaskTarget | None = Field(default=None, description="What it is about.")
    requestedByVerified: bool | None = Field(
        default=None,
        description="Whether `spec.requestedBy` was compared with the user who created the task: "
        "by the chart's ValidatingAdmissionPolicy. Absent when nobody is named.",
    )
    waitsFor: str | None = Field(
        default=None, description="The last task that has to end before this one."
    )
    startTime: str | None = Field(
        default=None,
        description="When the set of events was frozen and work began.",
        json_schema_extra={"format": "date-time"},
    )
    completionTime: str | None = Field(
        default=None, description="When it ended.", json_schema_extra={"format": "date-time"}
    )
    selected: int | None = Field(
        default=None,
        description="Events that it is about, as far as they have been counted; those that have to "
        "go along for their order's sake are among them.",
    )
    done: int = Field(default=0, description="Events that are done.")
    failed: int = Field(default=0, description="Events that could not be done; they are as before.")
    failures: list[Failure] = Field(
        default_factory=list, max_length=MOST_FAILURES, description="The first of them."
    )
    result: TaskResult | None = Field(default=None, description="What it found out.")
    selection: dict[str, Any] | None = Field(
        default=None,
        description="What was frozen when it started. For the operator.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    progress: dict[str, Any] | None = Field(
        default=None,
        description="From where to go on. For the operator.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
