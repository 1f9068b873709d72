"""How a transaction that writes events and a sleeping relay find each other: lock and channel.

The trigger (`plan.postgres_wakeup`) and the relay (`adapters.outbox_wakeup`) must agree on both.
A relay holds the lock of its shard while it sleeps. A writer that cannot share the lock for its
transaction knows that the relay sleeps, and notifies; one that can keeps the relay from falling
asleep until it has committed. Either way no wake-up is lost.
"""

from __future__ import annotations

import hashlib


def wakeup_channel(schema: str) -> str:
    """Name of the channel; the payload of a notification is the shard."""
    return f"outbox_wakeup_{_digest(schema)[:8].hex()}"


def sleep_lock(schema: str, shard: int) -> int:
    """Key of the advisory lock of a sleeping shard: 64 bits signed, unlike any other of ours."""
    # The low byte is the shard's: there are at most 64.
    return (int.from_bytes(_digest(schema)[:8], signed=True) & ~0xFF) | shard


def _digest(schema: str) -> bytes:
    return hashlib.blake2b(f"outbox wakeup\0{schema}".encode(), digest_size=16).digest()
