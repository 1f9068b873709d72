"""What a change of the catalogue breaks, and for whom. Pure.

A stream holds events of every age, and consumers of every age read it. So a change is looked at
from two sides: the consumers that run today read what is written tomorrow, and the code of
tomorrow reads what was written until today (a replay, a new consumer, a redelivery). Both are one
question, asked twice by `gaps`: can a reader of one schema read whatever a writer of another
writes? `catalog.reading` answers it for two schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from outbox_operator.catalog.entries import MARK, MARKS
from outbox_operator.catalog.reading import gaps
from outbox_operator.catalog.values import Gap, Rule

Schemas = Mapping[str, Mapping[str, Any]]
"""Documents of `Entry.document` by type."""

RUNNING = "consumers that run today"
REPLAYED = "reading what was written before"


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that a change breaks.

    Attributes:
        type: Of the event.
        path: Field, `lines[].sku`; empty: the event as a whole.
        rule: What kind of change.
        message: What is written and what readers know.
        who: Who breaks.
    """

    type: str
    path: str
    rule: Rule
    message: str
    who: str


def compare(before: Schemas, after: Schemas) -> list[Break]:
    """Return what breaks between two states of a catalogue; empty: nothing.

    A type that is new breaks nobody. One that was deprecated before may go.
    """
    return [one for name in sorted(before) for one in _one(name, before[name], after.get(name))]


def of_before(before: Schemas, after: Schemas) -> list[str]:
    """Return the types of which a catalogue of another release does not say all that is compared:
    a Decimal among texts, keys of dictionaries, what is in a Sequence or a defaultdict."""
    return sorted(name for name in {*before} & {*after} if not _marked(before[name], after[name]))


def _marked(*schemas: Mapping[str, Any]) -> bool:
    return all(one.get(MARK, {}).get("marks") == MARKS for one in schemas)


def _one(name: str, before: Mapping[str, Any], after: Mapping[str, Any] | None) -> Iterator[Break]:
    if after is None:
        if not before.get("deprecated"):
            text = "nobody declares it any longer; declare it deprecated first, or keep it"
            yield Break(name, "", Rule.GONE, text, RUNNING)
        return
    old, new = (one.get(MARK, {}).get("key") for one in (before, after))
    if old != new:
        text = f"the ordering key was {_key(old)} and is {_key(new)}"
        yield Break(name, "", Rule.KEY, text, RUNNING)
    marked = _marked(before, after)
    for gap in gaps(writer=after, reader=before, filled=True, marked=marked):
        yield _of(name, gap, RUNNING)
    for gap in gaps(writer=before, reader=after, filled=False, marked=marked):
        yield _of(name, gap, REPLAYED)


def _of(name: str, gap: Gap, who: str) -> Break:
    return Break(name, gap.path, gap.rule, gap.message, who)


def _key(field: str | None) -> str:
    return "none" if field is None else field
