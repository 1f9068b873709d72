"""EventConsumer: one durable consumer and the workload that handles its messages."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import (
    IMMUTABLE,
    ApiModel,
    Duration,
    NatsName,
    ObjectName,
    Size,
    Subject,
    cel,
    fixed,
    model_rules,
    rules,
)
from outbox_operator.api.v1alpha1.approval import Approvals, PendingMove, PlanHash
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.autoscaling import Autoscaling, AutoscalingStatus
from outbox_operator.api.v1alpha1.common import (
    AdoptionPolicy,
    DeletionPolicy,
    NatsConnection,
    PodTemplate,
    StatusBase,
    StreamPlace,
    pod_template,
)
from outbox_operator.api.v1alpha1.handler import CircuitBreaker, Handler, Inbox


class DurableConfig(ApiModel):
    """The settings of a JetStream pull consumer. A field left out has the default shown here."""

    description: str | None = Field(default=None, max_length=4096, description="Free text.")
    deliverPolicy: Literal[
        "All", "Last", "New", "ByStartSequence", "ByStartTime", "LastPerSubject"
    ] = Field(default="All", description="Where a new consumer starts. Fixed at creation.")
    startSequence: int | None = Field(
        default=None, ge=1, description="With ByStartSequence. Fixed at creation."
    )
    startTime: str | None = Field(
        default=None,
        description="With ByStartTime (RFC 3339). Fixed at creation.",
        json_schema_extra={"format": "date-time"},
    )
    ackPolicy: Literal["Explicit", "All", "None"] = Field(
        default="Explicit",
        description="How messages are acknowledged. Fixed at creation. All, one "
        "answer for many events, needs an ordered consumer with a handler of kind http or python: "
        "ordering PerKey, or an inbox of mode PerShard.",
    )
    ackWait: Duration = Field(
        default="30s", description="An unacknowledged message comes again after this time."
    )
    maxDeliver: int = Field(
        default=16,
        ge=-1,
        description="After this many failed attempts an event is a dead letter; -1: never. For "
        "containers, and where no handler is named, the server counts deliveries instead.",
        json_schema_extra=rules(cel("self != 0", "maxDeliver is -1 or at least 1")),
    )
    backoff: list[Duration] = Field(
        default_factory=list,
        max_length=64,
        description="Delay before each redelivery; the last one repeats. Empty: 1 s, doubled each "
        "time up to 1 h; 16 attempts take four hours.",
    )
    maxAckPending: int = Field(
        default=10_000,
        ge=-1,
        description="Most messages in flight over all pods, those that wait for another attempt "
        "included; -1: no limit.",
    )
    maxWaiting: int = Field(
        default=512, ge=1, description="Most waiting pull requests. Fixed at creation."
    )
    maxRequestBatch: int | None = Field(default=None, ge=1, description="Largest pull, messages.")
    maxRequestExpires: Duration | None = Field(default=None, description="Longest pull.")
    maxRequestMaxBytes: Size | None = Field(default=None, description="Largest pull, bytes.")
    inactiveThreshold: Duration | None = Field(
        default=None, description="The server removes the consumer when idle this long."
    )
    numReplicas: int = Field(
        default=0, ge=0, le=5, description="Copies of the consumer's state; 0: as the stream."
    )
    memoryStorage: bool = Field(
        default=False, description="Keep the consumer's state in memory. Fixed at creation."
    )
    headersOnly: bool = Field(default=False, description="Deliver headers without payload.")
    replayPolicy: Literal["Instant", "Original"] = Field(
        default="Instant", description="Deliver at once, or at the original pace."
    )
    sampleFrequency: str | None = Field(
        default=None,
        pattern=patterns.SHARE,
        description="Share of acks to sample, for example 10%.",
    )
    pauseUntil: str | None = Field(
        default=None,
        description="Deliver nothing before this time (RFC 3339). Server 2.11.",
        json_schema_extra={"format": "date-time"},
    )
    priorityPolicy: Literal["None", "Overflow", "PinnedClient", "Prioritized"] = Field(
        default="None", description="How pulls of priority groups are served. Server 2.11."
    )
    priorityGroups: list[str] = Field(default_factory=list, description="Names of the groups.")
    pinnedTTL: Duration | None = Field(
        default=None, description="With PinnedClient: the pin goes after this idle time."
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Labels on the consumer. Keys in outbox.dev/ and _nats. are reserved.",
    )


class ConsumerConfigSpec(DurableConfig):
    """What a consumer is, apart from which stream it reads. Shared with the pipeline."""

    handler: Handler | None = Field(
        default=None,
        description="Who handles the events. Leave out to declare only the durable consumer and "
        "read it with workloads of your own.",
    )
    inbox: Inbox | None = Field(
        default=None, description="Make handling idempotent with a table in the handler's database."
    )
    giveUpAfter: Duration | None = Field(
        default=None,
        description='How long a handler of kind http or python may say "not now" (429, '
        "Retry-After, RetryAfter(seconds)) of an event before it is a dead letter; default: for "
        "ever. Such answers do not count for maxDeliver. Counted in the pod, anew after a restart.",
    )
    durableName: NatsName | None = Field(
        default=None,
        description="Name of the durable consumer; default: the resource's. Fixed at creation.",
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Pods that handle messages. With `autoscaling.mode: Builtin` it does not "
        "count; in a pipeline with External it does not either: that of the EventConsumer does.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None, description="Let the number of pods follow the messages that wait."
    )
    state: Literal["Running", "Stopped"] = Field(
        default="Running", description="Stopped keeps the durable consumer and runs no pods."
    )
    ordering: Literal["None", "PerKey"] = Field(
        default="None",
        description="Whether events of one key are handled one after another, retries included. "
        "With PerKey one pod at a time reads and the others stand by; on servers before 2.11 one "
        "event at a time is handled.",
    )
    circuitBreaker: CircuitBreaker = Field(
        default_factory=CircuitBreaker,
        description="When to stop fetching events because handling them fails.",
    )
    concurrency: int = Field(
        default=16, ge=1, le=10000, description="Events handled at the same time per pod."
    )
    adoptionPolicy: AdoptionPolicy = Field(
        default="Fail",
        description="What to do when the durable consumer exists and nobody declared it, or a "
        "resource that is not seen here; as of a stream.",
    )
    podTemplate: PodTemplate | None = pod_template("the consumer workload")


CONSUMER_RULES: Final = (
    fixed("deliverPolicy"),
    fixed("startSequence", optional=True),
    fixed("startTime", optional=True),
    fixed("ackPolicy"),
    fixed("maxWaiting"),
    fixed("memoryStorage"),
    fixed("durableName", optional=True),
    cel(
        "self.deliverPolicy != 'ByStartSequence' || has(self.startSequence)",
        "deliverPolicy ByStartSequence needs startSequence",
    ),
    cel(
        "self.deliverPolicy != 'ByStartTime' || has(self.startTime)",
        "deliverPolicy ByStartTime needs startTime",
    ),
    cel(
        "self.maxDeliver < 0 || self.backoff.size() < self.maxDeliver",
        "backoff has more delays than maxDeliver allows redeliveries",
    ),
    cel(
        "self.priorityPolicy == 'None' || self.priorityGroups.size() > 0",
        "priorityPolicy needs priorityGroups",
    ),
    cel(
        "!has(self.inactiveThreshold) || !has(self.handler)",
        "inactiveThreshold would remove the durable consumer of a handler that is stopped, and "
        "with it how far it is: leave it out",
    ),
    cel(
        "!has(self.autoscaling) || has(self.handler)",
        "autoscaling needs a handler: without one no pods are made",
    ),
    cel(
        "!has(self.giveUpAfter) || (has(self.handler) && !has(self.handler.container) && "
        "!has(self.handler.archive))",
        "giveUpAfter is for handlers of kind http and python: programs that read by themselves "
        "terminate what they give up, and an archive gives nothing up",
    ),
    cel(
        "!has(self.handler) || !has(self.handler.archive) || (self.ackPolicy == 'Explicit' && "
        "self.ordering == 'None' && self.priorityPolicy == 'None' && !has(self.inbox))",
        "handler.archive needs ackPolicy Explicit, ordering None, priorityPolicy None and no "
        "inbox: it stores an event once by itself, and knows the order by the stream's sequence",
    ),
    cel(
        "!self.headersOnly || !has(self.handler) || has(self.handler.container)",
        "headersOnly leaves the payload out of dead letters too, for good: use it with programs "
        "that read by themselves (handler.container, or no handler)",
    ),
)
"""What holds for a consumer wherever it is written: in an EventConsumer and in a pipeline."""


class EventConsumerSpec(ConsumerConfigSpec):
    """Declares one durable consumer and the workload that handles its messages."""

    model_config = model_rules(
        *CONSUMER_RULES,
        cel(
            "has(self.streamRef) != has(self.streamName)",
            "set exactly one of streamRef and streamName",
        ),
        cel(
            "!has(self.handler) || !has(self.handler.archive) || "
            "!has(self.handler.archive.backfill) || self.filterSubjects.size() == 0",
            "handler.archive.backfill archives every row of the outbox: leave out filterSubjects",
        ),
        cel(
            "!has(self.streamName) || has(self.nats)",
            "streamName needs nats; with streamRef the connection of the EventStream is used",
        ),
    )

    streamRef: StreamRef | None = Field(
        default=None, description="The EventStream to read, in the same namespace."
    )
    streamName: NatsName | None = Field(
        default=None,
        description="Name of a JetStream stream that something else declares; needs `nats`.",
        json_schema_extra=IMMUTABLE,
    )
    nats: NatsConnection | None = Field(
        default=None,
        description="Where the stream lives; default: the connection of the EventStream.",
    )
    filterSubjects: list[Subject] = Field(
        default_factory=list, max_length=256, description="Only these subjects; empty: all."
    )
    filterEventTypes: list[str] = Field(
        default_factory=list,
        max_length=256,
        description="Where the stream is in Redis: only these event types (wildcards as in "
        "order.*, order.>), the others are acknowledged at once; empty: all.",
    )
    deadLetter: DeadLetterTarget | None = Field(
        default=None,
        description="Where dead letters go; default: the dead-letter stream of the EventStream.",
    )
    approvedPlan: PlanHash | None = Field(
        default=None,
        description="Hash of the move in `status.pendingMove` that may happen; counts once. With "
        "an inbox, `inbox.approvedPlan` says so.",
    )
    deletionPolicy: DeletionPolicy = Field(
        default="Retain",
        description="What happens to the durable consumer (its position, not the messages) when "
        "this resource is deleted: Retain keeps it, so that handling goes on from there when the "
        "resource comes back; Delete removes it.",
    )


class StreamRef(ApiModel):
    """Names an EventStream."""

    name: ObjectName = Field(description="Name of the EventStream.")


class DeadLetterTarget(ApiModel):
    """Subject space of a dead-letter stream that exists."""

    subjectPrefix: Subject = Field(
        description="Dead letters are published on `<subjectPrefix>.<durable name>`."
    )


class DurableState(ApiModel):
    """What the server last said of the durable consumer."""

    name: str = Field(description="Name of the durable consumer.")
    stream: str = Field(description="Name of its stream.")
    created: str | None = Field(default=None, description="When it was created.")
    streamCreated: str | None = Field(default=None, description="When its stream was created.")
    place: StreamPlace | None = Field(default=None, description="Where it was seen last.")
    pending: int = Field(default=0, description="Messages not delivered yet.")
    ackPending: int = Field(default=0, description="Messages delivered and not acknowledged.")
    redelivered: int = Field(default=0, description="Messages in flight delivered more than once.")
    waiting: int = Field(default=0, description="Pull requests that wait for messages.")
    ackFloor: int = Field(default=0, description="All up to this stream sequence are done.")
    oldestUnreadSeconds: float | None = Field(
        default=None,
        description="Age of the oldest message that is not handled; 0: there is none, absent: not "
        "known.",
    )
    deadLetters: int | None = Field(
        default=None, description="Dead letters of this consumer; absent: not known."
    )
    adopted: bool = Field(default=False, description="Whether it existed before.")
    keys: list[GroupKey] = Field(
        default_factory=list, max_length=256, description="In Redis: the group, of each key."
    )
    moved: str | None = Field(
        default=None,
        description="In Redis: how somebody else than its readers has set the group; see the "
        "condition GroupMoved.",
    )
    movedTime: str | None = Field(default=None, description="When that was seen last.")
    driftCorrectedCount: int = Field(default=0, description="How often drift was undone.")
    lastDriftTime: str | None = Field(default=None, description="When that last happened.")
    lastDrift: str | None = Field(default=None, description="What had changed then.")


class GroupKey(ApiModel):
    """A consumer group of one key in Redis, as it was seen last."""

    name: str = Field(description="The key.")
    created: str | None = Field(default=None, description="When the key was made.")
    done: str = Field(
        description="All entries up to this id are acknowledged: should the group be deleted, it "
        "is made again behind it."
    )
    delivered: str | None = Field(
        default=None, description="Id of the last entry that was given to a reader."
    )
    read: int | None = Field(
        default=None,
        description="Entries that were given to readers, as the server counts; absent: it does "
        "not know.",
    )


class EventConsumerStatus(StatusBase):
    """What is true of the consumer now."""

    consumer: DurableState | None = Field(
        default=None, description="The durable consumer as the server has it."
    )
    sampledAt: str | None = Field(default=None, description="When the numbers were read.")
    replicas: int = Field(default=0, description="Pods that exist.")
    readyReplicas: int = Field(default=0, description="Pods that are ready.")
    selector: str = Field(default="", description="Label selector of the pods, for autoscalers.")
    autoscaling: AutoscalingStatus | None = Field(
        default=None, description="How many pods autoscaling wants, and why."
    )
    archive: ArchiveState | None = Field(
        default=None, description="The archive, with handler.archive."
    )
    inboxDatabase: str | None = Field(
        default=None,
        description="Identity of the database that the inbox is in: a login that leads to another "
        "one is not followed while handled messages may come again.",
    )
    pendingMove: PendingMove | None = Field(
        default=None,
        description="An inbox that would forget what was handled, or an archive that would begin "
        "anew elsewhere, and waits.",
    )
    approvals: Approvals | None = Field(
        default=None, description="Who approved or rejected what, and when."
    )


EventConsumerSpec.model_rebuild()
EventConsumerStatus.model_rebuild()
