"""What the writers know about the fate of their events. Memory only, nothing of the outbox.

Filled by `delivery.workload`, compared with the database and the stream by `delivery.verdict`.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from delivery.content import Draft


class Fate(enum.Enum):
    """What became of an event, as far as its writer can tell."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"
    """The connection broke while COMMIT was under way: only the database knows."""


def digest(payload: str | bytes) -> bytes:
    """Of a payload's meaning: bytes as they are, JSON without regard to its spelling."""
    if isinstance(payload, str):
        document = json.loads(payload, parse_float=Decimal)
        payload = json.dumps(document, sort_keys=True, default=str).encode()
    return hashlib.blake2b(payload, digest_size=16).digest()


@dataclass(slots=True)
class Journal:
    """Fates by event id, payloads of ordinary events, and how transactions ended.

    Attributes:
        odd: Events that only somebody hostile would write.
        poison: Those of them that may become dead letters.
    """

    fates: dict[str, Fate] = field(default_factory=dict)
    payloads: dict[str, bytes] = field(default_factory=dict)
    transactions: Counter[str] = field(default_factory=Counter)
    odd: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)

    def note(self, drafts: Iterable[Draft], fate: Fate) -> None:
        """Take note of what became of these events."""
        for draft in drafts:
            self.fates[draft.event_id] = fate
            if fate is not Fate.ROLLED_BACK:
                if draft.odd:
                    self.odd.add(draft.event_id)
                else:
                    self.payloads[draft.event_id] = digest(draft.payload)
                if draft.poison:
                    self.poison.add(draft.event_id)

    def count(self, fate: Fate) -> int:
        """Events of that fate."""
        return sum(found is fate for found in self.fates.values())
