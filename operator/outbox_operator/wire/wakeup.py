"""How a transaction that writes events and a sleeping relay find each other: by lock and channel.

The trigger (`plan.postgres.wakeup`) and the relay (`adapters.postgres.wakeup`) must agree on both.
A relay holds the lock of its shard while it sleeps. A writer that cannot share the lock for its
transaction knows that the relay sleeps, and notifies; one that can keeps the relay from falling
asleep until it has committed. Either way no wake-up is lost.
"""

from __future__ import annotations

import hashlib


def wakeup_channel(schema: str) -> str:
    """Name of the channel; the payload of a notification is the shard."""
    digest = hashlib.blake2b(f"outbox wakeup\0{schema}".encode(), digest_size=16).digest()
    return f"outbox_wakeup_{digest[:8].hex()}"
