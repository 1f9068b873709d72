"""Where a stream is, and whether a login leads to where it was. Pure.

A stream that is missing, or another one of its name, was either lost where it was, and is made
again; or the login leads elsewhere: to other servers, or to another account of the same ones. Then
it waits where it was. A status of before that does not say where that is tells nothing: an upgrade
holds nobody up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from outbox_operator.api.v1alpha1.common import NatsConnection, StreamPlace

_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a login leads to.

    Attributes:
        place: Where that is.
        created: When the stream there was created; None: there is none, or nobody says.
        exists: Whether there is a stream of the name.
        other_login: Whether this process saw the stream with another login last.
    """

    place: StreamPlace
    created: str | None = None
    exists: bool = False
    other_login: bool = False


def declared_hash(nats: NatsConnection) -> str:
    """By which a change of a declared connection is told; of references, never of secrets."""
    return hashlib.sha256(nats.model_dump_json().encode()).hexdigest()[:_HASH_LENGTH]


def place_of(nats: NatsConnection, cluster: str | None, account: str | None) -> StreamPlace:
    """Where a declared connection leads.

    Args:
        nats: As declared.
        cluster: Name that the server gives.
        account: Account that the server says.
    """
    return StreamPlace(
        url=nats.url,
        domain=nats.domain,
        cluster=cluster,
        account=account,
        declared=declared_hash(nats),
    )


def is_elsewhere(before: StreamPlace | None, created: str | None, sight: Sight) -> bool:
    """Whether a login leads elsewhere than to a stream that was seen.

    Args:
        before: Where it was seen; None: nobody knows.
        created: When it was created.
        sight: What the login leads to.
    """
    if before is None or (sight.exists and sight.created == created):
        return False
    now = sight.place
    if (before.url, before.domain) != (now.url, now.domain):
        return True
    if _differ(before.cluster, now.cluster) or _differ(before.account, now.account):
        return True
    return sight.other_login and None in (before.account, now.account)


def remembered(before: StreamPlace | None, now: StreamPlace, *, moved: bool) -> StreamPlace:
    """Where the stream is, for the status: what the server does not say this time stays known."""
    if before is None or moved:
        return now
    known = {"cluster": now.cluster or before.cluster, "account": now.account or before.account}
    return now.model_copy(update=known)


def place_text(place: StreamPlace) -> str:
    """For people."""
    more = {"account": place.account, "cluster": place.cluster, "domain": place.domain}
    said = [f"{name} {value}" for name, value in more.items() if value is not None]
    return f"{place.url}, {', '.join(said)}" if said else place.url


def _differ(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other
