"""What an OutboxTask can do: one model for each action. Field by field, as a person writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import ApiModel, ObjectName, cel, model_rules
from outbox_operator.api.v1alpha1.approval import PlanHash

Position = Annotated[int, Field(ge=1, le=2**62)]


def moment(text: str) -> datetime:
    """The moment that a field names, in UTC.

    Raises:
        ValueError: It names none.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add for example Z")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is not within the years 1 to 9999 of UTC") from None


def _checked(text: str) -> str:
    moment(text)
    return text


Moment = Annotated[
    str,
    Field(max_length=40, json_schema_extra={"format": "date-time"}),
    AfterValidator(_checked),
]
"""RFC 3339, with a time zone."""
EventId = Annotated[str, Field(min_length=1, max_length=256, pattern=patterns.NO_NULL)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=patterns.NO_NULL)]

MOST_NAMED: Final = 100
"""Most values of a filter."""
MOST_IDS: Final = 1000


def _names(what: str) -> list[str]:
    found: list[str] = Field(
        default_factory=list, max_length=MOST_NAMED, description=f"Only these {what}; empty: all."
    )
    return found


class DeadLetterFilter(ApiModel):
    """Which dead letters. All that is said must hold."""

    eventTypes: list[Name] = _names("event types")
    keys: list[Name] = _names("partition keys")
    reasons: list[Name] = _names("reasons, such as `MaxDeliver` or `MessageTooLarge`")
    since: Moment | None = Field(
        default=None, description="Only those that died at this time or later."
    )
    until: Moment | None = Field(default=None, description="Only those that died before this time.")


class DeadLetterSelection(ApiModel):
    """Dead letters that there are when the task starts; those that come later are left alone."""

    model_config = model_rules(
        cel(
            "!(self.ids.size() > 0 && has(self.filter))",
            "set ids or filter, not both",
        )
    )

    ids: list[EventId] = Field(
        default_factory=list, max_length=MOST_IDS, description="Ids of the events; empty: any."
    )
    filter: DeadLetterFilter | None = Field(
        default=None, description="Instead of ids; without both, all of the target are meant."
    )
    limit: int | None = Field(
        default=None, ge=1, le=1_000_000, description="At most so many, oldest first."
    )


class ReplayDeadLetters(DeadLetterSelection):
    """Send dead letters again, each once, in the order of their keys.

    Of an OutboxPipeline, those of the relay: they go back into the outbox, and all dead letters
    of a key together. Of an EventConsumer, what it gave up: published where it came from.
    """


class PurgeDeadLetters(DeadLetterSelection):
    """Give dead letters up for good."""

    confirm: bool = Field(
        default=False, description="Has to be true, unless the task is a dry run."
    )


class RowRange(ApiModel):
    """Some rows of the outbox, by when they were written or by position; all without bounds."""

    model_config = model_rules(
        cel("!(has(self.fromTime) && has(self.fromPosition))", "set fromTime or fromPosition"),
        cel("!(has(self.toTime) && has(self.toPosition))", "set toTime or toPosition"),
    )

    fromTime: Moment | None = Field(
        default=None, description="Events written at this time or later."
    )
    fromPosition: Position | None = Field(default=None, description="Events from this position on.")
    toTime: Moment | None = Field(default=None, description="Events written before this time.")
    toPosition: Position | None = Field(
        default=None, description="Events up to this position, which is included."
    )


class ReplayHistory(RowRange):
    """Send events again that the outbox still has, through the relay."""

    eventTypes: list[Name] = _names("event types")
    keys: list[Name] = _names("partition keys")
    toConsumer: ObjectName | None = Field(
        default=None,
        description="Name of the EventConsumer that gets them, and nobody else; default: all.",
    )
    allowOtherReaders: bool = Field(
        default=False,
        description="With toConsumer: go on although programs read the stream that do not run in "
        "the consumer runtime. They get the events, too, and have to look at "
        "`Outbox-Replay-To` by themselves.",
    )
    allowPartial: bool = Field(
        default=False,
        description="Send what is left although the outbox no longer has all rows since fromTime "
        "or fromPosition; without it the task then fails and says from when on there are some.",
    )


class ResetConsumer(ApiModel):
    """Let a consumer read its stream from another place on."""

    model_config = model_rules(
        cel("(self.to == 'Time') == has(self.time)", "time belongs to `to: Time`"),
        cel("(self.to == 'Sequence') == has(self.sequence)", "sequence belongs to `to: Sequence`"),
    )

    to: Literal["Start", "End", "Time", "Sequence"] = Field(
        description="Start: the first message that the stream has. End: what comes from now on."
    )
    time: Moment | None = Field(default=None, description="With Time: messages stored since then.")
    sequence: Position | None = Field(
        default=None, description="With Sequence: the message to go on with."
    )
    inbox: Literal["Keep", "Forget"] = Field(
        default="Keep",
        description="Keep: events that are in the inbox are skipped when they come again. Forget: "
        "the inbox forgets what it has handled since that place, and they are handled again.",
    )


class Rebase(ApiModel):
    """Set the cursors of an outbox anew after its database was restored or moved."""

    model_config = model_rules(
        cel(
            "(self.publish == 'FromPosition') == has(self.position)",
            "position belongs to `publish: FromPosition`",
        ),
        cel(
            "(self.publish == 'CreatedAfter') == has(self.createdAfter)",
            "createdAfter belongs to `publish: CreatedAfter`",
        ),
    )

    publish: Literal["Unpublished", "All", "None", "FromPosition", "CreatedAfter"] = Field(
        default="Unpublished",
        description="Which rows of the table go out. Unpublished: what the cursor of the dump had "
        "not seen, and what was written since.",
    )
    position: Position | None = Field(default=None, description="With FromPosition: the first one.")
    createdAfter: Moment | None = Field(
        default=None, description="With CreatedAfter: rows written since then."
    )


class ApproveMigration(ApiModel):
    """Let a plan run that waits: a migration, or a move that leaves something behind."""

    planHash: PlanHash = Field(
        description="Its hash: `status.schema.pendingPlan.hash` or `status.pendingMove.hash`."
    )


class RejectMigration(ApiModel):
    """Say no to a plan that waits for approval; another one may come."""

    planHash: PlanHash = Field(
        description="Its hash: `status.schema.pendingPlan.hash` or `status.pendingMove.hash`."
    )
    reason: str = Field(
        default="", max_length=1024, description="Why, for the author; shown in the condition."
    )


class Diagnose(ApiModel):
    """Look for what is wrong, from the operator's place, and change nothing."""


class Verify(RowRange):
    """Compare the outbox with its stream: events that are missing, double or out of order."""
