"""Database, journal and stream compared: what was lost, invented, doubled, reordered. Pure.

Called by `delivery.run` once everything is healed and at rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from delivery.expected import Form, Row, Stored, differences
from delivery.journal import Fate

EXAMPLES: Final = 5
CHECKS: Final = (
    "lost", "phantom", "duplicate", "reordered", "altered", "misnumbered", "unjournaled",
)  # fmt: skip
"""What can be wrong:

lost: a committed event is not in the stream.
phantom: a message of no committed event.
duplicate: a further message of an event that has one.
reordered: an event comes after one of its key that was committed later.
altered: subject, headers or payload are not what the row says.
misnumbered: the emission numbers of a shard are not 1, 2, 3 … in stream order.
unjournaled: the database disagrees with the writers or the ledger, so nothing else can be trusted.
"""


@dataclass(slots=True)
class Verdict:
    """Number of findings and the first examples by check."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, check: str, example: str) -> None:
        """Take note of a finding."""
        self.counts[check] += 1
        if len(self.examples[check]) < EXAMPLES:
            self.examples[check].append(example)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts.total()

    def __str__(self) -> str:
        return ", ".join(f"{check} {self.counts[check]}" for check in CHECKS)


def judge(
    rows: Sequence[Row],
    messages: Sequence[Stored],
    form: Form,
    fates: Mapping[str, Fate],
) -> Verdict:
    """Compare.

    Args:
        rows: Every committed row.
        messages: Every message, in stream order.
        fates: What the writers know, by event id.
    """
    verdict = Verdict()
    by_id = {row.event_id: row for row in rows}
    _journal(verdict, by_id, fates)
    first: dict[str, Stored] = {}
    for message in messages:
        event = message.header("Nats-Msg-Id")
        row = by_id.get(event)
        if row is None:
            fate = fates.get(event)
            said = f"its writer says: {fate.value}" if fate else "nobody wrote it"
            verdict.add("phantom", f"{_show(message)}: no committed row has this id; {said}")
            continue
        if event in first:
            verdict.add("duplicate", f"{_show(message)}: first at sequence {first[event].sequence}")
            continue
        first[event] = message
        for difference in differences(row, message, form):
            verdict.add("altered", f"{_show(message)}: {difference}")
    for row in rows:
        if row.event_id not in first:
            verdict.add(
                "lost",
                f"event {row.event_id} position {row.position} shard {row.shard} "
                f"key {row.key[:40]!r} version {row.version}, committed {row.created_at}",
            )
    _order(verdict, first, by_id)
    _numbers(verdict, messages)
    return verdict


def _journal(verdict: Verdict, by_id: Mapping[str, Row], fates: Mapping[str, Fate]) -> None:
    for event, fate in fates.items():
        if fate is Fate.COMMITTED and event not in by_id:
            verdict.add("unjournaled", f"event {event}: committed, but there is no such row")
        elif fate is Fate.ROLLED_BACK and event in by_id:
            verdict.add("unjournaled", f"event {event}: rolled back, but the row is there")
    shards: dict[str, int] = {}
    for row in by_id.values():
        if row.event_id not in fates or row.version is None:
            verdict.add("unjournaled", f"event {row.event_id}: nobody wrote it, or no ledger entry")
        if row.key and (other := shards.setdefault(row.key, row.shard)) != row.shard:
            verdict.add("unjournaled", f"key {row.key!r} is in shards {other} and {row.shard}")


def _order(verdict: Verdict, first: Mapping[str, Stored], by_id: Mapping[str, Row]) -> None:
    """The ledger's versions count the events of a key in the order in which it was locked."""
    latest: dict[str, tuple[int, Stored]] = {}
    for event, message in first.items():  # in stream order
        row = by_id[event]
        if not row.key or row.version is None:
            continue
        before = latest.get(row.key)
        if before is not None and row.version < before[0]:
            verdict.add(
                "reordered",
                f"{_show(message)}: version {row.version} of its key after version {before[0]} "
                f"(sequence {before[1].sequence}, position {before[1].header('Outbox-Position')})",
            )
        else:
            latest[row.key] = (row.version, message)


def _numbers(verdict: Verdict, messages: Sequence[Stored]) -> None:
    numbers: Counter[str] = Counter()
    for message in messages:
        shard, found = message.header("Outbox-Shard"), message.header("Outbox-Emission")
        numbers[shard] += 1
        if found != str(numbers[shard]):
            verdict.add("misnumbered", f"{_show(message)}: wanted emission {numbers[shard]}")
            if found.isdecimal():
                numbers[shard] = int(found)


def _show(message: Stored) -> str:
    return (
        f"sequence {message.sequence} event {message.header('Nats-Msg-Id')} "
        f"position {message.header('Outbox-Position')} shard {message.header('Outbox-Shard')} "
        f"emission {message.header('Outbox-Emission')} "
        f"key {message.header('Ce-Partitionkey')[:40]!r}"
    )
