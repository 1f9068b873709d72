"""What to do about the keys of a stream in Redis. Pure.

Called by `plan.passes.redis_stream` over what a pass has seen. What is said of servers here was
tried on Valkey 9.1; tests/integration/redis repeats it.
"""

from __future__ import annotations

from typing import Final

from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.counted import counted
from outbox_operator.errors import (
    ConflictError,
    OutboxError,
    RedisError,
    SpecError,
    UnsupportedServerError,
)
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.redis.observed import ObservedKey, ObservedServer
from outbox_operator.plan.steps import Change, Step
from outbox_operator.reasons import Reason

OLDEST: Final = (6, 2)
"""Has XTRIM MINID."""
_EVICTING: Final = "allkeys-"
"""Policies that take keys away which are to stay."""


def keys_of(spec: EventStreamSpec) -> list[str]:
    """The keys of a stream, one a shard, as its relays name them."""
    if spec.shards in (None, 1):
        return [spec.name]
    return [f"{spec.name}.{shard}" for shard in range(spec.shards or 1)]


def letters_key(stream: str) -> str:
    """The key that dead letters of a stream's consumers go to."""
    return f"{stream}.dlq"


def server_problem(server: ObservedServer, address: str) -> OutboxError | None:
    """Why no stream can be kept on a server; None: it can."""
    where = f"Redis at {address}"
    if server.compatible < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return UnsupportedServerError(
            f"{where}: wanted Redis {oldest} or newer, found {server.version or 'no version'}"
        )
    if not server.writes:
        return RedisError(
            f"{where}: it is a replica, and takes no writes; spec.redis.url has to lead to the "
            "primary",
            reason=Reason.READ_ONLY_SERVER,
        )
    if server.policy.startswith(_EVICTING) and server.max_memory:
        return SpecError(
            f"{where}: maxmemory-policy {server.policy} takes streams away when memory is short: "
            "events would be lost. CONFIG SET maxmemory-policy noeviction, or a policy for keys "
            "that expire (volatile-…)",
            reason=Reason.EVICTS_KEYS,
        )
    return None


def key_step(
    name: str,
    found: ObservedKey,
    *,
    claim: Claim,
    seen_here: bool,
    known: str | None,
    held: int,
    paused: bool,
) -> Step[ObservedKey]:
    """What to do about a key.

    Args:
        name: Of the key.
        found: What there is.
        claim: Who asks.
        seen_here: Whether the stream was seen at this server before, whatever was the matter
            since; a difference is then drift.
        known: When the stream was made that was seen there before; None: none was.
        held: Entries that it held then.
        paused: Whether nothing may be changed.
    """
    what = f"key {name}"
    error = _refused(what, found, claim, had=seen_here and known is not None)
    if error is not None:
        return Step(what=what, change=Change.NOOP, wanted={}, found=found, refused=error)
    mark, owner = found.mark, claim.owner
    missing, bare = found.kind == "none", found.created is None
    if not missing and not bare and mark == owner:
        return Step(what=what, change=Change.NOOP, wanted={}, found=found)
    if paused:
        return Step(what=what, change=Change.FROZEN, wanted={}, found=found)
    drift = None
    if seen_here and known is not None and missing:
        drift = (
            f"{what} was missing and has been created again; it held "
            f"{counted(held, 'entry', 'entries')} when it was "
            "looked at last; kubectl outbox rebase --all sends those again whose rows are kept"
        )
    elif seen_here and known is not None:
        drift = f"{what} had lost its mark, which has been put back"
    return Step(
        what=what,
        change=Change.CREATED if missing else Change.PATCHED,
        wanted={
            "key": name,
            "replaces": "" if mark is None else mark.uid,
            "uid": owner.uid,
            "name": owner.key,
            "cluster": owner.cluster,
        },
        found=found,
        drift=drift,
        adopted=not missing and known is None and bool(found.entries or mark is not None),
    )


def _refused(what: str, found: ObservedKey, claim: Claim, *, had: bool) -> OutboxError | None:
    if found.kind not in ("stream", "none"):
        return ConflictError(
            f"{what} holds a {found.kind}, wanted a stream or nothing: rename the stream in the "
            "specification of a new resource, or, when nobody needs what is there, DEL it",
            reason=Reason.KEY_OF_OTHER_TYPE,
        )
    # One that a group made before us is empty; one that we had has lost its mark.
    is_free = found.kind == "none" or not found.last_id or had
    theirs = refusal(
        what, found.mark, claim, field="adoptionPolicy",
        free=None if is_free else Reason.STREAM_EXISTS,
    )  # fmt: skip
    if theirs is not None:
        return theirs
    if found.is_spent:
        return RedisError(
            f"{what}: somebody else has published with id {found.last_id}, and no larger one is "
            f"left for events. DEL {found.name} when its entries are handled or copied: it is made "
            "again, and events go on",
            reason=Reason.FOREIGN_ENTRIES,
        )
    return None
