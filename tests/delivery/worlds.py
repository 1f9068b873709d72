"""The worlds a run can be in: what its stream is like, its rows, and what may be broken. Pure.

Called by `delivery.__main__`. A world says no more than a resource could: fields of
`spec.stream`, of the relay, and who takes the messages. `random` draws a combination from the
table of options that work (`support.stream_options`), from limits that hurt, and from faults.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from support.stream_options import APART, STREAM

Kind = Literal["", "killers", "raisers", "limited", "unreachable", "foreign", "lanes", "groups"]
Copies = Literal["", "republish", "source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything around the relay that a run does not have by itself.

    Attributes:
        stream: Fields of `spec.stream`.
        by_key: Subjects end with the key instead of the type.
        copies: How a second stream gets what the first one stores; empty: there is none.
        ordering, on_poison, wakeup: Of the relay.
        hostile: Share of events that no ordinary application writes.
        fuzz: Whether these are drawn column by column.
        bulk: Events of a transaction that stays open all the time.
        rollbacks: Whether the store of the broker may be put back to an earlier copy.
        outages: Whether the broker may die.
        replays: Whether history is sent again all the time, by somebody who dies at that.
        audience: Who handles the events of a stream, which is then what the run is about; empty:
            nobody, the run ends at the stream. See `delivery.audience`, `delivery.lanes`,
            `delivery.groups`.
        consumer: Settings of the consumer runtime.
    """

    name: str = "plain"
    stream: Mapping[str, Any] = field(default_factory=dict)
    by_key: bool = False
    copies: Copies = ""
    ordering: Literal["PerKey", "None"] = "PerKey"
    on_poison: Literal["BlockKey", "Skip"] = "BlockKey"
    wakeup: Literal["Never", "WhenIdle"] = "Never"
    hostile: float = 0.0
    fuzz: bool = False
    bulk: int = 0
    rollbacks: bool = False
    outages: bool = True
    replays: bool = False
    audience: Kind = ""
    consumer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def consumed(self) -> bool:
        """Whether what was consumed leaves the stream, so that somebody has to consume."""
        return bool(self.stream.get("retention", "Limits") != "Limits")

    @property
    def drops(self) -> bool:
        """Whether the stream drops messages by itself."""
        names = {"maxAge", "maxBytes", "maxMessages", "maxMessagesPerSubject"}
        return self.stream.get("discard") != "New" and bool(names & set(self.stream))

    @property
    def countable(self) -> bool:
        """Whether the stream counts every event in the end.

        Not where it drops and is put back: what it forgot and would have dropped by now need not
        come again, and its last sequence is the one of before.
        """
        return not (self.drops and self.rollbacks)

    @property
    def last_of_key(self) -> bool:
        """Whether the last message of every key stays."""
        dropping = {"maxAge", "maxBytes", "maxMessages"} & set(self.stream)
        return self.by_key and not dropping and not self.consumed

    @property
    def exact(self) -> bool:
        """Whether an event is stored once although the stream remembers no ids."""
        return not self.consumed and self.copies != "republish" and self.ordering == "PerKey"

    @property
    def once(self) -> bool:
        """Whether no event is stored twice: a server that starts again remembers the ids of what
        is left in the stream, and what was consumed is not."""
        return not (self.consumed and self.outages)

    @property
    def numbered(self) -> bool:
        """Whether emission numbers have no gaps."""
        return not (self.consumed or self.drops or self.rollbacks or self.hostile)

    def described(self) -> str:
        """For people: all that is not as usual."""
        usual = World()
        parts = [
            f"{name}={getattr(self, name)!r}"
            for name in self.__slots__
            if name != "name" and getattr(self, name) != getattr(usual, name)
        ]
        return f"{self.name}: {', '.join(parts) or 'nothing special'}"


WORLDS: Final = {
    world.name: world
    for world in (
        World(),
        World(name="republish", copies="republish"),
        World(name="transform", copies="source"),
        World(name="per-subject", stream={"maxMessagesPerSubject": 1}, by_key=True),
        World(name="small-old", stream={"maxMessages": 200}),
        World(
            name="small-new",
            stream={"maxMessages": 300, "discard": "New", "retention": "WorkQueue"},
        ),
        World(name="rollback", rollbacks=True),
        World(name="replays", replays=True),
        World(name="hostile", hostile=0.05, on_poison="BlockKey"),
        World(name="fuzz", hostile=0.6, fuzz=True, on_poison="Skip"),
        World(name="bulk", bulk=200_000),
        World(name="killers", audience="killers", consumer={"max_deliver": 1}),
        World(name="raisers", audience="raisers"),
        World(name="limited", audience="limited"),
        World(name="unreachable", audience="unreachable"),
        World(name="foreign", audience="foreign"),
        World(name="lanes", audience="lanes"),
        World(name="groups", audience="groups"),
    )
}
"""Each with one thing that is special."""

RANDOM: Final = "random"

_TIGHT: Final[tuple[Mapping[str, Any], ...]] = (
    {"maxMessages": 100},
    {"maxMessages": 5000},
    {"maxBytes": "256Ki"},
    {"maxAge": "3s", "duplicateWindow": "3s"},
    {"maxMessagesPerSubject": 1},
    {"maxMessagesPerSubject": 3},
)
_UNTRIED: Final = {
    # Would break the checker's own reading, or refuse its events; or depends on another stream.
    "maxMessageSize", "maxConsumers", "sources", "retention", "replicas", "discard", "maxAge",
    "discardNewPerSubject", "duplicateWindow", "maxBytes", "maxMessages", "maxMessagesPerSubject",
    "adoptionPolicy", "deadLetter", "storage", "persistMode", "allowMessageTTL", "firstSequence",
    "consumerLimits", "denyPurge",
}  # fmt: skip
"""Fields of the table that are drawn otherwise, or not at all."""


def drawn(seed: int) -> World:
    """A combination of what works; the same for the same seed."""
    draw = random.Random(f"{seed}/world")
    stream: dict[str, Any] = {}
    for option in draw.sample(STREAM, k=len(STREAM)):
        if option.refused or option.field in _UNTRIED or draw.random() < 0.7:
            continue
        names = {*stream, *option.fields}
        if not any(pair <= names for pair in APART) and option.field not in stream:
            stream |= option.fields
    outages = True
    if draw.random() < 0.15 and "allowAtomicPublish" not in stream:
        stream["persistMode"], outages = "Async", False
    elif draw.random() < 0.2:
        stream["storage"], outages = "Memory", False
    by_key = draw.random() < 0.4
    retention = draw.choices(("Limits", "WorkQueue", "Interest"), (7, 2, 1))[0]
    if retention != "Limits":
        stream["retention"] = retention
        if draw.random() < 0.5 and "allowMessageSchedules" not in stream:
            stream |= {"discard": "New", "maxMessages": draw.choice((100, 500))}
    elif draw.random() < 0.5:
        stream |= draw.choice(_TIGHT)
    copying = retention == "Limits" and not set(stream) & {"maxAge", "maxBytes", "maxMessages"}
    copies: Copies = draw.choices(("", "republish", "source"), (6, 2, 2))[0] if copying else ""
    if "maxMessagesPerSubject" in stream and copies == "source":
        copies = ""
    rollbacks = draw.random() < 0.25 and outages and retention == "Limits" and not copies
    if draw.random() < 0.25:
        return World(
            name=RANDOM,
            audience=draw.choice(("killers", "raisers", "limited", "unreachable", "foreign")),
            consumer={
                "max_deliver": draw.choice((1, 3, 5)),
                "concurrency": draw.choice((1, 4, 16)),
                "ordering": draw.choice(("None", "PerKey")),
                "breaker_failures": draw.choice((0, 3, 10)),
                "ack_wait": draw.choice((1.0, 3.0)),
            },
        )
    # Drawn by itself, so that the worlds of before stay what they were.
    replays = random.Random(f"{seed}/replays").random() < 0.25
    if rollbacks or retention != "Limits" or World(stream=stream).drops:
        replays = False
    return World(
        name=RANDOM,
        stream=stream,
        by_key=by_key,
        copies=copies,
        ordering=draw.choices(("PerKey", "None"), (5, 1))[0],
        on_poison=draw.choice(("BlockKey", "Skip")),
        wakeup=draw.choice(("Never", "WhenIdle")),
        hostile=draw.choice((0.0, 0.0, 0.02)),
        fuzz=draw.random() < 0.5,
        bulk=draw.choice((0, 0, 0, 50_000)),
        rollbacks=rollbacks,
        outages=outages,
        replays=replays,
    )


def surroundings(seed: int) -> dict[str, Any]:
    """What a random world is run with, unless the command line says otherwise."""
    draw = random.Random(f"{seed}/surroundings")
    found = {
        "replicas": draw.choice((1, 2, 3)),
        "shards": draw.choice((1, 1, 4, 16)),
        "payload": draw.choice(("jsonb", "bytea")),
        "publishing": draw.choice(("fast", "fast", "window")),
        "servers": draw.choices(("single", "cluster"), (5, 1))[0],
        "pace": draw.choice((1.0, 2.0, 4.0)),
        "wave": draw.choice((0, 0, 0, 3000)),
    }
    if "persistMode" in drawn(seed).stream:  # which a server refuses for replicated streams
        found["servers"] = "single"
    return found


def named(name: str, seed: int) -> World:
    """The world of that name.

    Raises:
        KeyError: There is none.
    """
    return drawn(seed) if name == RANDOM else WORLDS[name]
