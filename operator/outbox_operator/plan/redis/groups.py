"""What to do about the consumer groups of an EventConsumer in Redis. Pure.

Called by `plan.passes.redis_group` over what a pass has seen, a group of each key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.errors import DependencyError, OutboxError, RedisError
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.redis.ids import FIRST, id_before, is_before
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change, Step
from outbox_operator.reasons import Reason

_MARKER: Final = "outbox-mark:"
"""Begins the name of a reader that never reads: it shows that a group is the one that we made."""


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
        read: Entries that it gave out, as the server counts; None: it does not know.
        marked: Whether the reader is in it that goes with the mark of who asks.
        deleted: The largest id that was deleted from the stream; None: the server does not say.
    """

    delivered: str
    pending: int = 0
    lag: int | None = None
    readers: int = 0
    first_pending: str | None = None
    oldest: str | None = None
    written: datetime | None = None
    read: int | None = None
    marked: bool = False
    deleted: str | None = None

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
        delivered: Id of the last entry that it had given out; None: nobody noted that.
        read: Entries that it had given out, as the server counts; None: it did not know.
    """

    created: str | None
    done: str
    delivered: str | None = None
    read: int | None = None


class KeyNotFoundError(DependencyError):
    """The key of a stream is not there (yet)."""

    reason = Reason.STREAM_NOT_FOUND


def marker(uid: str) -> str:
    """Name of the reader that goes into the groups of a resource."""
    return f"{_MARKER}{uid}"


def made_anew(seen: ObservedGroupOf, owner: Owner, known: KnownGroup | None) -> bool:
    """Whether somebody has deleted a group and made another one of its name.

    One that was taken over has the mark, and the reader, of who has it.
    """
    if seen.found is None or seen.found.marked:
        return False
    return seen.mark == owner or (seen.mark is None and known is not None)


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
    if seen.found is not None and seen.found.marked and seen.mark == claim.owner:
        return Step(what=what, change=Change.NOOP, wanted={}, found=seen)
    if paused:
        return Step(what=what, change=Change.FROZEN, wanted={}, found=seen)
    return Step(
        what=what,
        change=Change.CREATED if seen.found is None else Change.PATCHED,
        wanted=_wanted(seen, claim.owner, known, new_only=new_only),
        found=seen,
        drift=_drift(what, seen, claim.owner, known),
        adopted=seen.found is not None and known is None and seen.mark != claim.owner,
    )


def _wanted(
    seen: ObservedGroupOf, owner: Owner, known: KnownGroup | None, *, new_only: bool
) -> dict[str, Any]:
    # Of one that we had, and that nobody knows how far it was, nothing may be left out.
    behind, sets = "$" if new_only and seen.mark != owner else FIRST, False
    if known is not None:
        behind = _behind(seen, known)
        sets = made_anew(seen, owner, known) and _skips(seen, known)
    return {
        "key": seen.key, "group": seen.group, "behind": behind, "replaces": seen.mark,
        "owner": owner, "sets": sets,
    }  # fmt: skip


def _behind(seen: ObservedGroupOf, known: KnownGroup) -> str:
    """Up to where all was handled. Of another stream of that name nothing was."""
    return known.done if known.created == seen.created else FIRST


def _skips(seen: ObservedGroupOf, known: KnownGroup) -> bool:
    """Whether a group that somebody made begins behind what was not handled."""
    return seen.found is not None and is_before(_behind(seen, known), seen.found.delivered)


def _drift(what: str, seen: ObservedGroupOf, owner: Owner, known: KnownGroup | None) -> str | None:
    if seen.found is not None and made_anew(seen, owner, known):
        anew = f"{what} had been deleted and made anew by somebody, at {seen.found.delivered}"
        if known is None:
            return f"{anew}; how far it had been, nobody knows, and it stays there"
        if _skips(seen, known):
            return (
                f"{anew}; it was set back behind {_behind(seen, known)}, up to where all was "
                "acknowledged when it was looked at last: what was handled since comes again"
            )
        return f"{anew}; what was handled behind that comes again"
    if known is None and seen.mark == owner:
        return (
            f"{what} was missing and has been created again; how far it had been, nobody knows, "
            "and it begins with the first entry"
        )
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
