"""Keys of every advisory lock that this project takes. Pure.

    one bigint    migrations and upkeep of a schema (session), a sleeping shard (session, shared by
                  the trigger), events of one key (transaction), an event written by hand
                  (transaction)
    two integers  relays that are there, and the shards they own (session)

PostgreSQL keeps the two forms apart. Keys are hashes, so that those of two schemas, or of two
purposes, never meet; relay, operator, trigger and library must agree on them for ever.
"""

from __future__ import annotations

import hashlib
from typing import Literal


def schema_lock(purpose: Literal["migrations", "upkeep", "archive"], schema: str) -> int:
    """Key of what one process at a time may do to a schema: 64 bits, signed."""
    return int.from_bytes(_digest(f"{purpose}\0{schema}", 8), signed=True)


def sleep_lock(schema: str, shard: int) -> int:
    """Key of the lock of a sleeping shard: 64 bits, signed; see `wire.wakeup`."""
    # The low byte is the shard's: there are at most 64.
    return (int.from_bytes(_digest(f"wakeup\0{schema}", 16)[:8], signed=True) & ~0xFF) | shard


def event_lock(schema: str, event_id: str) -> int:
    """Key of an event while it is written by hand: 64 bits, signed."""
    return int.from_bytes(_digest(f"event {event_id}\0{schema}", 8), signed=True)


def shard_lock_class(kind: Literal["member", "shard"], schema: str) -> int:
    """First key of the locks of relays: 31 bits; the second is a member's or shard's number."""
    return int.from_bytes(_digest(f"relay {kind}\0{schema}", 4)) >> 1


def key_lock_sql(schema: str, key: str) -> str:
    """An expression that waits for the other transactions writing events of a key, then keeps
    them waiting until the end of this one.

    Who holds the lock before a position is drawn commits its events in the order of positions.

    Args:
        schema: Of the outbox; equal keys of two outboxes do not wait for each other.
        key: SQL expression of type text.
    """
    name = schema.replace("'", "''")
    return f"pg_advisory_xact_lock(hashtextextended({key}, hashtextextended('{name}', 0)))"


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(f"outbox {text}".encode(), digest_size=size).digest()
