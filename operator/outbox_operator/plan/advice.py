"""What to do about a reason: the command that shows more or heals it. Pure.

Said by `outbox status`, at the end of the operator's events, and for each reason in
`docs/reference/conditions.md`, whose last column is written from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from outbox_operator.api import meta
from outbox_operator.reasons import Reason

SHORT: Final[Mapping[str, str]] = {
    meta.PIPELINE: "obp",
    meta.STREAM: "evs",
    meta.CONSUMER: "evc",
    meta.TASK: "obt",
}

_STATUS: Final = "kubectl outbox status {pipeline}-n {namespace}"
_WATCH: Final = "kubectl outbox status {pipeline}-n {namespace} --watch"
_DOCTOR: Final = "kubectl outbox doctor {pipeline}-n {namespace}"
_LOGS: Final = "kubectl outbox logs {target} -n {namespace}"
_ENDED: Final = "kubectl outbox logs {target} -n {namespace} --previous"
_VERIFY: Final = "kubectl outbox verify {name} -n {namespace}"
_RESUME: Final = "kubectl outbox resume {target} -n {namespace}"
_PLAN: Final = "kubectl outbox plan show {target} -n {namespace}"
_REBASE: Final = "kubectl outbox rebase {name} -n {namespace}"
_PODS: Final = "kubectl get pods -n {namespace} -l {label}"
_DESCRIBE: Final = "kubectl describe {short}/{name} -n {namespace}"
_SPEC: Final = "kubectl edit {short}/{name} -n {namespace}"
_TASK: Final = "kubectl outbox task {name} -n {namespace}"
_TASKS: Final = "kubectl get obt -n {namespace}"
_SECRETS: Final = "kubectl get secrets -n {namespace}"

STEPS: Final[Mapping[Reason, str]] = {
    # All is well.
    Reason.PIPELINE_RUNNING: _STATUS,
    Reason.IN_SYNC: _STATUS,
    Reason.CONNECTED: _STATUS,
    Reason.UP_TO_DATE: _PLAN,
    Reason.NO_CONSUMERS: _SPEC,
    Reason.MINIMUM_REPLICAS: _STATUS,
    Reason.STOPPED: "kubectl outbox start {target} -n {namespace}",
    Reason.SCALED_TO_ZERO: _STATUS,
    Reason.APPLIED: _STATUS,
    Reason.BELOW_THRESHOLD: "kubectl outbox lag {pipeline}-n {namespace}",
    Reason.NOBODY_ELSE: _STATUS,
    Reason.ACTIVE: _STATUS,
    Reason.NOTHING_MISSING: _STATUS,
    Reason.BACKFILLED: _STATUS,
    # On its way.
    Reason.NEW_GENERATION: _WATCH,
    Reason.BACKFILLING: _WATCH,
    Reason.RECONCILING: _WATCH,
    Reason.PROGRESSING: _WATCH,
    Reason.NOT_OBSERVED: _WATCH,
    Reason.NOT_STARTED: _STATUS,
    Reason.CREATING: _WATCH,
    Reason.ROLLING_OUT: _WATCH,
    Reason.STOPPING: _WATCH,
    Reason.STREAM_NOT_FOUND: "kubectl get evs -n {namespace}",
    Reason.PLAN_OUTDATED: _WATCH,
    # Servers away or busy.
    Reason.POSTGRES_UNREACHABLE: _DOCTOR,
    Reason.READ_ONLY_SERVER: _DOCTOR,
    Reason.TOO_MANY_CONNECTIONS: _DOCTOR,
    Reason.LOCK_TIMEOUT: _DOCTOR,
    Reason.STATEMENT_TIMEOUT: _DOCTOR,
    Reason.STATEMENT_FAILED: _DOCTOR,
    Reason.NATS_UNREACHABLE: _DOCTOR,
    Reason.JETSTREAM_UNAVAILABLE: _DOCTOR,
    Reason.JETSTREAM_ERROR: _DOCTOR,
    Reason.REDIS_UNREACHABLE: _DOCTOR,
    Reason.DEPENDENCY_UNAVAILABLE: _DOCTOR,
    Reason.KUBERNETES_UNAVAILABLE: _WATCH,
    # A login or a right is missing.
    Reason.SECRET_NOT_FOUND: _SECRETS,
    Reason.SECRET_KEY_NOT_FOUND: _SECRETS,
    Reason.CREDENTIALS_REJECTED: _SECRETS,
    Reason.DATABASE_MISSING: _SECRETS,
    Reason.PERMISSION_DENIED: _DOCTOR,
    Reason.NAMESPACE_TERMINATING: "kubectl describe namespace {namespace}",
    # The specification or what is there is in the way.
    Reason.INVALID_SPEC: _SPEC,
    Reason.FORBIDDEN_BY_POLICY: _SPEC,
    Reason.NOT_SUPPORTED_YET: _SPEC,
    Reason.INVALID_SECRET: _SECRETS,
    Reason.SECRET_KEY_NOT_TEXT: _SECRETS,
    Reason.TAKEN_OVER: _SPEC,
    Reason.RESOURCE_CONFLICT: _DOCTOR,
    Reason.STREAM_EXISTS: _SPEC,
    Reason.CONSUMER_EXISTS: _SPEC,
    Reason.KEY_OF_OTHER_TYPE: _DESCRIBE,
    Reason.EVICTS_KEYS: _DESCRIBE,
    Reason.SUBJECT_OVERLAP: _SPEC,
    Reason.IMMUTABLE_FIELD_CHANGED: _SPEC,
    Reason.STORAGE_EXCEEDED: _SPEC,
    Reason.LIMIT_REACHED: _DOCTOR,
    Reason.JETSTREAM_NOT_ENABLED: _DOCTOR,
    Reason.UNSUPPORTED_SERVER: _DOCTOR,
    Reason.TRANSACTION_POOLER: _SECRETS,
    Reason.INCOMPATIBLE_TABLE: _SPEC,
    Reason.SCHEMA_NEWER: "kubectl outbox version",
    Reason.APPROVAL_PENDING: _PLAN,
    Reason.PLAN_REJECTED: _PLAN,
    Reason.UPDATE_FROZEN: _RESUME,
    # Pods.
    Reason.PODS_NOT_READY: _LOGS,
    Reason.RELAY_NOT_PROGRESSING: _DOCTOR,
    Reason.STREAM_FULL: _SPEC,
    Reason.CURSOR_FROM_OTHER_SERVER: _REBASE,
    Reason.PODS_REFUSED: _DESCRIBE,
    Reason.UNSCHEDULABLE: _PODS,
    Reason.CRASH_LOOP_BACK_OFF: _ENDED,
    Reason.IMAGE_PULL_BACK_OFF: _PODS,
    Reason.ERR_IMAGE_PULL: _PODS,
    Reason.ERR_IMAGE_NEVER_PULL: _PODS,
    Reason.INVALID_IMAGE_NAME: _SPEC,
    Reason.CREATE_CONTAINER_CONFIG_ERROR: _PODS,
    Reason.CREATE_CONTAINER_ERROR: _PODS,
    Reason.RUN_CONTAINER_ERROR: _PODS,
    Reason.NOBODY_NOTIFIES: _SPEC,
    # What informs.
    Reason.BACKLOG_ABOVE_THRESHOLD: _DOCTOR,
    Reason.PUBLISHING_WITHOUT_FENCE: _SPEC,
    Reason.STREAM_REPUBLISHES: _SPEC,
    Reason.FENCED: _STATUS,
    Reason.STREAM_ROLLED_BACK: _VERIFY,
    Reason.STREAM_RECREATED: _REBASE + " --all",
    Reason.NOTHING_LOST: _STATUS,
    Reason.GROUP_RECREATED: _DESCRIBE,
    Reason.GROUP_SET_BACK: _DESCRIBE,
    Reason.GROUP_SET_FORWARD: _DESCRIBE,
    Reason.ENTRIES_REMOVED: _DESCRIBE,
    Reason.ENTRIES_LEFT: _DESCRIBE,
    Reason.NOTHING_LEFT: _STATUS,
    Reason.EVENTS_MISSING: _DESCRIBE,
    Reason.NOT_PROVABLE: _DESCRIBE,
    Reason.BACKFILL_STUCK: _DESCRIBE,
    Reason.SEAL_BROKEN: _DESCRIBE,
    Reason.SEAL_KEY_MISSING: _SPEC,
    Reason.SEQUENCE_BEHIND: _DOCTOR,
    Reason.SEQUENCE_AT_ITS_END: _DOCTOR,
    Reason.SEQUENCE_AHEAD: _STATUS,
    Reason.PAUSED: _RESUME,
    # Number of pods.
    Reason.SCALING_ACTIVE: _STATUS,
    Reason.SCALING_LIMITED: _SPEC,
    Reason.SCALING_HELD: _PODS,
    Reason.SCALED_EXTERNALLY: _STATUS,
    Reason.BACKLOG_UNKNOWN: _DOCTOR,
    # Tasks.
    Reason.RUNNING: _TASKS,
    Reason.SUSPENDED: "kubectl edit obt/{name} -n {namespace}",
    Reason.WAITS_FOR_TASK: _TASKS,
    Reason.MIGRATIONS_MISSING: _TASK,
    Reason.TARGET_NOT_FOUND: "kubectl get obp,evs,evc -n {namespace}",
    Reason.COMPLETED: _TASK,
    Reason.DRY_RUN: _TASK,
    Reason.NOTHING_FAILED: _TASK,
    Reason.SOME_FAILED: _TASK,
    Reason.TOO_MANY_FAILURES: _TASK,
    Reason.TARGET_GONE: _TASK,
    Reason.STATUS_UNREADABLE: _TASK,
    Reason.NO_LONGER_KEPT: _TASK,
    Reason.OTHER_READERS: _TASK,
    Reason.KEY_STOPPED: _TASK,
    Reason.KEY_BUSY: _STATUS,
    Reason.UNCERTAIN: _TASK,
    # Events of the operator alone.
    Reason.INVALID_ANNOTATION: _DESCRIBE,
    Reason.DRIFT_CORRECTED: _STATUS,
    Reason.DEPRECATED: _PLAN,
    Reason.WRITE_CONFLICT: _STATUS,
    Reason.MOVED: _STATUS,
    Reason.SCALED: _STATUS,
    Reason.CLEANUP_FAILED: _DOCTOR,
    Reason.CLEANUP_ABANDONED: "kubectl get obp,evs,evc -n {namespace}",
}
"""By reason. What is not here is nothing of a resource's, or its message says it all."""

OF_PIPELINES: Final[Mapping[Reason, str]] = {Reason.PODS_NOT_READY: _DOCTOR}
"""What is more to the point of a pipeline: its relay's pods are ours, and do not wait for nothing;
those of a consumer run somebody's handler."""

_BY_WORD: Final[Mapping[str, str]] = {str(reason): step for reason, step in STEPS.items()}
_OF_PIPELINES: Final[Mapping[str, str]] = {str(r): step for r, step in OF_PIPELINES.items()}
_BEHIND_DOCTOR: Final[Mapping[str, str]] = dict.fromkeys(
    (Reason.PODS_NOT_READY, Reason.RELAY_NOT_PROGRESSING, Reason.BACKLOG_ABOVE_THRESHOLD), _LOGS
)
"""For whom the doctor has told what it knows."""
_SAID_BY_STATUS: Final = frozenset({_STATUS, _WATCH})
_SAID_BY_DOCTOR: Final = _SAID_BY_STATUS | {_DOCTOR}


def next_step(reason: str, kind: str, namespace: str, name: str) -> str:
    """The command for a reason that an object of ours has; empty: there is none.

    Args:
        reason: As conditions and events have it.
        kind: Of the object.
        namespace: Where it is.
        name: Its name.
    """
    return _filled(_step(reason, kind), kind, namespace, name)


def _step(reason: str, kind: str) -> str:
    """The command that a reason of a kind leads to, to be filled in; empty: there is none."""
    step = _BY_WORD.get(reason, "")
    return _OF_PIPELINES.get(reason, step) if kind == meta.PIPELINE else step


def _filled(step: str, kind: str, namespace: str, name: str) -> str:
    is_pipeline = kind == meta.PIPELINE
    short = SHORT.get(kind, kind.lower())
    label = meta.PIPELINE_LABEL if is_pipeline else meta.INSTANCE_LABEL
    return step.format(
        namespace=namespace,
        name=name,
        short=short,
        target=name if is_pipeline else f"{short}/{name}",
        pipeline=f"{name} " if is_pipeline else "",
        label=f"{label}={name}",
    )


def beyond_status(reason: str, kind: str, namespace: str, name: str) -> str:
    """The same for somebody who looks at `outbox status`; empty: that says all there is."""
    if _step(reason, kind) in _SAID_BY_STATUS:
        return ""
    return next_step(reason, kind, namespace, name)


def step_or_look(reason: str, kind: str, namespace: str, name: str) -> str:
    """The same for a finding of the doctor; where it says all there is, what shows the object."""
    step = _BEHIND_DOCTOR.get(reason) or _step(reason, kind) or _DOCTOR
    return _filled(_DESCRIBE if step in _SAID_BY_DOCTOR else step, kind, namespace, name)
