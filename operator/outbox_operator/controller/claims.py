"""Who claims what: two resources that name one stream, durable consumer or table.

The older one keeps it; the other is told who it lost to. A claim is known once its resource has
had a pass. Across operators and after restarts the mark on the thing itself decides as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from outbox_operator.api.resource import Meta, parse_meta
from outbox_operator.api.v1alpha1.common import NatsConnection

Claim = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rivals:
    """Other resources with the same claim.

    Attributes:
        older: `Kind/namespace/name` of the oldest one that is older; it keeps the thing.
        younger: UIDs of those that must yield, even where their mark is on the thing.
    """

    older: str | None = None
    younger: frozenset[str] = frozenset()


class Claims:
    """Claims of the resources of one kind, by UID."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._holders: dict[Claim, set[str]] = {}

    def set(self, uid: str, claim: Claim) -> None:
        """What a resource claims now; replaces what it claimed before."""
        if self._claims.get(uid) == claim:
            return
        self.drop(uid)
        self._claims[uid] = claim
        self._holders.setdefault(claim, set()).add(uid)

    def drop(self, uid: str) -> frozenset[str]:
        """The resource is gone, or claims something else; UIDs of those that claim the same."""
        claim = self._claims.pop(uid, None)
        if claim is None:
            return frozenset()
        holders = self._holders[claim]
        holders.discard(uid)
        if not holders:
            del self._holders[claim]
        return frozenset(holders)

    def rivals(self, meta: Meta, bodies: Iterable[Mapping[str, Any]], claim: Claim) -> Rivals:
        """Who else claims the same, older and younger than `meta`."""
        others = self._holders.get(claim, set()) - {meta.uid}
        if not others:
            return Rivals()
        found = [
            parse_meta(body)
            for body in bodies
            if body["metadata"].get("uid") in others
            and not body["metadata"].get("deletionTimestamp")
        ]
        older = [other for other in found if other.seniority < meta.seniority]
        oldest = min(older, key=lambda other: other.seniority, default=None)
        return Rivals(
            older=oldest.key if oldest else None,
            younger=frozenset(other.uid for other in found if other.seniority > meta.seniority),
        )


def server_identity(nats: NatsConnection) -> str:
    """Two connections with equal identity reach the same JetStream, as far as text can tell."""
    servers = sorted(part.split("://", 1)[1].lower() for part in nats.url.split(","))
    return ",".join(servers) + (f"/{nats.domain}" if nats.domain else "")
