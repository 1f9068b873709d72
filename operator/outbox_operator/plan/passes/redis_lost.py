"""What the keys of a stream in Redis have lost behind the operator's back. Pure.

Used by `plan.passes.redis_stream`. A server tells nobody that entries went, or that it is an older
copy of itself: how many went and where each key ends is compared with the last status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.redis import RedisKey, RedisState
from outbox_operator.counted import counted
from outbox_operator.plan.redis.observed import ObservedKey
from outbox_operator.plan.status.conditions import Part, info, is_recent
from outbox_operator.plan.status.drift import LONGEST_TEXT
from outbox_operator.reasons import Reason

_MOST_NAMES = 5


def lost_of(keys: Iterable[ObservedKey], known: Mapping[str, RedisKey]) -> list[tuple[Reason, str]]:
    """What is missing since keys were looked at last, each with its reason.

    Args:
        keys: As they are.
        known: As the last status has them, at this server, by name.
    """
    found = []
    for key in keys:
        before = known.get(key.name)
        if before is None or before.created != key.created:
            continue  # made anew, which is said elsewhere
        if key.last_id < before.lastId:
            found.append((Reason.STREAM_ROLLED_BACK, _rolled_back(key, before)))
        elif None not in (key.removed, before.removed):
            count = (key.removed or 0) - (before.removed or 0)
            if count > 0:
                found.append((Reason.ENTRIES_REMOVED, _removed(key, count)))
    return found


def lost_text(found: Iterable[tuple[Reason, str]]) -> str | None:
    """For the status: the first reason, and what there is to say of each key."""
    said = list(found)
    if not said:
        return None
    return f"{said[0][0]}: {'; '.join(text for _, text in said)}"[:LONGEST_TEXT]


def lost_part(state: RedisState | None, now: datetime) -> Part:
    """Whether keys have lost something lately; informs."""
    kind = ConditionType.STREAM_LOST_EVENTS
    if state is None or state.lost is None or not is_recent(state.lostTime, now):
        return info(kind, False, Reason.NOTHING_LOST)
    word, _, text = state.lost.partition(": ")
    known = (Reason.STREAM_ROLLED_BACK, Reason.ENTRIES_REMOVED)
    reason = next((one for one in known if one == word), Reason.ENTRIES_REMOVED)
    return info(kind, True, reason, text)


def _rolled_back(key: ObservedKey, before: RedisKey) -> str:
    return (
        f"key {key.name} ends with {key.last_id}-0, and ended with {before.lastId}-0 when it was "
        "looked at last: the server is an older copy of itself, or somebody made the key anew. The "
        "relay sends again what the table still holds"
    )


def _removed(key: ObservedKey, count: int) -> str:
    oldest = key.first_id if key.entries else key.last_id + 1
    behind = [group.name for group in key.groups if group.delivered + 1 < oldest]
    shown = ", ".join(behind[:_MOST_NAMES])
    more = f" and {len(behind) - _MOST_NAMES} more" if len(behind) > _MOST_NAMES else ""
    for_groups = f"; not all of them had been given to group {shown}{more}" if behind else ""
    return (
        f"{counted(count, 'entry', 'entries')} of key {key.name} "
        f"{'was' if count == 1 else 'were'} removed by somebody else than the operator "
        f"(XTRIM, XDEL, XADD with MAXLEN or MINID){for_groups}"
    )
