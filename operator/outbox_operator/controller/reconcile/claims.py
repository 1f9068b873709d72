"""Who claims what: two resources that name one stream, durable consumer or table.

The older one keeps it; the other is told who it lost to. A claim is known once its resource has
had a pass. Across operators and after restarts the mark on what is claimed decides as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta, parse_meta
from outbox_operator.api.v1alpha1.common import NatsConnection

Claim = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rivals:
    """Other resources with the same claim.

    Attributes:
        older: `Kind/namespace/name` of the oldest one that is older; it keeps what both claim.
        younger: UIDs of those that must yield, even where it carries their mark.
    """

    older: str | None = None
    younger: frozenset[str] = frozenset()


class Claims:
    """Claims of the resources of one kind, by UID.

    Args:
        held: Condition that is True on the resource that has what it claims.
    """

    def __init__(self, held: ConditionType) -> None:
        self._held = held
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
        ranks = {
            body["metadata"]["uid"]: (self._rank(body), parse_meta(body))
            for body in bodies
            if body["metadata"].get("uid") in others | {meta.uid}
            and not body["metadata"].get("deletionTimestamp")
        }
        if meta.uid not in ranks:
            return Rivals()
        mine = ranks.pop(meta.uid)[0]
        older = [(rank, other.key) for rank, other in ranks.values() if rank < mine]
        return Rivals(
            older=min(older)[1] if older else None,
            younger=frozenset(uid for uid, (rank, _) in ranks.items() if rank > mine),
        )

    def _rank(self, body: Mapping[str, Any]) -> tuple[str, bool, str]:
        """Sort claimants: the older first; of one second the one that has it; the UID.

        Creation times have whole seconds: without the middle part a newcomer of the same second
        could take a stream from a pipeline at work.
        """
        metadata = body["metadata"]
        conditions = (body.get("status") or {}).get("conditions") or ()
        has_it = any(c["type"] == self._held and c["status"] == "True" for c in conditions)
        return (metadata.get("creationTimestamp") or "", not has_it, metadata["uid"])


def server_identity(nats: NatsConnection) -> str:
    """Two connections with equal identity reach the same JetStream, as far as text can tell."""
    servers = sorted(part.split("://", 1)[1].lower() for part in nats.url.split(","))
    return ",".join(servers) + (f"/{nats.domain}" if nats.domain else "")
