"""What writers write: transactions drawn from a seed. Pure, so a seed gives the same ones again.

Called by `delivery.workload`. Keys, types, headers and payloads are chosen to be awkward: what a
JSON document, a subject token or a header can hold, some event here holds it.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from delivery import fuzz

PayloadType = Literal["jsonb", "bytea"]

TYPES: Final = (
    "order.created", "order.paid", "order.shipped", "x", "größe.geändert", "two words",
    "stars.*.>", "dots..end.", "per%cent%41", "fox.🦊",
)  # fmt: skip
ODD_KEYS: Final = (
    "Ключ-7", "a b", "a.b.c", "*", ">", "100%", '"quoted"', "line\nbreak", "tab\there",
    "🦊🦊", "k" * 300, "'; DROP TABLE x; --", "CaSe", "case",
)  # fmt: skip
ROUTING_KEYS: Final = ("eu.west", "eu west", "a.*.b", "ROUTE", "größe", "")
TEXTS: Final = (
    '"\\/\b\f\n\r\t',
    "\u2028",
    "",
    "plain",
    "naïve café",
    "zażółć gęślą jaźń",
    "日本語",
    "🦊",
)
NUMBERS: Final = ("0", "-1", "1.10", "12345678901234567890.123456789", "0.000001", "-2.50")
KEYS: Final = 96
LARGEST_BYTES: Final = 64 * 1024
BURST_EVENTS: Final = 400
WAVE_KEYS: Final = 16


@dataclass(frozen=True, slots=True)
class Draft:
    """One event as an application would write it; `key` empty means keyless.

    Attributes:
        odd: Whether only somebody hostile would write it.
        poison: Whether it may become a dead letter: in most worlds no message can be made of it.
    """

    event_id: str
    event_type: str
    key: str
    routing_key: str | None
    payload: str | bytes
    headers: str
    odd: bool = False
    poison: bool = False


@dataclass(frozen=True, slots=True)
class Emit:
    """Lock the aggregate of the event, change it, write the event."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the transaction open and do nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Savepoint:
    """Steps under a savepoint, which is released or rolled back at the end."""

    steps: tuple[Step, ...]
    release: bool


@dataclass(frozen=True, slots=True)
class Bulk:
    """Lock the aggregates of all these events, then write them at once."""

    drafts: tuple[Draft, ...]


Step = Emit | Hold | Savepoint | Bulk


@dataclass(frozen=True, slots=True)
class Transaction:
    """Steps and how they end.

    Attributes:
        pause: Seconds to rest afterwards, in units of the writer's pace.
    """

    steps: tuple[Step, ...]
    commit: bool
    pause: float

    def drafts(self) -> Iterator[Draft]:
        """Every event it writes, kept or not."""
        stack: list[Step] = list(self.steps)
        while stack:
            step = stack.pop()
            if isinstance(step, Emit):
                yield step.draft
            elif isinstance(step, Bulk):
                yield from step.drafts
            elif isinstance(step, Savepoint):
                stack.extend(step.steps)


def key(number: int) -> str:
    """One of `KEYS` keys; the first few are odd."""
    return ODD_KEYS[number] if number < len(ODD_KEYS) else f"order-{number}"


class Author:
    """Draws the transactions of one writer.

    Args:
        hold_seconds: Longest time a transaction is held open.
        hostile: Share of events that no ordinary application writes.
        fuzz: Whether these are drawn column by column.
    """

    def __init__(
        self,
        seed: int,
        writer: int,
        payload_type: PayloadType,
        hold_seconds: float,
        hostile: float = 0.0,
        *,
        fuzz: bool = False,
    ):
        self._random = random.Random(f"{seed}/writer/{writer}")
        self._payload_type = payload_type
        self._hold_seconds = hold_seconds
        self._hostile = hostile
        self._fuzz = fuzz

    def transactions(self) -> Iterator[Transaction]:
        """One after the other, without end."""
        while True:
            yield self._transaction()

    def waves(self, count: int) -> Iterator[Transaction]:
        """Large transactions, over keys of their own."""
        while True:
            drafts = tuple(self._draft(f"wave-{n % WAVE_KEYS}") for n in range(count))
            yield Transaction((Bulk(drafts),), self._random.random() > 0.1, 0.0)

    def _transaction(self) -> Transaction:
        draw = self._random
        dice = draw.random()
        held = 0.004 < dice < 0.008
        count = 1 + int(draw.expovariate(0.6))
        if dice < 0.004:
            count = draw.randint(BURST_EVENTS // 4, BURST_EVENTS)
        # A few keys are popular, so that writers meet; not those of a transaction that stays
        # open, or all would wait for it.
        keys = [int(KEYS * draw.random() ** (0.2 if held else 1.6)) for _ in range(count)]
        if draw.random() < 0.95:
            keys.sort()  # those that are not may end in a deadlock, which is a rollback
        drafts = [self._draft("" if draw.random() < 0.1 else key(number)) for number in keys]
        steps = self._structure(drafts)
        if held:
            place = draw.randint(0, len(steps))
            steps.insert(place, Hold(draw.uniform(0.3, 1.0) * self._hold_seconds))
        elif dice < 0.1:
            steps.insert(draw.randint(0, len(steps)), Hold(draw.uniform(0.001, 0.05)))
        return Transaction(tuple(steps), draw.random() > 0.12, count * draw.expovariate(1.0))

    def _structure(self, drafts: list[Draft], depth: int = 0) -> list[Step]:
        """The events in order, some of them under savepoints, which may be nested."""
        draw = self._random
        steps: list[Step] = []
        while drafts:
            if depth < 3 and draw.random() < 0.15:
                inside = [drafts.pop(0) for _ in range(min(len(drafts), draw.randint(1, 3)))]
                inner = tuple(self._structure(inside, depth + 1))
                steps.append(Savepoint(inner, release=draw.random() < 0.5))
            else:
                steps.append(Emit(drafts.pop(0)))
        return steps

    def _draft(self, key: str) -> Draft:
        draw = self._random
        if self._hostile and draw.random() < self._hostile:
            jsonb = self._payload_type == "jsonb"
            changes = fuzz.changes(draw, jsonb=jsonb) if self._fuzz else None
            return hostile(draw, key, self._payload_type, changes)
        return Draft(
            event_id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            event_type=draw.choice(TYPES) if draw.random() < 0.2 else TYPES[draw.randrange(3)],
            key=key,
            routing_key=draw.choice(ROUTING_KEYS) if draw.random() < 0.05 else None,
            payload=self._payload(),
            headers=self._headers(),
        )

    def _size(self) -> int:
        draw = self._random
        dice = draw.random()
        if dice < 0.005:
            return draw.randint(8192, LARGEST_BYTES - 1024)
        return draw.randint(1024, 8192) if dice < 0.05 else draw.randint(0, 300)

    def _payload(self) -> str | bytes:
        draw = self._random
        if self._payload_type == "bytea":
            return draw.randbytes(self._size())
        if draw.random() < 0.05:
            return draw.choice(("null", "0", '""', "[]", "{}", "true", '"text"', NUMBERS[3]))
        pad = base64.b64encode(draw.randbytes(self._size() * 3 // 4)).decode()
        return (
            f'{{"z": {draw.choice(NUMBERS)}, "text": {json.dumps(draw.choice(TEXTS))}, '
            f'"né": [{draw.randint(0, 10**9)}, null, {{}}], "pad": "{pad}"}}'
        )

    def _headers(self) -> str:
        draw = self._random
        if draw.random() > 0.1:
            return "{}"
        found = {
            "traceparent": f"00-{draw.getrandbits(128):032x}-{draw.getrandbits(64):016x}-01",
            "X-Tenant": draw.choice(("acme", "größe GmbH", "日本", "a: b; c", "")),
            "x-!#$%&'*+.^_`|~": "odd name",
            "Content-Type": "application/vnd.order+json",
        }
        chosen = [name for name in found if draw.random() < 0.5]
        return json.dumps({name: found[name] for name in chosen})


def hostile(
    draw: random.Random,
    key: str,
    payload_type: PayloadType,
    changes: Mapping[str, Any] | None = None,
) -> Draft:
    """An event with something in it that is absurd, and that a table may hold all the same.

    Args:
        changes: What; None: something.
    """
    draft = Draft(
        event_id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        event_type="order.odd",
        key=key,
        routing_key=None,
        payload='{"odd": true}' if payload_type == "jsonb" else b"odd\x00\xff",
        headers="{}",
        odd=True,
    )
    return replace(draft, **(draw.choice(HOSTILE[payload_type]) if changes is None else changes))


_POISON_HEADERS: Final = (
    '{"x": 1e5000}',
    '{"x": ' + "[" * 3000 + "]" * 3000 + "}",
    '{"x": "' + "y" * 70_000 + '"}',
    '{"Nats-Msg-Id": "mine"}',
    '{"x": "two\\r\\nlines"}',
    '{"Status": "503"}',
    '{"": "no name"}',
    '{"x": null}',
    "[]",
    '"text"',
)
_ODD: Final[tuple[dict[str, Any], ...]] = (
    *({"headers": headers, "poison": True} for headers in _POISON_HEADERS),
    {"event_type": "t" * 1020, "poison": True},
    {"routing_key": "r." * 600, "poison": True},
    {"key": "K" * 3000, "poison": True},
    {"event_type": "..."},
    {"event_type": "\x01\x1f\x7f\n"},
    {"event_type": "\u2028\ufeff\U0010ffff"},
    {"routing_key": " "},
)
HOSTILE: Final[dict[PayloadType, tuple[dict[str, Any], ...]]] = {
    "jsonb": (
        *_ODD,
        {"payload": "[1e131071]"},
        {"payload": "[" * 2000 + "]" * 2000},
        {"payload": '"' + "z" * 1_100_000 + '"', "poison": True},
        {"payload": "[" + ",".join(["1e131071"] * 9) + "]", "poison": True},
        {"payload": "[" + ",".join(["1e131071"] * 9000) + "]", "poison": True},
    ),
    "bytea": (
        *_ODD,
        {"payload": b"\x00" * 5000},
        {"payload": b"\xff\xfe not UTF-8"},
        {"payload": b"z" * 1_100_000, "poison": True},
    ),
}
"""What differs from an ordinary event; where `poison` is not said it must arrive."""
