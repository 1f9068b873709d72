"""Who owns what is outside Kubernetes: one idea for schema, stream and durable consumer. Pure.

The mark on the thing decides, read after login: never what two resources say, nor which is older.
Who may not log in claims nothing. A mark also says where it was declared, because a database may
be known in two clusters.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Resource
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.errors import ConflictError
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason

CONFLICTS: Final = frozenset(
    {
        Reason.RESOURCE_CONFLICT,
        Reason.TAKEN_OVER,
        Reason.STREAM_EXISTS,
        Reason.CONSUMER_EXISTS,
    }
)
"""Something is somebody else's."""
_LONGEST_KEY: Final = 400
"""`Kind/namespace/name` of a mark, which anybody with rights on the server may have written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a resource says of a thing outside Kubernetes.

    Attributes:
        owner: The resource.
        adoption: Whether it may take what somebody else declared, or nobody.
        held: This very specification had it before: a foreign mark on it means that it was taken.
        same: The thing is the one it had, as far as can be told.
        living: UIDs of all resources of its kind that are seen here; nothing is taken from them.
    """

    owner: Owner
    adoption: AdoptionPolicy = "Fail"
    held: bool = False
    same: bool = False
    living: Container[str] = frozenset()


def refusal(
    what: str, mark: Owner | None, claim: Claim, *, field: str, free: Reason | None = None
) -> ConflictError | None:
    """Why a thing that exists must be left alone; None: it is ours, or may be taken.

    Args:
        what: "stream ORDERS".
        mark: Whose it says it is; None: nobody's.
        claim: Who asks.
        field: Where the adoption policy stands in the specification, for messages.
        free: Reason to leave alone what nobody declared; None: that may be taken.
    """
    adopt = f"set {field}: Adopt to take it over and change it to this specification, or choose "
    if mark is None:
        if free is None or claim.same or claim.adoption == "Adopt":
            return None
        return ConflictError(
            f"{what} exists and no resource declared it; {adopt}another name", reason=free
        )
    if mark.uid == claim.owner.uid or mark.is_before(claim.owner):
        return None
    whose = _whose(mark, claim.owner)
    if claim.held:
        return ConflictError(
            f"{what} was taken over by {whose}, which may be at work on it; nothing is done here. "
            f"To take it back, change {field}; else delete this resource",
            reason=Reason.TAKEN_OVER,
        )
    if mark.uid in claim.living:
        return ConflictError(f"{what} belongs to {whose}; rename one of the two or delete it")
    if claim.adoption == "Adopt":
        return None
    return ConflictError(
        f"{what} carries the mark of {whose}; make sure that nothing is at work on it there, then "
        f"{adopt}another name",
        reason=free or Reason.RESOURCE_CONFLICT,
    )


def _whose(mark: Owner, owner: Owner) -> str:
    """Named to who may see it: names of another namespace are not told."""
    if mark.cluster and owner.cluster and mark.cluster != owner.cluster:
        return "a resource of another cluster"
    if mark.namespace == owner.namespace:
        return mark.key[:_LONGEST_KEY]
    return "a resource of another namespace"


def held_before(resource: Resource[Any, Any], kind: ConditionType, *, has_it: bool) -> bool:
    """Whether this generation of a resource has had the thing.

    A status tells of somebody else's thing as well, so the condition decides: it says so when the
    thing was not to be had.

    Args:
        resource: The resource with its last status.
        kind: Condition of the thing.
        has_it: Whether the status speaks of the thing.
    """
    generation = resource.meta.generation
    return has_it and any(
        one.type == kind
        and one.status != "Unknown"
        and one.observedGeneration == generation
        and one.reason not in CONFLICTS - {Reason.TAKEN_OVER}
        for one in resource.status.conditions
    )


def was_anothers(resource: Resource[Any, Any], kind: ConditionType) -> bool:
    """Whether the last word was that it is not ours; statuses of before spoke of such a thing."""
    anothers = CONFLICTS - {Reason.TAKEN_OVER}
    return any(one.type == kind and one.reason in anothers for one in resource.status.conditions)
