"""What a pass is going to do, and what became of it: one step for each resource outside us. Pure.

A plan is a tuple of `Step`; `adapters.execute` carries them out in order and answers
with one `Applied` for each that it came to. Streams, durable consumers and Kubernetes objects
share both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from outbox_operator.errors import OutboxError

T = TypeVar("T")


class Change(StrEnum):
    """What is done with a resource."""

    NOOP = "noop"
    """It is as wanted, or must be left alone."""
    CREATED = "created"
    PATCHED = "patched"
    DELETED = "deleted"
    FROZEN = "frozen"
    """It differs, and its owner is paused."""


@dataclass(frozen=True, kw_only=True)
class Step(Generic[T]):
    """One resource, and what shall become of it.

    Attributes:
        what: For people: "stream ORDERS", "Deployment shop-relay".
        change: What to do.
        wanted: Configuration or manifest to write; empty where nothing is written.
        found: The resource as it was found; None: there is none.
        drift: What somebody did that this step undoes, a sentence; None: nobody did.
        adopted: Whether it existed, belonged to nobody, and is taken over.
        surplus: JSON pointers of what others added to `found` and is removed, the last one first.
        refused: Why nothing may be done; the steps after it are not tried.
    """

    what: str
    change: Change
    wanted: dict[str, Any]
    found: T | None = None
    drift: str | None = None
    adopted: bool = False
    surplus: tuple[str, ...] = ()
    refused: OutboxError | None = None


@dataclass(frozen=True, kw_only=True)
class Applied(Generic[T]):
    """What became of a step.

    Attributes:
        step: What was to be done.
        change: What was done.
        now: The resource as it is; None: there is none, or nobody knows.
        error: Why it is not as wanted; the steps after it were not tried.
    """

    step: Step[T]
    change: Change
    now: T | None = None
    error: OutboxError | None = None

    @property
    def drift(self) -> str | None:
        """What somebody did that has been undone."""
        return None if self.error is not None else self.step.drift


def drifts(applied: Iterable[Applied[Any]]) -> tuple[str, ...]:
    """What these steps have undone, a sentence each."""
    return tuple(one.drift for one in applied if one.drift is not None)


def failure(applied: Iterable[Applied[Any]]) -> OutboxError | None:
    """Why a step that was tried failed; a refusal is no failure: what there is is known."""
    for one in applied:
        if one.error is not None and one.step.refused is None:
            return one.error
    return None
