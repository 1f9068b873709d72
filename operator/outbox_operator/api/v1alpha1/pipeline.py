"""OutboxPipeline: database and outbox table, stream, relay and consumers, in one resource."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from outbox_operator.api.fields import (
    IMMUTABLE,
    ApiModel,
    Duration,
    ObjectName,
    StreamName,
    Subject,
    cel,
    fixed,
    model_rules,
    rules,
)
from outbox_operator.api.v1alpha1.approval import Approvals, PendingMove
from outbox_operator.api.v1alpha1.autoscaling import Autoscaling, AutoscalingStatus
from outbox_operator.api.v1alpha1.common import (
    DeletionPolicy,
    NatsConnection,
    PodTemplate,
    StatusBase,
    pod_template,
)
from outbox_operator.api.v1alpha1.consumer import CONSUMER_RULES, ConsumerConfigSpec, StreamRef
from outbox_operator.api.v1alpha1.outbox_database import Database
from outbox_operator.api.v1alpha1.redis import EXACTLY_ONE, RedisConnection, redis_rules
from outbox_operator.api.v1alpha1.redis_readers import reader_rules
from outbox_operator.api.v1alpha1.stream import (
    OUTBOX_RULES,
    STREAM_RULES,
    StreamConfig,
    StreamState,
)
from outbox_operator.errors import NotSupportedError


class OutboxTable(ApiModel):
    """The outbox table."""

    payloadType: Literal["jsonb", "bytea"] = Field(
        default="jsonb",
        description="Type of the payload column. Fixed at creation.",
        json_schema_extra=IMMUTABLE,
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Independent parts of the outbox that several relays share; a key always "
        "takes the same one. More than 1 with ordering PerKey needs {shard} in stream.subject. "
        "Fixed at creation.",
        json_schema_extra=rules(
            cel(
                "self == oldSelf",
                "shards is fixed at creation: with another number, keys would change shards and "
                "their events could overtake each other; use another database.schema, or rebuild "
                'a drained outbox (the how-to "Scale with shards")',
            )
        ),
    )
    ordering: Literal["PerKey", "None"] = Field(
        default="PerKey",
        description="PerKey keeps the order of events with one partition_key; None does not.",
    )
    wakeup: Literal["Never", "WhenIdle"] = Field(
        default="Never",
        description="WhenIdle adds a trigger that notifies a sleeping relay, for producers that "
        "do not nudge it through NATS: an event after a lull is then on its way at once instead "
        "of at the next poll. Costs each inserting statement a shared lock.",
    )
    retention: Duration = Field(
        default="24h",
        description="Published rows are kept at least this long, for replay, and never less than "
        "3 minutes: until then a stream with one replica may not have them on disk.",
    )


class PipelineStream(StreamConfig):
    """The stream of the pipeline: a name and a subject, or a reference to an EventStream."""

    model_config = model_rules(
        cel("has(self.name) != has(self.ref)", "set exactly one of name and ref"),
        fixed("name", optional=True),
        *STREAM_RULES,
        *OUTBOX_RULES,
    )

    name: StreamName | None = Field(
        default=None,
        description="Name of the JetStream stream, or the key in Redis, for example "
        "identity.user.v1; of several shards <name>.0, <name>.1, … Fixed at creation.",
    )
    ref: StreamRef | None = Field(
        default=None,
        description="Publish into this EventStream (same namespace) instead of declaring one; "
        "the other stream fields are then left out.",
    )
    subject: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Subject of an event, with nats: a template over {event_type}, "
        "{partition_key}, {routing_key}, {shard} and {schema}, for example orders.{event_type}.",
    )
    subjects: list[Subject] = Field(
        default_factory=list,
        max_length=256,
        description="Subject filters of the stream; every rendered subject must match one. "
        "Default: the narrowest filter of `subject`.",
    )


class Polling(ApiModel):
    """How often the relay looks for new rows."""

    min: Duration = Field(
        default="2ms",
        description="While events flow; ten times that behind an event that its writer nudged.",
    )
    max: Duration = Field(default="1s", description="When the outbox has been quiet.")


class Relay(ApiModel):
    """The process that moves rows to the stream."""

    model_config = model_rules(
        cel(
            "!has(self.autoscaling) || self.autoscaling.mode == 'External' || "
            "self.autoscaling.minReplicas >= 1",
            "minReplicas of a relay is at least 1: nobody else would see the first row",
        )
    )

    state: Literal["Running", "Stopped"] = Field(
        default="Running", description="Stopped keeps everything and runs no relay."
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Pods; they share the shards of the outbox, and those beyond stand by. With "
        "`autoscaling.mode: Builtin` it does not count.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None, description="Let the number of pods follow the rows that wait."
    )
    onPoison: Literal["BlockKey", "Skip", "Halt"] = Field(
        default="BlockKey",
        description="An event that can never be published: BlockKey sets it and later events of "
        "its key aside, Skip only it, Halt stops the relay until someone acts.",
    )
    polling: Polling = Field(default_factory=Polling, description="How often to look for rows.")
    podTemplate: PodTemplate | None = pod_template("the relay")


class PipelineConsumer(ConsumerConfigSpec):
    """One consumer of the pipeline; compiled into an EventConsumer named <pipeline>-<name>."""

    model_config = model_rules(
        *CONSUMER_RULES,
        fixed("lanes"),
        cel(
            "!has(self.handler) || !has(self.handler.archive) || "
            "!has(self.handler.archive.backfill) || self.filterEventTypes.size() == 0",
            "handler.archive.backfill archives every row of the outbox: leave out filterEventTypes",
        ),
        cel(
            "self.lanes == 1 || self.ordering == 'PerKey' || "
            "(has(self.inbox) && self.inbox.mode == 'PerShard')",
            "lanes are for ordering PerKey and an inbox of mode PerShard: without an order any "
            "number of pods read one durable consumer",
        ),
    )

    name: ObjectName = Field(description="Name within the pipeline.")
    lanes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="With `ordering: PerKey`: so many EventConsumers, <pipeline>-<name>-<0, 1, …>, "
        "divide the shards of the outbox among themselves, each with a durable consumer and pods "
        "of its own; a key stays in its lane. `replicas` and `autoscaling` are each lane's. No "
        "more than `outbox.shards`. Fixed at creation.",
    )
    filterEventTypes: list[str] = Field(
        default_factory=list,
        max_length=256,
        description="Only these event types (wildcards as in order.*, order.>); empty: all.",
    )


SUBJECTS: Final = ("subject", "subjects")
"""Fields of a pipeline's stream that say nothing where there are no subjects."""
_SHARD_APART: Final = r"^((([^.{}]|\\{(partition_key|schema|shard)\\})+)\\.)*\\{shard\\}(\\.|$)"
"""A subject template with {shard} as a token of its own, before all that may span tokens."""


class OutboxPipelineSpec(ApiModel):
    """Declares a whole pipeline, from table to handlers."""

    model_config = model_rules(
        *EXACTLY_ONE,
        cel(
            "has(self.redis) || has(self.stream.subject)",
            "stream.subject is missing: the subject of an event, for example orders.{event_type}",
        ),
        *redis_rules(PipelineStream, "self.stream", left_out=SUBJECTS),
        cel(
            "!has(self.redis) || !has(self.stream.ref)",
            "with redis, stream.ref is not possible: a key has one publisher; give it a name",
        ),
        *reader_rules(PipelineConsumer),
        cel(
            "!has(self.stream.subject) || self.outbox.shards == 1 || "
            "self.outbox.ordering == 'None' || "
            f"self.stream.subject.matches('{_SHARD_APART}')",
            "with outbox.shards above 1 and ordering PerKey, stream.subject needs {shard} as a "
            "token of its own, before {event_type} and {routing_key}, for example "
            "orders.{shard}.{event_type}",
        ),
        cel(
            "!has(self.stream.subject) || !has(oldSelf.stream.subject) || "
            "self.stream.subject == oldSelf.stream.subject || "
            "!self.consumers.exists(c, c.lanes > 1 || c.filterEventTypes.size() > 0)",
            "stream.subject cannot be changed while consumers have filterEventTypes or lanes: they "
            "read subjects, and what waits under those of before would never be handled. Take "
            "filterEventTypes away until all of that is handled; with lanes, make another pipeline",
        ),
    )

    deletionPolicy: DeletionPolicy = Field(
        default="Retain",
        description="What happens to tables and stream when this resource is deleted: Retain "
        "keeps them, Delete removes them with all events.",
    )
    database: Database = Field(description="The database that holds the outbox.")
    outbox: OutboxTable = Field(default_factory=OutboxTable, description="The outbox table.")
    nats: NatsConnection | None = Field(
        default=None, description="Where NATS is and how to log in."
    )
    redis: RedisConnection | None = Field(
        default=None,
        description="Where Redis is and how to log in, to publish there instead: exactly one of "
        "the two. Fixed at creation.",
    )
    stream: PipelineStream = Field(description="Where events go.")
    relay: Relay = Field(default_factory=Relay, description="The process that moves rows.")
    consumers: list[PipelineConsumer] = Field(
        default_factory=list,
        max_length=64,
        description="Who reads the stream.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )

    @property
    def jetstream(self) -> NatsConnection:
        """How to log in to NATS, for what only JetStream can do.

        Raises:
            NotSupportedError: Events go to Redis.
        """
        if self.nats is None:
            raise NotSupportedError(
                "spec.redis: the pipeline publishes to Redis Streams, and this works with NATS "
                "JetStream only (yet)"
            )
        return self.nats

    @property
    def subject(self) -> str:
        """The template of what an event is published on: a subject, or a key with its shard."""
        if self.redis is None:
            return self.stream.subject or ""
        return f"{self.stream.name}.{{shard}}" if self.outbox.shards > 1 else self.stream.name or ""


class PendingPlan(ApiModel):
    """A migration that waits."""

    hash: str = Field(description="Names this plan, for whoever approves or rejects it.")
    statements: list[str] = Field(default_factory=list, description="What would run.")
    destructive: bool = Field(default=False, description="Whether data would be lost.")


class SchemaStatus(ApiModel):
    """State of our tables."""

    currentVersion: int | None = Field(default=None, description="Schema version in the database.")
    database: str | None = Field(
        default=None,
        description="Which database that is: system identifier of the server, and OID.",
    )
    lastAppliedTime: str | None = Field(default=None, description="When it was migrated last.")
    pendingPlan: PendingPlan | None = Field(default=None, description="What waits for approval.")
    driftCorrectedCount: int = Field(default=0, description="How often drift was undone.")
    lastDrift: str | None = Field(default=None, description="What had changed then.")


class OutboxStatus(ApiModel):
    """Live numbers of the outbox."""

    backlogRows: int = Field(default=0, description="Committed rows that are not published.")
    backlogIsEstimate: bool = Field(
        default=False, description="The backlog is at least this large; counting stopped there."
    )
    oldestAgeSeconds: float = Field(default=0, description="Age of the oldest unpublished row.")
    deadLetters: int = Field(default=0, description="Rows in the dead-letter table.")
    sampledAt: str | None = Field(default=None, description="When the numbers were read.")


class RelayStatus(ApiModel):
    """Live numbers of the relay."""

    replicas: int = Field(default=0, description="Pods that exist.")
    readyReplicas: int = Field(default=0, description="Pods that are ready.")
    publishedTotal: int = Field(default=0, description="Events published since creation.")
    publishedPerSecond: float = Field(default=0, description="Rate since the previous sample.")
    lastPublishedTime: str | None = Field(default=None, description="When an event was last sent.")
    position: int = Field(default=0, description="Position of the last event published.")
    restarts: int = Field(default=0, description="Container restarts of the current pods.")
    selector: str = Field(default="", description="Label selector of the pods, for autoscalers.")
    autoscaling: AutoscalingStatus | None = Field(
        default=None, description="How many pods autoscaling wants, and why."
    )


class ConsumerSummary(ApiModel):
    """A line per consumer."""

    name: str = Field(description="Name within the pipeline.")
    ready: bool = Field(default=False, description="Whether its EventConsumer is Ready.")
    replicas: int = Field(default=0, description="Pods that exist.")
    readyReplicas: int = Field(default=0, description="Pods that are ready.")
    pending: int = Field(default=0, description="Messages not delivered yet.")
    ackPending: int = Field(default=0, description="Messages in flight.")
    redelivered: int = Field(default=0, description="Messages in flight more than once.")
    deadLetters: int = Field(default=0, description="Dead letters of this consumer.")
    message: str = Field(default="", description="Why it is not ready.")


class OutboxPipelineStatus(StatusBase):
    """What is true of the pipeline now, from row to acknowledgement."""

    # `schema` would hide a method of pydantic's base class, hence the alias.
    schema_: SchemaStatus | None = Field(
        default=None, alias="schema", description="State of our tables."
    )
    pendingMove: PendingMove | None = Field(
        default=None,
        description="A stream that would leave messages behind and waits for approval.",
    )
    approvals: Approvals | None = Field(
        default=None, description="Who approved or rejected what, and when."
    )
    outbox: OutboxStatus | None = Field(default=None, description="Rows that wait.")
    stream: StreamState | None = Field(default=None, description="The stream.")
    relay: RelayStatus | None = Field(default=None, description="The relay.")
    consumers: list[ConsumerSummary] = Field(
        default_factory=list,
        description="A line per consumer.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    maxPending: int = Field(default=0, description="Most pending messages over all consumers.")
