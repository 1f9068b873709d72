"""Names that are part of the public contract: group, kinds, labels, annotations, finalizer."""

from __future__ import annotations

from typing import Final

GROUP: Final = "outbox.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

PIPELINE: Final = "OutboxPipeline"
STREAM: Final = "EventStream"
CONSUMER: Final = "EventConsumer"
TASK: Final = "OutboxTask"
PLURALS: Final = {
    PIPELINE: "outboxpipelines",
    STREAM: "eventstreams",
    CONSUMER: "eventconsumers",
    TASK: "outboxtasks",
}

LATER_KINDS: Final = frozenset({TASK})
"""Those of later releases: without their definitions the operator does everything else."""

FINALIZER: Final = f"{GROUP}/finalizer"
FIELD_MANAGER: Final = "outbox-operator"
STATUS_FIELD_MANAGER: Final = "outbox-operator-status"
HANDOVER_FIELD_MANAGER: Final = "outbox-operator-handover"

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "outbox-operator"
NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
PIPELINE_LABEL: Final = f"{GROUP}/pipeline"
CONSUMER_LABEL: Final = f"{GROUP}/consumer"

PAUSE_ANNOTATION: Final = f"{GROUP}/paused"
"""`"true"`: leave everything as it is; the status says so."""
RESTART_ANNOTATION: Final = f"{GROUP}/restart"
"""One-shot: roll the pods (`all`, `relay`, `consumers`), then the operator removes it."""
APPROVE_PLAN_ANNOTATION: Final = f"{GROUP}/approve-plan"
"""One-shot, deprecated: hash of the plan that may run; the field `approvedPlan` came after it."""
RECONCILE_AT_ANNOTATION: Final = f"{GROUP}/reconcile-at"
"""One-shot: reconcile now."""
ONE_SHOT_ANNOTATIONS: Final = (
    RESTART_ANNOTATION,
    APPROVE_PLAN_ANNOTATION,
    RECONCILE_AT_ANNOTATION,
)
"""Removed by the operator once acted upon."""
RESTARTED_AT_ANNOTATION: Final = f"{GROUP}/restarted-at"
"""On pod templates: when a restart was asked for."""
RESET_LEFT_ANNOTATION: Final = f"{GROUP}/reset-left"
"""On an EventConsumer whose durable consumer a task deletes to make it anew: how far that was."""
LETTERS_ANNOTATION: Final = f"{GROUP}/letters-announced"
"""On an EventConsumer: dead letters that a task was about to send, whatever became of it."""
APPLIED_ANNOTATION: Final = f"{GROUP}/applied"
"""On every child: hash of the manifest that was applied, so that a field no longer set shows."""
CHECKSUM_ANNOTATION: Final = f"{GROUP}/checksum"
"""On pod templates: hash of configuration and Secrets, so that a change rolls the pods."""
LOGINS_ANNOTATION: Final = f"{GROUP}/logins"
"""On Deployments: hash of what the pods log in with; a change is followed once it was tried."""

LEFT_OUT: Final = f"{GROUP}/left-out"
"""In this process only: key in a part of an object that was too much to read; says why."""

OWNER_METADATA: Final = f"{GROUP}/owner"
"""Stream and durable-consumer metadata: UID of the resource that owns it."""
RESET_METADATA: Final = f"{GROUP}/reset"
"""Durable-consumer metadata: UID of the task that made it anew at another place."""
RESET_FROM_METADATA: Final = f"{GROUP}/reset-from"
"""The same: the place that its resource declared then."""
OWNER_NAME_METADATA: Final = f"{GROUP}/owner-name"
OWNER_CLUSTER_METADATA: Final = f"{GROUP}/owner-cluster"
"""Stream and durable-consumer metadata: `Kind/namespace/name`, for people."""
