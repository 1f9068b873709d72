"""Parts of a stream's specification: where it lives, what it copies, where dead letters go."""

from __future__ import annotations

from pydantic import Field

from outbox_operator.api.fields import ApiModel, Duration, NatsName, Size, Subject


class Placement(ApiModel):
    """Where the servers put the stream."""

    cluster: str | None = Field(default=None, description="Name of the NATS cluster.")
    tags: list[str] = Field(default_factory=list, description="Tags a server must have.")


class SubjectTransform(ApiModel):
    """Rewrites subjects of stored messages."""

    source: Subject = Field(description="Subject filter to match.")
    destination: Subject = Field(description="Subject to store under; may use {{wildcard(1)}}.")


class Republish(ApiModel):
    """Publishes each stored message again on another subject."""

    source: Subject = Field(default=">", description="Subject filter to match.")
    destination: Subject = Field(description="Subject to publish on.")
    headersOnly: bool = Field(default=False, description="Leave the payload out.")


class StreamSource(ApiModel):
    """Another stream to copy from."""

    name: NatsName = Field(description="Name of the stream to copy.")
    startSequence: int | None = Field(default=None, ge=1, description="First sequence to copy.")
    startTime: str | None = Field(
        default=None,
        description="Copy messages from this time on (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )
    filterSubject: Subject | None = Field(default=None, description="Copy only these subjects.")
    externalApiPrefix: str | None = Field(
        default=None, description="API prefix of another account or domain."
    )
    externalDeliverPrefix: str | None = Field(
        default=None, description="Delivery prefix of another account or domain."
    )
    subjectTransforms: list[SubjectTransform] = Field(
        default_factory=list, description="Rewrites while copying."
    )


class ConsumerLimits(ApiModel):
    """Defaults and bounds for durable consumers of the stream."""

    inactiveThreshold: Duration | None = Field(
        default=None, description="Consumers idle for this long are removed by the server."
    )
    maxAckPending: int | None = Field(
        default=None, ge=-1, description="Most unacknowledged messages per consumer."
    )


class DeadLetter(ApiModel):
    """The stream that keeps messages nobody could handle."""

    name: NatsName | None = Field(
        default=None, description="Name of the stream; default: the stream's name + `_DLQ`."
    )
    subjectPrefix: Subject | None = Field(
        default=None,
        description="Dead letters are stored under `<subjectPrefix>.<consumer>`; "
        "default: `dlq.<stream>`.",
    )
    maxAge: Duration = Field(
        default="0", description="Dead letters are kept this long; 0: for ever."
    )
    maxBytes: Size = Field(
        default="-1", description="Size of the dead-letter stream; -1: no limit."
    )
    maxMessages: int = Field(default=-1, ge=-1, description="Most dead letters; -1: no limit.")
    captureAdvisories: bool = Field(
        default=True,
        description="Also keep what the server gives up on: container handlers that use up "
        "maxDeliver or terminate a message. Turn it off if another stream stores the advisories "
        "of consumers; two streams cannot have the same subjects.",
    )
