"""What waits at servers where a stream was declared before. Pure.

Used by `plan.passes.redis_stream`. Another `spec.redis.url` leads relay and consumers away from
what groups have not handled; nobody but the status knows of it then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.redis import RedisGroup, RedisLeft
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.errors import OutboxError
from outbox_operator.plan.redis.observed import ObservedKey
from outbox_operator.plan.status.conditions import Part, info, stamp
from outbox_operator.reasons import Reason

MOST_SERVERS: Final = 5
_MOST_GROUPS: Final = 50
_MOST_NAMES: Final = 5
_KEPT_UNSEEN: Final = timedelta(days=7)
"""For so long it is said of a server that is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found at a server where a stream was declared before.

    Attributes:
        keys: As they are there; empty: they are gone, or it is the server of now.
        error: Why nobody could look.
    """

    keys: tuple[ObservedKey, ...] = ()
    error: OutboxError | None = None


def servers_before(state: StreamState | None, url: str) -> tuple[str, ...]:
    """URLs where something may wait.

    Args:
        state: The stream as the last status has it.
        url: Where it is declared now.
    """
    if state is None:
        return ()
    left = [one.url for one in state.redis.left] if state.redis is not None else []
    if state.place is not None and state.place.url is not None:
        left.append(state.place.url)
    return tuple(one for one in dict.fromkeys(left) if one != url)[-MOST_SERVERS:]


def left_after(
    state: StreamState | None, looks: Mapping[str, Looked], now: datetime
) -> list[RedisLeft]:
    """What waits elsewhere, for the status.

    Args:
        state: The stream as the last status has it.
        looks: What was found, by URL.
        now: Time of the pass.
    """
    redis = None if state is None else state.redis
    known = {one.url: one for one in (redis.left if redis is not None else ())}
    found = []
    for url, look in looks.items():
        before = known.get(url) or RedisLeft(
            url=url, since=stamp(now), groups=_waiting(redis.groups if redis is not None else ())
        )
        if look.error is not None:
            recent = now - datetime.fromisoformat(before.since) < _KEPT_UNSEEN
            if before.groups and recent:
                problem = f"{look.error.reason}: {look.error.message}"
                found.append(before.model_copy(update={"problem": problem}))
            continue
        groups = _waiting(groups_of(look.keys))
        if groups:
            found.append(before.model_copy(update={"groups": groups, "problem": None}))
    return found


def groups_of(keys: Sequence[ObservedKey]) -> list[RedisGroup]:
    """Who reads, over all keys."""
    pending: dict[str, int] = {}
    lags: dict[str, list[int | None]] = {}
    for key in keys:
        for group in key.groups:
            pending[group.name] = pending.get(group.name, 0) + group.pending
            lags.setdefault(group.name, []).append(group.lag)
    return [
        RedisGroup(
            name=name,
            pending=pending[name],
            lag=None if None in lags[name] else sum(lag or 0 for lag in lags[name]),
        )
        for name in sorted(pending)
    ]


def left_part(left: Sequence[RedisLeft]) -> Part:
    """Whether something waits elsewhere; informs."""
    kind = ConditionType.LEFT_BEHIND
    if not left:
        return info(kind, False, Reason.NOTHING_LEFT)
    return info(kind, True, Reason.ENTRIES_LEFT, "; ".join(_text(one) for one in left))


def _waiting(groups: Sequence[RedisGroup]) -> list[RedisGroup]:
    """Those that have not handled all; whose lag is not known may not have."""
    return [one for one in groups if one.pending or one.lag is None or one.lag][:_MOST_GROUPS]


def _text(left: RedisLeft) -> str:
    shown = [f"{_count(one)} for group {one.name}" for one in left.groups[:_MOST_NAMES]]
    if len(left.groups) > _MOST_NAMES:
        shown.append(f"{len(left.groups) - _MOST_NAMES} groups more")
    unseen = f", as was seen last ({left.problem})" if left.problem else ""
    return (
        f"at {left.url}, where the stream was declared until {left.since}, entries wait{unseen}: "
        f"{', '.join(shown)}. Nobody of the operator's handles them there: set spec.redis.url back "
        "until they are handled, or have them handled there; XGROUP DESTROY a group that needs "
        "nothing"
    )


def _count(group: RedisGroup) -> str:
    if group.lag is None:
        return f"{group.pending} or more"
    return str(group.pending + group.lag)
