"""EventStream: one JetStream stream and, on request, its dead-letter stream; or one in Redis."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from outbox_operator.api.fields import (
    IMMUTABLE,
    ApiModel,
    Duration,
    Size,
    StreamName,
    Subject,
    cel,
    fixed,
    keeps_true,
    model_rules,
)
from outbox_operator.api.v1alpha1.approval import Approvals, PendingMove, PlanHash
from outbox_operator.api.v1alpha1.common import (
    AdoptionPolicy,
    DeletionPolicy,
    NatsConnection,
    StatusBase,
    StreamPlace,
)
from outbox_operator.api.v1alpha1.redis import (
    EXACTLY_ONE,
    RedisConnection,
    RedisState,
    redis_rules,
)
from outbox_operator.api.v1alpha1.stream_parts import (
    ConsumerLimits,
    DeadLetter,
    Placement,
    Republish,
    StreamSource,
    SubjectTransform,
)
from outbox_operator.errors import NotSupportedError


class StreamConfig(ApiModel):
    """The settings of a JetStream stream. A field left out has the default shown here, always."""

    description: str | None = Field(
        default=None, max_length=4096, description="Free text, shown by `nats stream info`."
    )
    retention: Literal["Limits", "Interest", "WorkQueue"] = Field(
        default="Limits", description="When messages go. Fixed at creation."
    )
    storage: Literal["File", "Memory"] = Field(
        default="File", description="Where messages live. Fixed at creation."
    )
    replicas: int = Field(default=1, ge=1, le=5, description="Copies in a NATS cluster: 1, 3 or 5.")
    maxAge: Duration = Field(default="0", description="Messages older than this go; 0: never.")
    maxBytes: Size = Field(
        default="-1",
        description="Size of the stream; -1: no limit. File storage of this size is reserved "
        "when the stream is created.",
    )
    maxMessages: int = Field(default=-1, ge=-1, description="Most messages; -1: no limit.")
    maxMessagesPerSubject: int = Field(
        default=-1, ge=-1, description="Most messages per subject; -1: no limit."
    )
    maxMessageSize: Size = Field(
        default="-1", description="Largest message; -1: the server's limit."
    )
    maxConsumers: int = Field(
        default=-1, ge=-1, description="Most durable consumers; -1: no limit. Fixed at creation."
    )
    discard: Literal["Old", "New"] = Field(
        default="Old", description="At a limit: drop the oldest message, or refuse the new one."
    )
    discardNewPerSubject: bool = Field(
        default=False,
        description="With discard New and maxMessagesPerSubject: refuse per subject.",
    )
    duplicateWindow: Duration = Field(
        default="2m",
        description="Messages with an id seen within this time are dropped. At most maxAge; the "
        "default is cut down to it. With any other, each message of a pipeline has an id; with the "
        "default those have none of which no second copy can come.",
    )
    compression: Literal["None", "S2"] = Field(
        default="None", description="Compression of stored blocks."
    )
    noAck: bool = Field(
        default=False, description="Do not acknowledge publishing. Refused for pipelines."
    )
    placement: Placement | None = Field(default=None, description="Where the stream lives.")
    mirror: StreamSource | None = Field(
        default=None, description="Make this a read-only copy of another stream."
    )
    sources: list[StreamSource] = Field(
        default_factory=list, description="Streams to copy into this one."
    )
    subjectTransform: SubjectTransform | None = Field(
        default=None, description="Rewrite subjects when storing."
    )
    republish: Republish | None = Field(
        default=None, description="Publish stored messages again elsewhere."
    )
    sealed: bool = Field(
        default=False, description="Refuse every later change of the stream. Cannot be undone."
    )
    denyDelete: bool = Field(
        default=False, description="Refuse deleting single messages. Cannot be undone."
    )
    denyPurge: bool = Field(default=False, description="Refuse purging. Cannot be undone.")
    allowDirect: bool = Field(
        default=True, description="Let every replica answer reads of single messages."
    )
    mirrorDirect: bool = Field(
        default=False, description="Let a mirror answer direct reads for its origin."
    )
    allowRollup: bool = Field(default=False, description="Allow messages that replace all before.")
    allowMessageTTL: bool = Field(
        default=False, description="Allow a lifetime per message. Cannot be undone. Server 2.11."
    )
    subjectDeleteMarkerTTL: Duration | None = Field(
        default=None, description="Keep a marker this long when a subject's last message expires."
    )
    allowMessageCounter: bool = Field(
        default=False, description="Make every subject a counter. Fixed at creation. Server 2.12."
    )
    allowAtomicPublish: bool = Field(
        default=False, description="Allow atomic batches. Server 2.12."
    )
    allowBatchPublish: bool | None = Field(
        default=None,
        description="Allow fast-ingest batches, in which a relay publishes several times as fast. "
        "Server 2.14, and by default on where the server has them.",
    )
    allowMessageSchedules: bool = Field(
        default=False, description="Allow scheduled messages. Cannot be undone. Server 2.12."
    )
    persistMode: Literal["Default", "Async"] = Field(
        default="Default",
        description="Async answers before writing to disk; faster, less safe. Server 2.12.",
    )
    firstSequence: int | None = Field(
        default=None, ge=1, description="Sequence of the first message. Fixed at creation."
    )
    consumerLimits: ConsumerLimits | None = Field(
        default=None, description="Bounds for durable consumers."
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Labels on the stream. Keys in outbox.dev/ and _nats. are reserved.",
    )
    deadLetter: DeadLetter | None = Field(
        default=None,
        description="Also keep a dead-letter stream. Leave out for none. A pipeline's stream "
        "always has one.",
    )
    adoptionPolicy: AdoptionPolicy = Field(
        default="Fail",
        description="What to do when the stream exists and nobody declared it, or a resource of "
        "another name, namespace or cluster that is not seen here: Fail leaves it alone and says "
        "so, Adopt takes it over, once for each change of this specification.",
    )


STREAM_RULES: Final = (
    fixed("retention"),
    fixed("storage"),
    fixed("maxConsumers"),
    fixed("firstSequence", optional=True),
    fixed("allowMessageCounter"),
    keeps_true("sealed"),
    keeps_true("denyDelete"),
    keeps_true("denyPurge"),
    keeps_true("allowMessageTTL"),
    keeps_true("allowMessageSchedules"),
    cel(
        "!self.discardNewPerSubject || (self.discard == 'New' && self.maxMessagesPerSubject > 0)",
        "discardNewPerSubject needs discard New and maxMessagesPerSubject",
    ),
)
"""What holds for a stream wherever it is written: in an EventStream and in a pipeline."""

OUTBOX_RULES: Final = (
    cel("!self.noAck", "a pipeline needs acknowledgements: noAck must be false"),
    cel("!has(self.mirror)", "a pipeline cannot publish into a mirror"),
    cel("!self.sealed", "a pipeline cannot publish into a sealed stream"),
    cel(
        "!self.allowMessageCounter",
        "a pipeline cannot publish into a stream of counters, which refuses every event: "
        "allowMessageCounter must be false",
    ),
    cel(
        "!has(self.subjectTransform)",
        "a pipeline's events are stored under the subjects they are published on, where the relay "
        "looks for what it has sent: write the subject you want into stream.subject instead of "
        "subjectTransform",
    ),
    cel(
        "!has(self.subjectDeleteMarkerTTL)",
        "delete markers would be stored among a pipeline's events and handed to its consumers as "
        "such: leave subjectDeleteMarkerTTL out",
    ),
    cel(
        "!has(self.consumerLimits) || !has(self.consumerLimits.inactiveThreshold)",
        "consumerLimits.inactiveThreshold would remove the durable consumers of a pipeline that "
        "is stopped, and with them how far they are: leave it out",
    ),
)
"""What holds besides for a stream that a pipeline publishes into; `unfit_for_outbox` says the
same of a stream that a pipeline refers to."""


def unfit_for_outbox(stream: StreamConfig) -> str | None:
    """The first field because of which no pipeline can publish into a stream; None: it can."""
    limits = stream.consumerLimits
    unfit = {
        "noAck": stream.noAck,
        "mirror": stream.mirror is not None,
        "sealed": stream.sealed,
        "allowMessageCounter": stream.allowMessageCounter,
        "subjectTransform": stream.subjectTransform is not None,
        "subjectDeleteMarkerTTL": stream.subjectDeleteMarkerTTL is not None,
        "consumerLimits.inactiveThreshold": limits is not None
        and limits.inactiveThreshold is not None,
    }
    return next((field for field, found in unfit.items() if found), None)


class EventStreamSpec(StreamConfig):
    """Declares one JetStream stream, or one in Redis."""

    model_config = model_rules(
        *EXACTLY_ONE,
        *redis_rules(StreamConfig),
        cel(
            "!has(self.redis) || self.subjects.size() == 0",
            "with redis, leave out subjects: Redis has none, the name is the key",
        ),
        cel(
            "has(self.redis) || !has(self.shards)",
            "shards belongs to redis: in JetStream they are part of a subject",
        ),
        fixed("shards", optional=True),
        *STREAM_RULES,
        cel(
            "has(self.redis) || has(self.mirror) || self.subjects.size() > 0 || "
            "self.sources.size() > 0",
            "set subjects, a mirror or sources",
        ),
        cel(
            "!(has(self.mirror) && self.subjects.size() > 0)",
            "a mirror has no subjects of its own",
        ),
    )

    nats: NatsConnection | None = Field(
        default=None, description="Where the stream lives and how to log in."
    )
    redis: RedisConnection | None = Field(
        default=None,
        description="The same, if it lives in Redis; exactly one of the two. Fixed at creation.",
    )
    name: StreamName = Field(
        description="Name of the JetStream stream, or the key in Redis, for example "
        "identity.user.v1. Fixed at creation.",
        json_schema_extra=IMMUTABLE,
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="With redis: so many keys; default: 1. More make them <name>.0, <name>.1, … "
        "Fixed at creation.",
    )
    subjects: list[Subject] = Field(
        default_factory=list,
        max_length=256,
        description="Subject filters whose messages are stored. Must not overlap another stream's.",
    )
    approvedPlan: PlanHash | None = Field(
        default=None,
        description="Hash of the move in `status.pendingMove` that may happen; counts once. Of a "
        "pipeline's stream the pipeline decides.",
    )
    deletionPolicy: DeletionPolicy = Field(
        default="Retain",
        description="What happens to the JetStream stream (and its messages) when this resource "
        "is deleted: Retain keeps it, Delete removes it.",
    )

    @property
    def jetstream(self) -> NatsConnection:
        """How to log in to NATS, for what only JetStream can do.

        Raises:
            NotSupportedError: It lives in Redis.
        """
        if self.nats is None:
            raise NotSupportedError(
                f"stream {self.name} is in Redis: this works with NATS JetStream only (yet)"
            )
        return self.nats


class StreamState(ApiModel):
    """What the server last said of the stream."""

    name: str = Field(description="Name of the JetStream stream.")
    created: str | None = Field(default=None, description="When the stream was created.")
    place: StreamPlace | None = Field(default=None, description="Where it was seen last.")
    messages: int = Field(default=0, description="Messages stored.")
    bytes: int = Field(default=0, description="Bytes stored.")
    firstSequence: int = Field(default=0, description="Sequence of the oldest message.")
    lastSequence: int = Field(default=0, description="Sequence of the newest message.")
    consumerCount: int = Field(default=0, description="Durable consumers on the stream.")
    subjects: list[str] = Field(default_factory=list, description="Subject filters in force.")
    deadLetters: int | None = Field(
        default=None,
        description="Messages in the dead-letter stream, or key; absent: there is none.",
    )
    redis: RedisState | None = Field(
        default=None, description="With redis: the server, the keys, and who reads them."
    )
    adopted: bool = Field(default=False, description="Whether the stream existed before.")
    driftCorrectedCount: int = Field(
        default=0, description="How often a change made behind our back was undone."
    )
    lastDriftTime: str | None = Field(default=None, description="When that last happened.")
    lastDrift: str | None = Field(default=None, description="What had changed then.")


class EventStreamStatus(StatusBase):
    """What is true of the stream now."""

    stream: StreamState | None = Field(default=None, description="The stream as the server has it.")
    pendingMove: PendingMove | None = Field(
        default=None, description="The login leads elsewhere, and it waits to be approved."
    )
    approvals: Approvals | None = Field(
        default=None, description="What was decided about moves; the last ten."
    )
    sampledAt: str | None = Field(default=None, description="When the numbers were read.")
