"""What one run is made of. A seed gives the same transactions and the same schedule of faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from delivery.content import PayloadType
from delivery.expected import Form
from delivery.verdict import Promise
from delivery.worlds import WORLDS, World
from support.relaying import NAMESPACE, PIPELINE

_USUAL_WINDOW: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run.

    Attributes:
        seconds: How long writers write and faults happen.
        servers: One nats-server, or three with a stream of three replicas.
        replicas: Relay processes.
        writers: Most writers at a time; how many there are changes every few seconds.
        rate: Events a second that all writers together aim at.
        hold_seconds: Longest time a transaction is held open.
        wave: Events of a large transaction every five seconds; 0: none.
        sink: Where relays publish to; a Redis is one server.
        publishing: In fast-ingest batches, or in a window of single messages.
        duplicate_window_seconds: Of the stream.
        faults: Kinds of faults that may happen; empty: all, see `delivery.schedule`.
        pace: How much more often than usual faults happen.
        plant: Name of a planted bug, see `delivery.planted`; empty: the relay as it is.
        world: What is special about stream, rows and faults.
        patience_seconds: How long nothing may move before somebody is taken to be stuck.
        last_restart: End with a kill -9 of every relay at the very moment the last event is in the
            stream, and no memory of ids in the server.
    """

    seed: int
    seconds: float = 60.0
    servers: Literal["single", "cluster"] = "single"
    replicas: int = 1
    shards: int = 1
    payload_type: PayloadType = "jsonb"
    publishing: Literal["fast", "window"] = "fast"
    sink: Literal["jetstream", "redis"] = "jetstream"
    writers: int = 64
    rate: float = 600.0
    hold_seconds: float = 12.0
    wave: int = 0
    duplicate_window_seconds: float = _USUAL_WINDOW
    faults: tuple[str, ...] = ()
    pace: float = 1.0
    plant: str = ""
    world: World = WORLDS["plain"]
    patience_seconds: float = 60.0
    last_restart: bool = True

    @property
    def subject(self) -> str:
        """Template behind the stream's own prefix."""
        end = "{partition_key}" if self.world.by_key else "{event_type}"
        return "{shard}." + end if self.shards > 1 else end

    @property
    def promise(self) -> Promise:
        """What must be true of the stream."""
        world = self.world
        return Promise(
            drops=world.drops,
            last_of_key=world.last_of_key,
            ordered=world.ordering == "PerKey",
            numbered=world.numbered,
            # Without order and batches an event that was refused is behind those sent after it.
            chained=world.ordering == "PerKey" or self.publishing == "fast",
            once=world.once,
            blocks=world.on_poison == "BlockKey",
        )

    @property
    def ids(self) -> bool:
        """Whether every message has to have an id, since a second copy may come."""
        world = self.world
        tells = world.exact and not world.drops and world.stream.get("discard") != "New"
        fast = self.publishing == "fast" and self.duplicate_window_seconds == _USUAL_WINDOW
        return self.sink == "jetstream" and not (tells and fast)

    def form(self, prefix: str) -> Form:
        """What messages must look like."""
        key = f"{prefix}.{{shard}}" if self.shards > 1 else prefix
        return Form(
            subject=key if self.sink == "redis" else f"{prefix}.{self.subject}",
            source=f"/{NAMESPACE}/{PIPELINE}",
            content_type={
                "jsonb": "application/json",
                "bytea": "application/octet-stream",
            }[self.payload_type],
            ids=self.ids,
        )
