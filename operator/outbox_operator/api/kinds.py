"""How the four kinds present themselves: names, printer columns, scale. Read by `api.crdgen`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel

from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec, EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec, OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, EventStreamStatus
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec, OutboxTaskStatus


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `wide` ones appear with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "date"] = "string"
    description: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where the `scale` subresource has its three values."""

    spec: str
    status: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Everything about a kind that its models do not say."""

    name: str
    short_name: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    scale: Scale | None = None
    """None: it has no `scale` subresource."""

    @property
    def plural(self) -> str:
        """Plural, lower case, as in URLs."""
        return meta.PLURALS[self.name]


def _condition(name: str, part: str, *, wide: bool = False) -> Column:
    return Column(
        name,
        f'.status.conditions[?(@.type=="Ready")].{part}',
        description=f"{name} of the Ready condition."
        if part != "status"
        else "Whether all is well.",
        wide=wide,
    )


_COMPLETE: Final = '.status.conditions[?(@.type=="Complete")].{}'
_READY: Final = (_condition("Ready", "status"), _condition("Reason", "reason"))
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
_MESSAGE: Final = _condition("Message", "message", wide=True)

KINDS: Final = (
    Kind(
        name=meta.PIPELINE,
        short_name="obp",
        description="A whole outbox pipeline: tables in Postgres, a JetStream stream, the relay "
        "between them, and the consumers that handle the events.",
        spec=OutboxPipelineSpec,
        status=OutboxPipelineStatus,
        columns=(
            *_READY,
            Column("Stream", ".status.stream.name", description="The JetStream stream."),
            Column("Backlog", ".status.outbox.backlogRows", "integer", "Rows not published yet."),
            Column("Relay", ".status.relay.readyReplicas", "integer", "Relay pods that are ready."),
            _AGE,
            Column("Oldest", ".status.outbox.oldestAgeSeconds", "number",
                   "Age of the oldest unpublished row, in seconds.", wide=True),
            Column("Pending", ".status.maxPending", "integer",
                   "Most undelivered messages over all consumers.", wide=True),
            Column("Schema", ".status.schema.currentVersion", "integer",
                   "Version of our tables.", wide=True),
            _MESSAGE,
        ),
        # Of its relay; each of its consumers has one of its own.
        scale=Scale(spec=".spec.relay.replicas", status=".status.relay.replicas",
                    selector=".status.relay.selector"),
    ),
    Kind(
        name=meta.STREAM,
        short_name="evs",
        description="One JetStream stream and, on request, its dead-letter stream.",
        spec=EventStreamSpec,
        status=EventStreamStatus,
        columns=(
            *_READY,
            Column("Stream", ".spec.name", description="The JetStream stream."),
            Column("Messages", ".status.stream.messages", "integer", "Messages stored."),
            _AGE,
            Column("Bytes", ".status.stream.bytes", "integer", "Bytes stored.", wide=True),
            Column("Consumers", ".status.stream.consumerCount", "integer",
                   "Durable consumers on the stream.", wide=True),
            Column("Dead Letters", ".status.stream.deadLetters", "integer",
                   "Messages in the dead-letter stream.", wide=True),
            _MESSAGE,
        ),
    ),
    Kind(
        name=meta.CONSUMER,
        short_name="evc",
        description="One durable consumer of a JetStream stream and the workload that handles its "
        "messages.",
        spec=EventConsumerSpec,
        status=EventConsumerStatus,
        columns=(
            *_READY,
            Column("Stream", ".status.consumer.stream", description="The JetStream stream."),
            Column("Pending", ".status.consumer.pending", "integer", "Messages not delivered yet."),
            Column("Replicas", ".status.readyReplicas", "integer", "Pods that are ready."),
            _AGE,
            Column("In Flight", ".status.consumer.ackPending", "integer",
                   "Messages delivered and not acknowledged.", wide=True),
            Column("Redelivered", ".status.consumer.redelivered", "integer",
                   "Messages in flight delivered more than once.", wide=True),
            Column("Dead Letters", ".status.consumer.deadLetters", "integer",
                   "Messages nobody could handle.", wide=True),
            _MESSAGE,
        ),
        scale=Scale(spec=".spec.replicas", status=".status.replicas", selector=".status.selector"),
    ),
    Kind(
        name=meta.TASK,
        short_name="obt",
        description="One piece of work that the operator carries out once: dead letters, replays, "
        "resets, approvals, checks.",
        spec=OutboxTaskSpec,
        status=OutboxTaskStatus,
        columns=(
            Column("Action", ".status.action", description="What is done."),
            Column("Target", ".status.target.name", description="What it is about."),
            Column("Complete", _COMPLETE.format("status"), description="Whether all is done."),
            Column("Reason", _COMPLETE.format("reason"), description="How it stands."),
            Column("Selected", ".status.selected", "integer", "Events that it is about."),
            Column("Done", ".status.done", "integer", "Events that are done."),
            Column("Failed", ".status.failed", "integer", "Events that could not be done."),
            _AGE,
            Column("Requested By", ".spec.requestedBy", description="Who asked.", wide=True),
            Column("Message", _COMPLETE.format("message"),
                   description="Message of the Complete condition.", wide=True),
        ),
    ),
)  # fmt: skip
