"""Every reason of the project: the one word that says why. Needs the standard library only.

A reason stands in conditions, Kubernetes events, logs, metrics, dead letters and in every
`OutboxError`. Tools match on it, so a word never changes its meaning.

Where a word is seen, what it means and what to do about it says its row in docs/reference:
`conditions.md` has those of resources, pods, Kubernetes events and the operator, `metrics.md` those
of relay, consumer runtime and client library.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something is as it is, in one CamelCase word."""

    # All is well
    PIPELINE_RUNNING = "PipelineRunning"
    IN_SYNC = "InSync"
    CONNECTED = "Connected"
    UP_TO_DATE = "UpToDate"
    NO_CONSUMERS = "NoConsumers"
    MINIMUM_REPLICAS = "MinimumReplicas"
    STOPPED = "Stopped"
    SCALED_TO_ZERO = "ScaledToZero"
    APPLIED = "Applied"
    BELOW_THRESHOLD = "BelowThreshold"
    NOBODY_ELSE = "NobodyElse"
    ACTIVE = "Active"
    NOTHING_MISSING = "NothingMissing"
    BACKFILLED = "Backfilled"

    # On its way: wait
    NEW_GENERATION = "NewGeneration"
    BACKFILLING = "Backfilling"
    RECONCILING = "Reconciling"
    PROGRESSING = "Progressing"
    NOT_OBSERVED = "NotObserved"
    NOT_STARTED = "NotStarted"
    CREATING = "Creating"
    ROLLING_OUT = "RollingOut"
    STOPPING = "Stopping"
    STREAM_NOT_FOUND = "StreamNotFound"
    PLAN_OUTDATED = "PlanOutdated"

    # Servers away or busy: heals by itself
    POSTGRES_UNREACHABLE = "PostgresUnreachable"
    READ_ONLY_SERVER = "ReadOnlyServer"
    TOO_MANY_CONNECTIONS = "TooManyConnections"
    LOCK_TIMEOUT = "LockTimeout"
    STATEMENT_TIMEOUT = "StatementTimeout"
    STATEMENT_FAILED = "StatementFailed"
    NATS_UNREACHABLE = "NatsUnreachable"
    JETSTREAM_UNAVAILABLE = "JetStreamUnavailable"
    JETSTREAM_ERROR = "JetStreamError"
    REDIS_UNREACHABLE = "RedisUnreachable"
    DEPENDENCY_UNAVAILABLE = "DependencyUnavailable"

    # A login or a right is missing: a person must act
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105
    CREDENTIALS_REJECTED = "CredentialsRejected"
    DATABASE_MISSING = "DatabaseMissing"
    PERMISSION_DENIED = "PermissionDenied"
    NAMESPACE_TERMINATING = "NamespaceTerminating"

    # The specification or what is there is in the way: a person must act
    INVALID_SPEC = "InvalidSpec"
    FORBIDDEN_BY_POLICY = "ForbiddenByPolicy"
    NOT_SUPPORTED_YET = "NotSupportedYet"
    INVALID_SECRET = "InvalidSecret"  # noqa: S105
    SECRET_KEY_NOT_TEXT = "SecretKeyNotText"  # noqa: S105
    TAKEN_OVER = "TakenOver"
    RESOURCE_CONFLICT = "ResourceConflict"
    STREAM_EXISTS = "StreamExists"
    KEY_OF_OTHER_TYPE = "KeyOfOtherType"
    EVICTS_KEYS = "EvictsKeys"
    CONSUMER_EXISTS = "ConsumerExists"
    SUBJECT_OVERLAP = "SubjectOverlap"
    IMMUTABLE_FIELD_CHANGED = "ImmutableFieldChanged"
    STORAGE_EXCEEDED = "StorageExceeded"
    LIMIT_REACHED = "LimitReached"
    JETSTREAM_NOT_ENABLED = "JetStreamNotEnabled"
    UNSUPPORTED_SERVER = "UnsupportedServer"
    TRANSACTION_POOLER = "TransactionPooler"
    INCOMPATIBLE_TABLE = "IncompatibleTable"
    SCHEMA_NEWER = "SchemaNewer"
    APPROVAL_PENDING = "ApprovalPending"
    PLAN_REJECTED = "PlanRejected"
    UPDATE_FROZEN = "UpdateFrozen"

    # Pods
    PODS_NOT_READY = "PodsNotReady"
    RELAY_NOT_PROGRESSING = "RelayNotProgressing"
    STREAM_FULL = "StreamFull"
    CURSOR_FROM_OTHER_SERVER = "CursorFromOtherServer"
    PODS_REFUSED = "PodsRefused"
    UNSCHEDULABLE = "Unschedulable"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    ERR_IMAGE_PULL = "ErrImagePull"
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    INVALID_IMAGE_NAME = "InvalidImageName"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    RUN_CONTAINER_ERROR = "RunContainerError"
    NOBODY_NOTIFIES = "NobodyNotifies"

    # Lagging, foreign publishers, paused
    BACKLOG_ABOVE_THRESHOLD = "BacklogAboveThreshold"
    PUBLISHING_WITHOUT_FENCE = "PublishingWithoutFence"
    STREAM_REPUBLISHES = "StreamRepublishes"
    FENCED = "Fenced"
    STREAM_ROLLED_BACK = "StreamRolledBack"
    STREAM_RECREATED = "StreamRecreated"
    NOTHING_LOST = "NothingLost"
    GROUP_RECREATED = "GroupRecreated"
    GROUP_SET_BACK = "GroupSetBack"
    GROUP_SET_FORWARD = "GroupSetForward"
    ENTRIES_REMOVED = "EntriesRemoved"
    ENTRIES_LEFT = "EntriesLeft"
    NOTHING_LEFT = "NothingLeft"
    EVENTS_MISSING = "EventsMissing"
    NOT_PROVABLE = "NotProvable"
    BACKFILL_STUCK = "BackfillStuck"
    SEAL_BROKEN = "SealBroken"
    SEAL_KEY_MISSING = "SealKeyMissing"
    SEQUENCE_BEHIND = "SequenceBehind"
    SEQUENCE_AT_ITS_END = "SequenceAtItsEnd"
    SEQUENCE_AHEAD = "SequenceAhead"
    PAUSED = "Paused"

    # Number of pods
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"
    SCALING_HELD = "ScalingHeld"
    SCALED_EXTERNALLY = "ScaledExternally"
    BACKLOG_UNKNOWN = "BacklogUnknown"

    # Tasks
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    WAITS_FOR_TASK = "WaitsForTask"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_GONE = "TargetGone"
    COMPLETED = "Completed"
    DRY_RUN = "DryRun"
    NOTHING_FAILED = "NothingFailed"
    SOME_FAILED = "SomeFailed"
    TOO_MANY_FAILURES = "TooManyFailures"
    STATUS_UNREADABLE = "StatusUnreadable"
    KEY_STOPPED = "KeyStopped"
    KEY_BUSY = "KeyBusy"
    UNCERTAIN = "Uncertain"
    NO_LONGER_KEPT = "NoLongerKept"
    OTHER_READERS = "OtherReaders"

    # Kubernetes events
    INVALID_ANNOTATION = "InvalidAnnotation"
    WRITE_CONFLICT = "WriteConflict"
    DRIFT_CORRECTED = "DriftCorrected"
    DEPRECATED = "Deprecated"
    MOVED = "Moved"
    SCALED = "Scaled"
    CLEANUP_FAILED = "CleanupFailed"
    CLEANUP_ABANDONED = "CleanupAbandoned"

    # Reasons in logs and metrics only
    KUBERNETES_UNAVAILABLE = "KubernetesUnavailable"
    NOT_FOUND = "NotFound"
    EXPIRED = "Expired"
    LEASE_LOST = "LeaseLost"
    STORE_RESTORED = "StoreRestored"
    INTERNAL_ERROR = "InternalError"
    INVALID_EVENT = "InvalidEvent"
    NO_TRANSACTION = "NoTransaction"

    # Poison events
    UNREADABLE = "Unreadable"
    INVALID_HEADERS = "InvalidHeaders"
    INVALID_SUBJECT = "InvalidSubject"
    SUBJECT_NOT_IN_STREAM = "SubjectNotInStream"
    COLUMN_TOO_LONG = "ColumnTooLong"
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    MESSAGE_TOO_LARGE = "MessageTooLarge"
    REFUSED_BY_STREAM = "RefusedByStream"
    KEY_BLOCKED = "KeyBlocked"

    # Publishing
    ACK_TIMEOUT = "AckTimeout"
    ACK_MISSING = "AckMissing"
    CONNECTION_LOST = "ConnectionLost"
    NO_STREAM_RESPONSE = "NoStreamResponse"
    STREAM_REFUSED = "StreamRefused"
    FENCE_REFUSED = "FenceRefused"
    FOREIGN_ENTRIES = "ForeignEntries"
    TAIL_INCOMPLETE = "TailIncomplete"
    WRONG_STREAM = "WrongStream"
    UNEXPECTED_REPLY = "UnexpectedReply"
    MIGRATIONS_MISSING = "MigrationsMissing"
    OWNERSHIP_LOST = "OwnershipLost"
    LOCK_LOST = "LockLost"
    CURSOR_INVALID = "CursorInvalid"
    EVENTS_VANISHED = "EventsVanished"

    # Consuming
    MAX_DELIVER = "MaxDeliver"
    REFUSED = "Refused"
    UNHANDLED = "Unhandled"
    PUT_OFF_TOO_LONG = "PutOffTooLong"
    TERMINATED = "Terminated"
    HANDLER_UNAVAILABLE = "HandlerUnavailable"
    COMMIT_REFUSED = "CommitRefused"
    TRANSACTION_ENDED = "TransactionEnded"
    UNRECORDABLE = "Unrecordable"
    DEAD_LETTER_STREAM_MISSING = "DeadLetterStreamMissing"
    CONSUMER_MISSING = "ConsumerMissing"
    WRONG_CONSUMER = "WrongConsumer"

    # Sending at once
    SEND_TIMEOUT = "SendTimeout"
    SEND_REFUSED = "SendRefused"
    NOBODY_LISTENS = "NobodyListens"
    TOO_MANY_WAITING = "TooManyWaiting"
    LINK_CLOSED = "LinkClosed"
    CONNECTION_OF_PARENT = "ConnectionOfParent"
