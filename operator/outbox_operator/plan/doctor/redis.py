"""What a server of Redis and a stream's keys there say of themselves that is not well. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from outbox_operator.counted import counted
from outbox_operator.plan.amounts import size
from outbox_operator.plan.doctor.findings import Check, Finding, error, info, warning
from outbox_operator.plan.redis.observed import ObservedKey, ObservedServer

_FULL: Final = 0.8
_VERY_FULL: Final = 0.95


def check_server(where: str, server: ObservedServer) -> Iterator[Finding]:
    """Whether it keeps what it acknowledged, and has room.

    Args:
        where: For people: `Redis at redis://redis.redis:6379`.
        server: What it says.
    """
    if not server.appends:
        yield warning(
            Check.COMMITS_NOT_DURABLE, where,
            "appendonly is no: a crash or restart of the server loses what was published since its "
            "last snapshot, or the key itself",
            "appendonly yes and appendfsync always",
            "redis-cli CONFIG SET appendonly yes  # and in its configuration file",
        )  # fmt: skip
    elif server.fsync not in ("", "always"):
        yield info(
            Check.COMMITS_NOT_DURABLE, where,
            f"appendfsync is {server.fsync}: what a crash loses is sent again from rows that are "
            "kept, and readers may see it twice",
            "appendfsync always",
            "redis-cli CONFIG SET appendfsync always  # and in its configuration file",
        )  # fmt: skip
    if server.max_memory and server.used_memory >= _FULL * server.max_memory:
        make = error if server.used_memory >= _VERY_FULL * server.max_memory else warning
        yield make(
            Check.STORAGE, where,
            f"{size(server.used_memory)} of maxmemory {size(server.max_memory)} are taken; without "
            "any, events wait in the outbox",
            remedy="redis-cli INFO memory",
        )  # fmt: skip


def check_keys(keys: Sequence[ObservedKey], most: int) -> Iterator[Finding]:
    """Whether they grow without end, and who keeps what was read.

    Args:
        keys: Of the stream.
        most: maxMessages; 0 or less: no limit.
    """
    for key in keys:
        what = f"key {key.name}"
        if most <= 0:
            held = "" if key.bytes is None else f": {size(key.bytes)} now"
            yield info(
                Check.STREAM_UNLIMITED, what,
                f"has no limit, and keeps what was handled for ever{held}",
                "maxMessages, more than come in your longest outage",
                f"redis-cli XINFO STREAM {key.name}",
            )  # fmt: skip
        for group in key.groups:
            waits = group.pending + (group.lag or 0)
            if most > 0 and waits >= most:
                yield warning(
                    Check.NOBODY_READS, what,
                    f"{counted(waits, 'entry waits', 'entries wait')} for group {group.name}, and "
                    f"{'is' if waits == 1 else 'are'} kept for it beyond maxMessages {most}",
                    "consumers that read and acknowledge, or no such group",
                    f"redis-cli XINFO CONSUMERS {key.name} {group.name}",
                )  # fmt: skip
