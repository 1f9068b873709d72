"""What the work queue and the reconcilers say to each other. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from outbox_operator.api.resource import Meta


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Names one of our objects: the unit of work."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, owner: Meta) -> ObjectKey:
        """The key of a resource."""
        return cls(owner.kind, owner.namespace, owner.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """How a pass ended and when to look again if nothing happens meanwhile.

    Attributes:
        requeue_after: After a success, seconds until the next pass (None: not by itself).
            After a failure, the longest pause that the growing back-off may reach.
        failed: Whether the back-off goes up.
    """

    requeue_after: float | None = None
    failed: bool = False


class Reconciler(Protocol):
    """One idempotent pass over one object, whatever woke it."""

    async def reconcile(self, key: ObjectKey, trigger: str) -> ReconcileResult:
        """Make the world as the object says.

        Called by the work queue, never twice at once for one object. An exception counts as a
        failure.

        Args:
            key: The object; it may be gone.
            trigger: What woke it, for logs only: decisions read the state.
        """
        ...
