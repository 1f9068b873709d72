"""A server of Redis and a key in it, as they were found. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.plan.state import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedServer:
    """What a server says of itself.

    Attributes:
        product: `Redis` or `Valkey`.
        version: As it says it.
        compatible: Version of Redis whose commands it has.
        writes: Whether it takes writes; a replica does not.
        policy: maxmemory-policy; empty: it does not say.
        used_memory: Bytes.
        max_memory: Bytes; 0: no limit.
        appends: Whether it writes each command to a file.
        fsync: appendfsync; empty: the user may not ask.
        replicas: That are connected.
    """

    product: str = "Redis"
    version: str = ""
    compatible: tuple[int, ...] = ()
    writes: bool = True
    policy: str = ""
    used_memory: int = 0
    max_memory: int = 0
    appends: bool = False
    fsync: str = ""
    replicas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedGroup:
    """A consumer group of a key.

    Attributes:
        name: Its name.
        pending: Entries given out and not acknowledged.
        lag: Entries not given out yet; None: the server does not know.
        delivered: First part of the id of the last entry that it gave out.
    """

    name: str
    pending: int = 0
    lag: int | None = None
    delivered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedKey:
    """A key, with the mark that is beside it.

    Attributes:
        name: The key.
        kind: What it holds, in Redis's word: `stream`, `none`, `hash`, …
        created: When its stream was made; None: nobody noted that.
        mark: Whose it says it is.
        entries: In it.
        bytes: That it takes; None: the server does not say.
        first_id: First part of the first entry's id.
        last_id: Of the last id that it ever had.
        is_spent: Whether somebody has published with so large an id that no event can follow.
        removed: Entries that others than the operator have ever removed; None: not known.
        groups: Who reads it.
    """

    name: str
    kind: str = "stream"
    created: str | None = None
    mark: Owner | None = None
    entries: int = 0
    bytes: int | None = None
    first_id: int = 0
    last_id: int = 0
    is_spent: bool = False
    removed: int | None = None
    groups: tuple[ObservedGroup, ...] = ()
