"""Entries of a pipeline's streams in Redis, for tests that wait for events. Called by `live`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.redis.connection import Wire
from outbox_operator.adapters.redis.entries import content, parse_id
from outbox_operator.adapters.redis.login import RedisLogin

_AT_ONCE: Final = 500
_SOON_SECONDS: Final = 0.02
"""After something came: what is there already comes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry.

    Attributes:
        key: Of the stream it is in.
        id: Of the entry.
        number: The first part of that.
    """

    key: str
    id: str
    number: int
    headers: dict[str, str]
    data: bytes


async def fetch(url: str, keys: Sequence[str], seen: dict[str, str], seconds: float) -> list[Found]:
    """Entries behind those that were seen; waits for the first, then takes what is there.

    Args:
        url: Of the server.
        keys: Of the shards.
        seen: By key the id of the last entry that was seen; brought up to date.
        seconds: How long to wait.
    """
    wire = await Wire.open(RedisLogin(url=url), name="outbox-testing", on_lost=lambda: None)
    found: list[Found] = []
    try:
        while True:
            behind = [seen.get(key, "0-0") for key in keys]
            answer = await wire.ask(
                "read events", "XREAD", "COUNT", _AT_ONCE, "BLOCK", max(1, int(seconds * 1000)),
                "STREAMS", *keys, *behind,
            )  # fmt: skip
            if not answer:
                return found
            for name, entries in answer:
                key = name.decode()
                for entry_id, texts in entries:
                    headers, data = content(key, entry_id, texts)
                    seen[key] = entry_id.decode()
                    number = parse_id(entry_id)[0]
                    found.append(
                        Found(key=key, id=seen[key], number=number, headers=headers, data=data)
                    )
            seconds = _SOON_SECONDS
    finally:
        await wire.close()
