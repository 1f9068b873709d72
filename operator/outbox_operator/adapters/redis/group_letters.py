"""Dead letters of a consumer group: an entry's fields and why nobody can handle it, in another key.

Used by `group`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from outbox_operator.adapters.redis.entries import DATA_FIELD, MOST_FIELDS
from outbox_operator.adapters.redis.group_entry import Entry
from outbox_operator.adapters.redis.group_link import GroupLink
from outbox_operator.adapters.redis.scripts import LETTER
from outbox_operator.errors import RedisError
from outbox_operator.reasons import Reason
from outbox_operator.wire.dead_letters import PREFIX
from outbox_operator.wire.headers import MSG_ID

log = logging.getLogger(__name__)

MOST_LETTERS: Final = 100_000


async def store_letter(
    link: GroupLink, place: tuple[str, str], entry: Entry, key: str, headers: Mapping[str, str]
) -> bool:
    """Store a letter and acknowledge its entry in one step.

    Args:
        link: Where.
        place: The group, and the name under which this process reads.
        entry: What nobody can handle.
        key: Of the letters.
        headers: Of the letter.

    Returns:
        Whether it was stored; not if the entry is acknowledged already.

    Raises:
        OutboxError: Another reader has the entry, or the server is away, full, or refuses.
    """
    names = [name for name in headers if name != MSG_ID]
    if len(names) > MOST_FIELDS:
        names.sort(key=lambda name: not name.lower().startswith(PREFIX))
        log.warning(
            "%s: entry %s has %d fields, its dead letter the first %d: a script stores no more",
            link.where, entry.id.decode(), len(names), MOST_FIELDS,
        )  # fmt: skip
    fields: list[bytes] = []
    for name in names[:MOST_FIELDS]:
        fields += [each.encode("utf-8", "surrogateescape") for each in (name, headers[name])]
    found = await link.run_over(
        [entry.stream, key], LETTER, *place, entry.id, MOST_LETTERS,
        *fields, DATA_FIELD, entry.data,
    )  # fmt: skip
    if found == b"TAKEN":
        raise RedisError(f"{link.where}: another reader has taken the entry over")
    if found == b"TYPE":
        raise RedisError(
            f"{link.where}: key {key} holds something other than a stream, wanted one for dead "
            "letters: choose another name, or DEL it when nobody needs it",
            reason=Reason.KEY_OF_OTHER_TYPE,
        )
    if found == b"FULL":
        raise RedisError(
            f"{link.where}: key {key} holds {MOST_LETTERS} dead letters, and no more are "
            "stored: handle them, and XTRIM it",
            reason=Reason.STREAM_REFUSED,
        )
    return bool(found != b"DONE")
