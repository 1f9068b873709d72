"""What to do about the consumer groups of an EventConsumer in Redis. Pure.

Called by `plan.passes.redis_group` over what a pass has seen, a group of each key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.errors import DependencyError, OutboxError, RedisError
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change, Step
from outbox_operator.reasons import Reason

_LARGEST_PART: Final = 2**64 - 1
FIRST: Final = "0-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group as the server described it.

    Attributes:
        delivered: Id of the last entry that it gave out.
        pending: Entries given out and not acknowledged.
        lag: Entries not given out yet; None: the server does not know.
        readers: Names in it.
        first_pending: Id of the first entry given out and not acknowledged; None: there is none.
        oldest: Id of the oldest entry that is not acknowledged; None: there is none.
        written: When its event was written; None: it does not say.
    """

    delivered: str
    pending: int = 0
    lag: int | None = None
    readers: int = 0
    first_pending: str | None = None
    oldest: str | None = None
    written: datetime | None = None

    @property
    def done(self) -> str:
        """All entries up to this id are acknowledged."""
        return self.delivered if self.first_pending is None else id_before(self.first_pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedGroupOf:
    """A group of one key, as it was found.

    Attributes:
        key: The key.
        group: Its name.
        kind: What the key holds, in Redis's word.
        created: When its stream was made; None: nobody noted that.
        mark: Whose the group says it is.
        found: The group; None: there is none.
    """

    key: str
    group: str
    kind: str = "stream"
    created: str | None = None
    mark: Owner | None = None
    found: GroupFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGroup:
    """The group of a key as the last status has it.

    Attributes:
        created: When the key was made.
        done: All entries up to this id were acknowledged.
    """

    created: str | None
    done: str


class KeyNotFoundError(DependencyError):
    """The key of a stream is not there (yet)."""

    reason = Reason.STREAM_NOT_FOUND


def id_before(text: str) -> str:
    """The largest id that is smaller than one."""
    number, part = (int(each) for each in text.split("-"))
    if part > 0:
        return f"{number}-{part - 1}"
    return f"{number - 1}-{_LARGEST_PART}" if number > 0 else FIRST


def group_step(
    seen: ObservedGroupOf, *, claim: Claim, known: KnownGroup | None, new_only: bool, paused: bool
) -> Step[ObservedGroupOf]:
    """What to do about the group of a key.

    Args:
        seen: What there is.
        claim: Who asks.
        known: As it was seen at this server before; None: it was not.
        new_only: Whether one that is made for the first time begins with the next entry.
        paused: Whether nothing may be changed.

    Raises:
        OutboxError: The key is not there, or holds something else.
    """
    what = f"group {seen.group} of key {seen.key}"
    if seen.kind == "none" or (seen.kind == "stream" and seen.created is None):
        raise KeyNotFoundError(f"key {seen.key} does not exist, or nobody has declared it (yet)")
    if seen.kind != "stream":
        raise RedisError(
            f"key {seen.key} holds a {seen.kind}, wanted a stream",
            reason=Reason.KEY_OF_OTHER_TYPE,
        )
    error: OutboxError | None = None
    if seen.found is not None:
        error = refusal(
            what, seen.mark, claim, field="adoptionPolicy",
            free=None if known is not None else Reason.CONSUMER_EXISTS,
        )  # fmt: skip
    if error is not None:
        return Step(what=what, change=Change.NOOP, wanted={}, found=seen, refused=error)
    if seen.found is not None and seen.mark == claim.owner:
        return Step(what=what, change=Change.NOOP, wanted={}, found=seen)
    if paused:
        return Step(what=what, change=Change.FROZEN, wanted={}, found=seen)
    return Step(
        what=what,
        change=Change.CREATED if seen.found is None else Change.PATCHED,
        wanted=_wanted(seen, claim.owner, known, new_only=new_only),
        found=seen,
        drift=_drift(what, seen, known),
        adopted=seen.found is not None and known is None,
    )


def _wanted(
    seen: ObservedGroupOf, owner: Owner, known: KnownGroup | None, *, new_only: bool
) -> dict[str, Any]:
    behind = "$" if new_only else FIRST
    if known is not None:
        # Of another stream of that name nothing was handled.
        behind = known.done if known.created == seen.created else FIRST
    return {
        "key": seen.key, "group": seen.group, "behind": behind, "replaces": seen.mark,
        "owner": owner,
    }  # fmt: skip


def _drift(what: str, seen: ObservedGroupOf, known: KnownGroup | None) -> str | None:
    if known is None:
        return None
    if seen.found is not None:
        return f"{what} had lost its mark, which has been put back"
    if known.created != seen.created:
        return f"{what} went with its key, which was made anew; it begins with the first entry"
    return (
        f"{what} was missing and has been created again behind {known.done}, up to where all was "
        "acknowledged when it was looked at last: what was handled since comes again"
    )
