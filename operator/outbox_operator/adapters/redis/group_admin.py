"""What the operator asks of consumer groups, and does with them: look, make, mark, delete.

Called by the reconciler of EventConsumers and by `outbox dev`, over the connection of a
`RedisAdmin`. A group has no place for a mark: it is in the companion of its stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.entries import companion, number, parse_id
from outbox_operator.adapters.redis.scripts import GROUP_DROP, GROUP_LOOK, GROUP_MAKE
from outbox_operator.errors import ConflictError, RedisError
from outbox_operator.plan.redis.groups import GroupFacts, ObservedGroupOf, marker
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import parse_time

_MOST_TEXT: Final = 800


class GroupAdmin:
    """Administration of groups.

    Args:
        admin: Whose connection to use.
    """

    def __init__(self, admin: RedisAdmin) -> None:
        self._admin = admin

    async def group(self, key: str, group: str, uid: str) -> ObservedGroupOf:
        """How a group of a key is.

        Args:
            key: The key.
            group: The group.
            uid: Of the resource that asks.

        Raises:
            OutboxError: The server is away, or does not say.
        """
        found = await self._admin.run(
            f"look at group {group}", GROUP_LOOK, [key, companion(key)], group, _MOST_TEXT,
            marker(uid),
        )  # fmt: skip
        with self._admin.understood(f"group {group} of key {key}"):
            kind, created, mark, *rest = found
            return ObservedGroupOf(
                key=key,
                group=group,
                kind=kind.decode(),
                created=created.decode("utf-8", "replace") or None,
                mark=_owner(mark),
                found=_facts(rest[0]) if rest else None,
            )

    async def make(self, wanted: Mapping[str, Any]) -> ObservedGroupOf:
        """Make a group, or put a mark on one; as `plan.redis.groups` says it.

        Raises:
            ConflictError: Somebody else was faster.
            OutboxError: The server is away, or refuses.
        """
        key, group, before = str(wanted["key"]), str(wanted["group"]), wanted["replaces"]
        owner: Owner = wanted["owner"]
        answer = await self._admin.run(
            f"make group {group} of key {key}", GROUP_MAKE, [key, companion(key)], group,
            str(wanted["behind"]), _text(before), _text(owner),
            "" if before is None else marker(before.uid), marker(owner.uid), int(wanted["sets"]),
        )  # fmt: skip
        with self._admin.understood(f"group {group} of key {key}"):
            what, text = answer[0], answer[1].decode("utf-8", "replace")[:_MOST_TEXT]
        if what in (b"TYPE", b"MARK"):
            raise ConflictError(
                f"Redis at {self._admin.login.address}: key {key} has just changed: "
                f"{'it holds a ' + text if text else 'somebody has marked the group'}"
            )
        if what != b"OK":
            raise RedisError(
                f"Redis at {self._admin.login.address}: group {group} of key {key}: {text}",
                reason=Reason.STREAM_REFUSED,
            )
        return await self.group(key, group, owner.uid)

    async def drop(self, key: str, group: str, owner: Owner) -> bool:
        """Delete a group, if it has a mark. Whether it had."""
        keys = [key, companion(key)]
        done = await self._admin.run(f"delete group {group}", GROUP_DROP, keys, group, _text(owner))
        return bool(done)


def _text(mark: Owner | None) -> str:
    """A mark as it is written; always the same for the same."""
    if mark is None:
        return ""
    return json.dumps({"uid": mark.uid, "key": mark.key, "cluster": mark.cluster}, sort_keys=True)


def _owner(text: bytes) -> Owner | None:
    if not text:
        return None
    try:
        found = json.loads(text)
        return Owner(uid=str(found["uid"]), key=str(found["key"]), cluster=str(found["cluster"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Owner(uid="?", key=text.decode("utf-8", "replace")[:_MOST_TEXT])


def _facts(found: list[Any]) -> GroupFacts:
    last, pending, lag, readers, first, oldest, written, read, marked, deleted = found
    for each in (last, *filter(None, (first, oldest, deleted))):
        parse_id(each)
    return GroupFacts(
        delivered=last.decode(),
        pending=number(pending),
        lag=number(lag) if lag >= 0 else None,
        readers=number(readers),
        first_pending=first.decode() or None,
        oldest=oldest.decode() or None,
        written=parse_time(written.decode("utf-8", "replace") or None),
        read=number(read) if read >= 0 else None,
        marked=bool(marked),
        deleted=deleted.decode() or None,
    )
