"""Database, journal and stream compared: what was lost, invented, doubled, reordered. Pure.

Called by `delivery.run` once everything is healed and at rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from delivery.expected import Form, Row, Stored, differences, subject_of
from delivery.journal import Fate

EXAMPLES: Final = 5
CHECKS: Final = (
    "lost", "buried", "phantom", "duplicate", "reordered", "altered", "misnumbered",
    "unchained", "unjournaled",
)  # fmt: skip
"""What can be wrong:

lost: a committed event is neither in the stream nor among the dead letters; where the stream drops
    messages by itself, one that should be left.
buried: a dead letter of an event that nothing is wrong with.
phantom: a message of no committed event.
duplicate: a further message of an event that has one.
reordered: an event comes after one of its key that was committed later.
altered: subject, headers or payload are not what the row says.
misnumbered: the emission numbers of a shard are not 1, 2, 3 … in stream order; where gaps are
    allowed, do not grow.
unchained: a gap in the numbers of a shard is not said to be meant, by the name of an earlier number
    that the stream took; a reader would take it for a loss.
unjournaled: the database disagrees with the writers or the ledger, so nothing else can be trusted.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised of a stream; by default all there is.

    Attributes:
        drops: It drops the oldest messages, or the oldest of a subject.
        last_of_key: The last message of each key stays nevertheless.
        ordered: Events of a key are in order.
        numbered: Emission numbers have no gaps.
        chained: The message behind a gap says that it is meant.
        once: No event is stored a second time.
        blocks: A dead letter takes later events of its key along.
    """

    drops: bool = False
    last_of_key: bool = False
    ordered: bool = True
    numbered: bool = True
    chained: bool = True
    once: bool = True
    blocks: bool = True


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
    promise: Promise = Promise(),
    *,
    letters: Mapping[str, str] = MappingProxyType({}),
    poison: Set[str] = frozenset(),
) -> Verdict:
    """Compare.

    Args:
        rows: Every committed row.
        messages: Every message, in stream order.
        fates: What the writers know, by event id.
        letters: Reasons of dead letters, by event id.
        poison: Events that no message can be made of.
    """
    verdict = Verdict()
    by_id = {row.message_id: row for row in rows}
    _journal(verdict, by_id, fates)
    first: dict[str, Stored] = {}
    for message in messages:
        event = message.event
        row = by_id.get(event)
        if row is None:
            fate = fates.get(event)
            said = f"its writer says: {fate.value}" if fate else "nobody wrote it"
            verdict.add("phantom", f"{_show(message)}: no committed row has this id; {said}")
            continue
        if event in first:
            if promise.once:
                seen = first[event].sequence
                verdict.add("duplicate", f"{_show(message)}: first at sequence {seen}")
            continue
        first[event] = message
        for difference in differences(row, message, form):
            verdict.add("altered", f"{_show(message)}: {difference}")
    _letters(verdict, by_id, letters, poison, blocks=promise.blocks)
    wanted = _left(rows, first, form, promise) if promise.drops else rows
    for row in wanted:
        if row.message_id not in first and row.event_id not in letters:
            verdict.add(
                "lost",
                f"event {row.event_id} position {row.position} shard {row.shard} "
                f"key {row.key[:40]!r} version {row.version}, committed {row.created_at}",
            )
    if promise.ordered:
        _order(verdict, first, by_id)
    _numbers(verdict, messages, gaps=not promise.numbered)
    _chain(verdict, messages, gaps=promise.drops or not promise.chained)
    return verdict


def _left(
    rows: Sequence[Row], stored: Mapping[str, Stored], form: Form, promise: Promise
) -> list[Row]:
    """Rows whose messages must be left: all that came after one of their key that is."""
    versions: dict[tuple[str, str], int] = {}
    newest: dict[str, int] = {}
    for row in rows:
        subject, version = subject_of(row, form), row.version or 0
        newest[row.key] = max(version, newest.get(row.key, 0))
        if row.message_id in stored:
            versions[row.key, subject] = min(version, versions.get((row.key, subject), version))
    return [
        row
        for row in rows
        if row.key and row.version
        and (
            row.version > versions.get((row.key, subject_of(row, form)), row.version)
            or (promise.last_of_key and row.version == newest[row.key])
        )
    ]  # fmt: skip


def _letters(
    verdict: Verdict,
    by_id: Mapping[str, Row],
    letters: Mapping[str, str],
    poison: Set[str],
    *,
    blocks: bool,
) -> None:
    first: dict[str, int] = {}
    for row in by_id.values():
        if row.event_id in letters and row.event_id in poison:
            first[row.key] = min(row.version or 0, first.get(row.key, row.version or 0))
    for event, reason in letters.items():
        if event in poison or (blocks and _overtaken(by_id.get(event), first)):
            continue
        verdict.add("buried", f"event {event}: {reason}")


def _overtaken(row: Row | None, first: Mapping[str, int]) -> bool:
    """Whether a dead letter of its key came before it."""
    if row is None or not row.key or row.version is None:
        return False
    return row.version > first.get(row.key, row.version)


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
    """The ledger's versions count the events of a key in the order in which it was locked.

    Those of a replay begin anew.
    """
    latest: dict[tuple[str, str], tuple[int, Stored]] = {}
    for event, message in first.items():  # in stream order
        row = by_id[event]
        if not row.key or row.version is None:
            continue
        before = latest.get((row.key, row.replay))
        if before is not None and row.version < before[0]:
            verdict.add(
                "reordered",
                f"{_show(message)}: version {row.version} of its key after version {before[0]} "
                f"(sequence {before[1].sequence}, position {before[1].header('Outbox-Position')})",
            )
        else:
            latest[row.key, row.replay] = (row.version, message)


def _numbers(verdict: Verdict, messages: Sequence[Stored], *, gaps: bool) -> None:
    numbers: Counter[str] = Counter()
    for message in messages:
        shard, found = message.header("Outbox-Shard"), message.header("Outbox-Emission")
        numbers[shard] += 1
        if gaps and found.isdecimal() and int(found) > numbers[shard]:
            numbers[shard] = int(found)
        elif found != str(numbers[shard]):
            verdict.add("misnumbered", f"{_show(message)}: wanted emission {numbers[shard]}")
            if found.isdecimal():
                numbers[shard] = int(found)


def _chain(verdict: Verdict, messages: Sequence[Stored], *, gaps: bool) -> None:
    """As a reader does that wants to know whether anything is missing.

    Args:
        gaps: Messages may be missing, so that numbers which are named need not be there.
    """
    taken: dict[str, set[int]] = defaultdict(lambda: {0})
    last: Counter[str] = Counter()
    for message in messages:
        shard, found = message.header("Outbox-Shard"), message.header("Outbox-Emission")
        if not found.isdecimal():
            continue  # which is altered
        number, named = int(found), message.header("Outbox-Predecessor")
        if named and not (named.isdecimal() and int(named) < number):
            verdict.add("unchained", f"{_show(message)}: names {named}")
        elif named and not gaps and int(named) not in taken[shard]:
            verdict.add("unchained", f"{_show(message)}: names {named}, which the stream never had")
        elif not named and not gaps and number > last[shard] + 1:
            verdict.add("unchained", f"{_show(message)}: names none, and behind {last[shard]}")
        taken[shard].add(number)
        last[shard] = max(last[shard], number)


def _show(message: Stored) -> str:
    return (
        f"sequence {message.sequence} event {message.event} "
        f"position {message.header('Outbox-Position')} shard {message.header('Outbox-Shard')} "
        f"emission {message.header('Outbox-Emission')} "
        f"key {message.header('Ce-Partitionkey')[:40]!r}"
    )
