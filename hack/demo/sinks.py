"""What of the demo differs by where the shop's events go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sink:
    """A broker, with the example that uses it.

    Attributes:
        name: as `make demo SINK=…` takes it, as the field of a pipeline, and as the image of its
            server.
        example: folder of examples/.
        consumers: names of those that note the orders they saw.
        volumes: of a cluster without a storage provisioner: name of the pod -> user id that writes.
        also: images that are built on request.
        steps: commands to try at the end, each with what it shows.
    """

    name: str
    example: str
    consumers: tuple[str, ...]
    volumes: Mapping[str, int]
    also: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]


NATS = Sink(
    name="nats",
    example="shop",
    consumers=("billing", "mailer", "audit"),
    volumes={"postgres": 999, "nats": 65532},
    also=(),
    steps=(
        ("kubectl -n shop describe evc orders-audit", "what is kept, and what is missing"),
        ("kubectl -n shop delete pod nats-0", "break something, then look again"),
    ),
)
REDIS = Sink(
    name="redis",
    example="shop-redis",
    consumers=("billing", "mailer"),
    volumes={"postgres": 999, "redis": 999},
    also=("redis",),
    steps=(
        ("kubectl -n shop exec redis-0 -- redis-cli XINFO GROUPS orders", "both groups, by Redis"),
        ("kubectl -n shop delete pod redis-0", "break something, then look again"),
    ),
)
SINKS = {one.name: one for one in (NATS, REDIS)}
