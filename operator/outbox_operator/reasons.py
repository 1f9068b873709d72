"""Every reason of the project: the one word that says why. Needs the standard library only.

A reason stands in conditions, Kubernetes events, logs, metrics, dead letters and in every
`OutboxError`. Tools match on it, so a word never changes its meaning.

The documentation of a member is its line in a table of docs/reference: `make generate` writes
them, a table for each comment below. `On` and `In` say where the word is seen, `Do` what a person
can do; without it there is nothing to do.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something is as it is, in one CamelCase word."""

    # All is well
    PIPELINE_RUNNING = "PipelineRunning"
    """On `Ready` of `OutboxPipeline`: every part is as declared."""
    IN_SYNC = "InSync"
    """On `Ready`, `StreamReady`, `ConsumerReady`, `ConsumersReady`: as declared."""
    CONNECTED = "Connected"
    """On `DatabaseReachable`, `NatsReachable`: connected."""
    UP_TO_DATE = "UpToDate"
    """On `SchemaApplied`: nothing to migrate."""
    NO_CONSUMERS = "NoConsumers"
    """On `ConsumersReady`: none is declared."""
    MINIMUM_REPLICAS = "MinimumReplicas"
    """On `RelayAvailable`, `WorkloadAvailable`: all pods are ready."""
    STOPPED = "Stopped"
    """On `Ready`, `RelayAvailable`, `WorkloadAvailable`: `state: Stopped`, or `replicas: 0`."""
    SCALED_TO_ZERO = "ScaledToZero"
    """On `Ready`, `RelayAvailable`, `WorkloadAvailable`: the Deployment is scaled to zero."""
    APPLIED = "Applied"
    """On `Reconciling`, `Stalled` (both False): nothing is left to do."""
    BELOW_THRESHOLD = "BelowThreshold"
    """On `Lagging` (False): the relay keeps up."""
    NOBODY_ELSE = "NobodyElse"
    """On `ForeignPublisher` (False): hardly anybody else publishes to its subjects."""
    ACTIVE = "Active"
    """On `Paused` (False): not paused."""

    # On its way: wait
    NEW_GENERATION = "NewGeneration"
    """On `Reconciling`: a new specification has just been seen."""
    RECONCILING = "Reconciling"
    """On `Ready`, `StreamReady`, `ConsumersReady`: a new specification, or a new child."""
    PROGRESSING = "Progressing"
    """On `Stalled` (False): time can help."""
    NOT_OBSERVED = "NotObserved"
    """On any part (Unknown): this pass did not get to it."""
    NOT_STARTED = "NotStarted"
    """On `RelayAvailable`, `WorkloadAvailable`: pods are not made before the schema, stream or
    durable consumer they need.
    Do: see the other conditions."""
    CREATING = "Creating"
    """On `RelayAvailable`, `WorkloadAvailable`: the Deployment does not exist yet."""
    ROLLING_OUT = "RollingOut"
    """On `RelayAvailable`, `WorkloadAvailable`: pods are being made or exchanged."""
    STOPPING = "Stopping"
    """On `RelayAvailable`, `WorkloadAvailable`: pods still run although none is wanted."""
    STREAM_NOT_FOUND = "StreamNotFound"
    """On `StreamReady`, `ConsumerReady`: the `EventStream` named by `ref` or `streamRef`, or its
    JetStream stream, does not exist yet; relay and consumer runtime say it of the latter too.
    Do: create it, or correct the name; same namespace."""
    PLAN_OUTDATED = "PlanOutdated"
    """On `SchemaApplied`: the database changed before the migration; planned again."""

    # Servers away or busy: heals by itself
    POSTGRES_UNREACHABLE = "PostgresUnreachable"
    """On `DatabaseReachable`: no connection; the message names host and cause.
    Do: start the server; check address, NetworkPolicy, TLS."""
    READ_ONLY_SERVER = "ReadOnlyServer"
    """On `DatabaseReachable`: the address leads to a standby.
    Do: use the primary's address, or list all hosts in the URL."""
    TOO_MANY_CONNECTIONS = "TooManyConnections"
    """On `DatabaseReachable`: `max_connections`, or the role's limit, is used up.
    Do: free connections or raise it."""
    LOCK_TIMEOUT = "LockTimeout"
    """On `SchemaApplied`: another session holds a lock a migration needs.
    Do: find it in `pg_locks`; or raise `spec.database.migrations.lockTimeout`."""
    STATEMENT_TIMEOUT = "StatementTimeout"
    """On `SchemaApplied`, `DatabaseReachable`: a statement took too long and was cancelled.
    Do: look at the server's load."""
    STATEMENT_FAILED = "StatementFailed"
    """On `SchemaApplied`, `DatabaseReachable`: the server refused a statement; the message quotes.
    Do: what the message says."""
    NATS_UNREACHABLE = "NatsUnreachable"
    """On `NatsReachable`: no connection; the message names address and cause.
    Do: start the server; check address, NetworkPolicy, TLS."""
    JETSTREAM_UNAVAILABLE = "JetStreamUnavailable"
    """On `NatsReachable`, `StreamReady`, `ConsumerReady`: connected, but JetStream does not answer
    or has no leader.
    Do: look at the NATS cluster; check `spec.nats.domain`."""
    JETSTREAM_ERROR = "JetStreamError"
    """On `NatsReachable`, `StreamReady`, `ConsumerReady`: JetStream answered with its own error.
    Do: what the message says."""
    DEPENDENCY_UNAVAILABLE = "DependencyUnavailable"
    """On any: another server that is needed is away.
    Do: what the message says."""

    # A login or a right is missing: a person must act
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    """On `DatabaseReachable`, `NatsReachable`: the namespace has no such Secret.
    Do: create it; the message names it and its key."""
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105
    """On `DatabaseReachable`, `NatsReachable`: the Secret has no such key, or it is empty.
    Do: add the key, or name another in the resource."""
    CREDENTIALS_REJECTED = "CredentialsRejected"
    """On `DatabaseReachable`, `NatsReachable`: wrong user or password. "the relay's login": that of
    `connectionSecretRef`; the role that migrates got in.
    Do: correct the Secret."""
    DATABASE_MISSING = "DatabaseMissing"
    """On `DatabaseReachable`: the database in the URL does not exist.
    Do: create it, or correct the URL."""
    PERMISSION_DENIED = "PermissionDenied"
    """On `DatabaseReachable`, `SchemaApplied`, `NatsReachable`, `StreamReady`, `ConsumerReady`: the
    role or account may not do this; on any: nor the operator in this namespace.
    Do: run the command of the message; or allow the subject in the NATS account."""
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    """On `Ready`: the namespace is being deleted."""

    # The specification or what is there is in the way: a person must act
    INVALID_SPEC = "InvalidSpec"
    """On any: a field cannot be carried out, a role does not exist, a `podTemplate` is refused.
    Do: change the field the message names."""
    FORBIDDEN_BY_POLICY = "ForbiddenByPolicy"
    """On `RelayAvailable`, `WorkloadAvailable`: the installation forbids a part of the pods.
    Do: leave it out, or ask who installed the operator for it (`dataPlane.podPolicy`)."""
    NOT_SUPPORTED_YET = "NotSupportedYet"
    """On `Ready`: a field whose behaviour is not in this version.
    Do: remove it."""
    INVALID_SECRET = "InvalidSecret"  # noqa: S105
    """On `DatabaseReachable`, `NatsReachable`: a malformed URL, one that names files or unknown
    parameters, no valid certificate or key. No server was asked.
    Do: mend the Secret; the message says what is wrong, and how it is done right."""
    SECRET_KEY_NOT_TEXT = "SecretKeyNotText"  # noqa: S105
    """On `DatabaseReachable`, `NatsReachable`: the key holds bytes that are not UTF-8 text.
    Do: put the URL, password or file there as text."""
    TAKEN_OVER = "TakenOver"
    """On `SchemaApplied`, `StreamReady`, `ConsumerReady`: another resource with `adoptionPolicy:
    Adopt` took over what this one had. Relay and handler stop.
    Do: delete this resource, or take it back by a change of its adoptionPolicy."""
    RESOURCE_CONFLICT = "ResourceConflict"
    """On `SchemaApplied`, `StreamReady`, `ConsumerReady`: the schema, stream or durable consumer is
    another resource's; or an object of the child's name belongs to somebody else.
    Do: rename one of the two, or delete it; or what the message says."""
    STREAM_EXISTS = "StreamExists"
    """On `StreamReady`: a stream of that name exists and nobody declared it.
    Do: set `adoptionPolicy: Adopt`, or choose another name."""
    CONSUMER_EXISTS = "ConsumerExists"
    """On `ConsumerReady`: a durable consumer of that name exists and nobody declared it.
    Do: set `adoptionPolicy: Adopt`, or choose another name."""
    SUBJECT_OVERLAP = "SubjectOverlap"
    """On `StreamReady`: another stream stores these subjects; the message names it.
    Do: separate the subjects."""
    IMMUTABLE_FIELD_CHANGED = "ImmutableFieldChanged"
    """On `StreamReady`, `ConsumerReady`: the server cannot change this in place.
    Do: set the field of the message back, or use a new name, or delete the stream or durable
    consumer yourself and let it be made anew."""
    STORAGE_EXCEEDED = "StorageExceeded"
    """On `StreamReady`: `maxBytes` does not fit the account or server.
    Do: lower it or raise the limit."""
    LIMIT_REACHED = "LimitReached"
    """On `StreamReady`, `ConsumerReady`: the account's number of streams or consumers is used up.
    Do: delete some or raise the limit."""
    JETSTREAM_NOT_ENABLED = "JetStreamNotEnabled"
    """On `NatsReachable`: server or account has no JetStream.
    Do: enable it."""
    UNSUPPORTED_SERVER = "UnsupportedServer"
    """On `NatsReachable`, `StreamReady`, `ConsumerReady`, `SchemaApplied`: the server is too old
    for a field, or too small for `replicas`.
    Do: upgrade it or drop the field."""
    TRANSACTION_POOLER = "TransactionPooler"
    """On `SchemaApplied`, quoted in `RelayAvailable`: a pooler in transaction or statement mode
    answers, so that locks and settings of a session get lost.
    Do: use the server's own address, or a pool in session mode (`pool_mode = session`)."""
    INCOMPATIBLE_TABLE = "IncompatibleTable"
    """On `SchemaApplied`: a table of that name is not ours: other columns, keys or payload type.
    Do: use another schema, or move the table away."""
    SCHEMA_NEWER = "SchemaNewer"
    """On `SchemaApplied`: a newer operator migrated this schema.
    Do: run that version of the operator."""
    APPROVAL_PENDING = "ApprovalPending"
    """On `SchemaApplied`, `StreamReady`: a migration waits, or a move that leaves events behind.
    Do: [approve it](../how-to/migrations-and-approval.md)."""
    UPDATE_FROZEN = "UpdateFrozen"
    """On any part: something differs and is left so while paused.
    Do: [take the pause away](../how-to/pause-stop-restart.md)."""

    # Pods
    PODS_NOT_READY = "PodsNotReady"
    """Pods run and are not ready; the message quotes `/readyz` where the pod answers.
    Do: [troubleshoot](../how-to/troubleshoot.md)."""
    RELAY_NOT_PROGRESSING = "RelayNotProgressing"
    """Rows wait for 20 s or more and nothing was published for 20 s.
    Do: [troubleshoot](../how-to/troubleshoot.md#rows-wait-and-nothing-is-published)."""
    CURSOR_FROM_OTHER_SERVER = "CursorFromOtherServer"
    """The database was restored or moved; nothing is published until somebody says what shall be.
    Do: the command in the message; [restore a database](../how-to/restore-a-database.md)."""
    PODS_REFUSED = "PodsRefused"
    """The API server refuses to create pods: quota, Pod Security, webhook.
    Do: what the message says."""
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pod.
    Do: resources, taints, `nodeSelector`."""
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    """The container ends again and again; the message has the exit code.
    Do: `kubectl logs --previous`."""
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    """The image could not be had several times.
    Do: name, registry login (`podTemplate.spec.imagePullSecrets`)."""
    ERR_IMAGE_PULL = "ErrImagePull"
    """The image could not be had.
    Do: name, registry login (`podTemplate.spec.imagePullSecrets`)."""
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    """The image is not on the node, and the pod may not pull it.
    Do: load it, or change `imagePullPolicy`."""
    INVALID_IMAGE_NAME = "InvalidImageName"
    """The name of the image is none.
    Do: correct it."""
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    """The container cannot be made; often a Secret or key that is missing.
    Do: what the message says."""
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    """The container cannot be made.
    Do: what the message says."""
    RUN_CONTAINER_ERROR = "RunContainerError"
    """The container cannot be started.
    Do: what the message says."""
    NOBODY_NOTIFIES = "NobodyNotifies"
    """On the relay's `/readyz`: `WhenIdle`, but the server allows prepared transactions, which must
    not notify; quiet shards are polled every second.
    Do: nothing, or set `max_prepared_transactions` to 0 where nobody prepares any."""

    # Lagging, foreign publishers, paused
    BACKLOG_ABOVE_THRESHOLD = "BacklogAboveThreshold"
    """On `Lagging`: the relay is behind; the message has rows and age."""
    PUBLISHING_WITHOUT_FENCE = "PublishingWithoutFence"
    """On `ForeignPublisher`: the message names subject and sequence of the other's last message.
    Nothing is lost or reordered; a crash may store a second copy where de-duplication has
    forgotten the first. Give each publisher subjects of its own, or, if applications publish
    events of this outbox directly, set `outbox.ordering: None`."""
    STREAM_REPUBLISHES = "StreamRepublishes"
    """On `Unfenced`: the stream has `republish` set, and a stream that takes the copies would
    refuse those that carry the fence. A crash may store a second copy where de-duplication has
    forgotten the first. Also in the relay's log, where copies may be missing."""
    FENCED = "Fenced"
    """On `Unfenced` (False): the stream refuses whoever does not own the shard, where it can."""
    STREAM_ROLLED_BACK = "StreamRolledBack"
    """On `StreamLostEvents`: the stream came back ending before messages that it had acknowledged,
    as after a power cut with one replica. The relay sends again what the table still holds; the
    message says how many. Also in the relay's log, where it ends the session of a shard.
    Do: three replicas, or `sync_interval: always`, keep what is acknowledged."""
    STREAM_RECREATED = "StreamRecreated"
    """On `StreamLostEvents`: somebody deleted the stream, or it was in memory; the new one lacks
    what was published before.
    Do: `outbox rebase` sends again what the table still holds."""
    NOTHING_LOST = "NothingLost"
    """On `StreamLostEvents` (False): nothing within the last hour."""
    SEQUENCE_BEHIND = "SequenceBehind"
    """On `PositionsMoved` and in the relay's log: the sequence of positions stood before some in
    use (restored data, replication, `setval`), so inserts failed; it was moved on.
    Do: find out who set it."""
    SEQUENCE_AT_ITS_END = "SequenceAtItsEnd"
    """On `PositionsMoved`: inserts failed; the sequence is moved once its options are right.
    Do: find out who set it."""
    SEQUENCE_AHEAD = "SequenceAhead"
    """On `PositionsMoved` (False): it was behind all positions within the last hour."""
    PAUSED = "Paused"
    """On `Paused`: `outbox.dev/paused: "true"` is set."""

    # Kubernetes events
    INVALID_ANNOTATION = "InvalidAnnotation"
    """A one-shot annotation had a value that means nothing; it was removed, nothing was done."""
    WRITE_CONFLICT = "WriteConflict"
    """Somebody wrote an object at the same moment; the operator looks again by itself."""
    DRIFT_CORRECTED = "DriftCorrected"
    """Somebody changed, deleted or added to what the operator owns; it was put back."""
    MOVED = "Moved"
    """The outbox or stream is elsewhere now, as declared; the text says what stayed behind."""
    CLEANUP_FAILED = "CleanupFailed"
    """A deleted resource cannot remove what it owns yet; it is tried again."""
    CLEANUP_ABANDONED = "CleanupAbandoned"
    """The deadline passed; the resource was let go and the text says what stays behind."""

    # Reasons in logs and metrics only
    KUBERNETES_UNAVAILABLE = "KubernetesUnavailable"
    """In the operator: the API server failed a request; tried again."""
    NOT_FOUND = "NotFound"
    """In the operator: an object is not there any more; looked at again."""
    EXPIRED = "Expired"
    """In the operator: the API server forgot the history; everything is listed again."""
    LEASE_LOST = "LeaseLost"
    """In the operator: another process leads, or the Lease could not be renewed for 10 s; the
    process ends and starts anew as a standby."""
    INTERNAL_ERROR = "InternalError"
    """In any program: an error without a better word."""
    INVALID_EVENT = "InvalidEvent"
    """In the client library: an event was refused before the INSERT."""
    NO_TRANSACTION = "NoTransaction"
    """In the client library: the connection had no transaction open to write an event in."""

    # Poison events
    UNREADABLE = "Unreadable"
    """No message can be made of the event, for example for headers nested thousands deep."""
    INVALID_HEADERS = "InvalidHeaders"
    """The event has headers that are not an object of one-line texts, or a reserved name (`Nats-`,
    `Outbox-`, `Ce-`, `Status`, `Description`)."""
    INVALID_SUBJECT = "InvalidSubject"
    """The event has a type or key that makes a subject NATS does not accept (longer than 1024
    bytes)."""
    SUBJECT_NOT_IN_STREAM = "SubjectNotInStream"
    """The event has a subject that the stream does not take."""
    COLUMN_TOO_LONG = "ColumnTooLong"
    """The event has a type, key or routing key of far more than the 1024 bytes it may have."""
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    """The event has more than 65535 bytes of headers."""
    MESSAGE_TOO_LARGE = "MessageTooLarge"
    """The event is larger than the stream's `maxMsgSize` or the server's `max_payload`, headers
    included."""
    REFUSED_BY_STREAM = "RefusedByStream"
    """The event was refused by the stream for its size although it looked right."""
    KEY_BLOCKED = "KeyBlocked"
    """The event is fine itself, but an earlier event of its key is a dead letter (policy
    `BlockKey`)."""

    # Publishing
    ACK_TIMEOUT = "AckTimeout"
    """The stream did not acknowledge in time; sent again, de-duplicated."""
    ACK_MISSING = "AckMissing"
    """The stream acknowledged later messages and not this one; sent again, de-duplicated."""
    CONNECTION_LOST = "ConnectionLost"
    """The connection went while messages were in flight."""
    NO_STREAM_RESPONSE = "NoStreamResponse"
    """No server answers for the stream at the moment."""
    STREAM_REFUSED = "StreamRefused"
    """The stream refused an event: full, sealed, a wrong expectation; the log has its words."""
    FENCE_REFUSED = "FenceRefused"
    """Somebody else published to the shard's subjects lately; this relay looks again."""
    TAIL_INCOMPLETE = "TailIncomplete"
    """In the relay's log, when it takes a shard: messages that were published after the last save
    are no longer in the stream, by its limits, by consumption or by hand. The message says how
    many of their events are known, and whether any is sent a second time."""
    WRONG_STREAM = "WrongStream"
    """Another stream took the message."""
    UNEXPECTED_REPLY = "UnexpectedReply"
    """A program other than JetStream answered."""
    MIGRATIONS_MISSING = "MigrationsMissing"
    """The tables are not there yet, or of a version before."""
    OWNERSHIP_LOST = "OwnershipLost"
    """Another relay took the shard over."""
    LOCK_LOST = "LockLost"
    """The session no longer holds a lock that it took: something ran `pg_advisory_unlock_all()` in
    it. The relay begins anew."""
    CURSOR_INVALID = "CursorInvalid"
    """The cursor's row was changed by hand."""
    EVENTS_VANISHED = "EventsVanished"
    """Rows that were to be published have been deleted."""

    # Consuming
    MAX_DELIVER = "MaxDeliver"
    """In `outbox_consumer_dead_letters_total`: deliveries used up."""
    REFUSED = "Refused"
    """In `outbox_consumer_dead_letters_total`: the handler refused the event."""
    UNHANDLED = "Unhandled"
    """In `outbox_consumer_dead_letters_total`: the application has no handler for this type.
    Do: add one, filter such events out, or set `handler.python.unhandled: Ack`."""
    PUT_OFF_TOO_LONG = "PutOffTooLong"
    """In `outbox_consumer_dead_letters_total`: put off for longer than `giveUpAfter`."""
    TERMINATED = "Terminated"
    """In the headers of dead letters: a container handler terminated the message."""
    HANDLER_UNAVAILABLE = "HandlerUnavailable"
    """In `outbox_consumer_unavailable_total`: nothing listens at the handler's address."""
    COMMIT_REFUSED = "CommitRefused"
    """In the log: the inbox database did not commit; the event comes again."""
    TRANSACTION_ENDED = "TransactionEnded"
    """In the log and `outbox_consumer_errors_total`: a handler committed the inbox transaction."""
    UNRECORDABLE = "Unrecordable"
    """In the log: the inbox cannot hold the event's id, type or source; it is a dead letter."""
    DEAD_LETTER_STREAM_MISSING = "DeadLetterStreamMissing"
    """In the log: no stream takes the dead letter; the event comes again."""
    CONSUMER_MISSING = "ConsumerMissing"
    """In the log and `/readyz`: the durable consumer is not there."""
    WRONG_CONSUMER = "WrongConsumer"
    """In the log and `/readyz`: the durable consumer is no pull consumer with explicit acks."""

    # Sending at once
    SEND_TIMEOUT = "SendTimeout"
    """No answer within `timeout_seconds`; NATS is slow or hangs."""
    SEND_REFUSED = "SendRefused"
    """The stream did not take it, or the login may not publish; the log has the words of NATS."""
    TOO_MANY_WAITING = "TooManyWaiting"
    """1000 events wait to be sent already; NATS is slower than the commits."""
    LINK_CLOSED = "LinkClosed"
    """The application closed the link, or the event loop of the connection it had given."""
    CONNECTION_OF_PARENT = "ConnectionOfParent"
    """A connection made before a fork; give the link a URL or a function that connects."""
