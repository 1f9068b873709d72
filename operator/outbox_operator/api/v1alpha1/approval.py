"""What waits for a person's approval, and what persons decided: shared by pipelines and inboxes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import ApiModel

PlanHash = Annotated[str, Field(pattern=patterns.PLAN_HASH, min_length=8, max_length=64)]

DecidedPart = Literal["Schema", "Stream", "Inbox"]
DecisionState = Literal["Open", "Done", "Outdated", "Replaced"]


class PendingMove(ApiModel):
    """A move to another server or database that waits."""

    hash: str = Field(description="Names this move, for whoever approves or rejects it.")
    text: str = Field(default="", description="From where to where, and what would stay behind.")


class Decision(ApiModel):
    """What was decided about a plan, by whom, and what became of it."""

    plan: str = Field(description="Hash of the plan.")
    part: DecidedPart = Field(
        default="Schema",
        description="What the plan is of: Schema (a migration, or an outbox that moves), Stream or "
        "Inbox (that move).",
    )
    decision: Literal["Approved", "Rejected"] = Field(description="What was decided.")
    by: str | None = Field(
        default=None, description="Who decided; absent: whoever could set what `through` names."
    )
    verified: bool = Field(
        default=False, description="Whether the API server made sure that it was who `by` says."
    )
    through: str = Field(description="The task, field or annotation that said so.")
    task: str | None = Field(default=None, description="UID of that OutboxTask.")
    reason: str | None = Field(default=None, description="Why, in their words.")
    time: str = Field(default="", description="When it was said.")
    state: DecisionState = Field(
        default="Open",
        description="Open: in force. Done: what was approved has been carried out. Outdated: "
        "another plan, or none, waits now. Replaced: somebody decided again.",
    )


class Approvals(ApiModel):
    """Decisions about plans, the newest last."""

    history: list[Decision] = Field(
        default_factory=list, description="The last ten, and those on plans that wait."
    )
    spentPlan: str | None = Field(
        default=None,
        description="Value of approvedPlan that has been counted: it approves once, and stays in "
        "the specification without approving again.",
    )
    spentAnnotation: str | None = Field(
        default=None,
        description="The annotation that has been counted and is still there: it approves once.",
    )
