"""Which faults happen when: drawn from a seed, before anything runs. Pure.

Called by `delivery.run`. Each thing that can break has a lane of its own. In a lane one fault
follows another; between lanes they overlap as they like.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Lane = Literal["relay", "postgres-link", "nats-link", "broker", "postgres"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        weight: How often, compared with the others of its lane.
        shortest, longest: Seconds until it is healed.
    """

    name: str
    lane: Lane
    weight: float
    shortest: float
    longest: float


KINDS: Final = (
    Kind("relay-kill", "relay", 5, 0.0, 2.0),  # kill -9, started again
    Kind("relay-away", "relay", 1, 3.0, 20.0),  # the same, and back much later
    Kind("relay-terminate", "relay", 2, 0.0, 2.0),  # SIGTERM, started again when it has ended
    Kind("relay-freeze", "relay", 2, 0.2, 20.0),  # SIGSTOP, then SIGCONT
    Kind("relay-zombie", "relay", 4, 0.2, 14.0),  # the same, and PostgreSQL ends its sessions
    Kind("postgres-link-cut", "postgres-link", 3, 0.0, 0.0),  # connections reset
    Kind("postgres-link-slow", "postgres-link", 2, 1.0, 6.0),
    Kind("postgres-link-hold", "postgres-link", 2, 0.5, 15.0),  # nothing passes, then all of it
    Kind("postgres-link-lose", "postgres-link", 1, 0.5, 12.0),  # nothing passes, then reset
    Kind("nats-link-cut", "nats-link", 3, 0.0, 0.0),
    Kind("nats-link-slow", "nats-link", 2, 1.0, 6.0),
    Kind("nats-link-hold", "nats-link", 3, 0.5, 15.0),
    Kind("nats-link-lose", "nats-link", 1, 0.5, 12.0),
    Kind("broker-kill", "broker", 3, 0.0, 3.0),  # kill -9, started again; cluster: any server
    Kind("broker-rollback", "broker", 3, 1.0, 8.0),  # kill -9, and its store is an earlier copy
    Kind("broker-freeze", "broker", 1, 0.5, 8.0),
    Kind("leader-kill", "broker", 4, 0.0, 3.0),  # cluster: the server that leads the stream
    Kind("postgres-crash", "postgres", 2, 0.0, 1.0),  # immediate shutdown, recovery at the start
    Kind("postgres-evict", "postgres", 1, 0.0, 0.0),  # every session of a relay is terminated
)

LANES: Final = {kind.name: kind.lane for kind in KINDS}

_GAP_SECONDS: Final[dict[Lane, float]] = {
    "relay": 7.0, "postgres-link": 14.0, "nats-link": 12.0, "broker": 12.0, "postgres": 15.0,
}  # fmt: skip
"""Mean seconds between the end of one fault of a lane and the next."""
QUIET_SECONDS: Final = 1.0
"""At the start, so that there is something to break."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        at: Seconds after the start.
        kind: Name of a `Kind`.
        target: Number of the relay it happens to; of the server, in the lanes of servers.
        seconds: Until it is healed.
        dice: Between 0 and 1, for whatever else the fault must choose.
    """

    at: float
    kind: str
    target: int
    seconds: float
    dice: float


def draw(
    seed: int,
    seconds: float,
    *,
    replicas: int,
    cluster: bool,
    rollbacks: bool = False,
    outages: bool = True,
    only: Sequence[str] = (),
    pace: float = 1.0,
) -> list[Fault]:
    """The faults of a run in order of time.

    Args:
        rollbacks: Whether the broker may forget what it acknowledged.
        outages: Whether it may die.
        only: Names of the kinds that may happen; empty: all.
        pace: How much more often than usual they happen.

    Raises:
        ValueError: A name in `only` is no kind of fault.
    """
    unknown = set(only) - {kind.name for kind in KINDS}
    if unknown:
        names = ", ".join(kind.name for kind in KINDS)
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {names}")
    faults = []
    for lane, gap in _GAP_SECONDS.items():
        kinds = [
            kind
            for kind in KINDS
            if kind.lane == lane
            and (not only or kind.name in only)
            and (cluster or kind.name != "leader-kill")
            and (kind.name != "broker-rollback" or (rollbacks and not cluster))
            and (outages or kind.name not in ("broker-kill", "leader-kill"))
        ]
        of_relays = lane not in ("broker", "postgres")
        for target in range(replicas if of_relays else 1):
            dice = random.Random(f"{seed}/{lane}/{target}")
            faults += _lane(dice, kinds, target, gap / pace, seconds)
    return sorted(faults, key=lambda fault: fault.at)


def _lane(
    dice: random.Random, kinds: Sequence[Kind], target: int, gap: float, seconds: float
) -> list[Fault]:
    faults: list[Fault] = []
    now = QUIET_SECONDS
    while kinds:
        now += dice.expovariate(1 / gap)
        (kind,) = dice.choices(kinds, [kind.weight for kind in kinds])
        # Short ones are more interesting: somebody is just about to notice.
        length = kind.shortest + (kind.longest - kind.shortest) * dice.random() ** 2
        if now >= seconds:
            break
        length = min(length, seconds - now)
        faults.append(Fault(now, kind.name, target, length, dice.random()))
        now += length
    return faults
