"""Of two resources that claim one thing the older one has it."""

from __future__ import annotations

from typing import Any

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import parse_meta
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.reconcile.claims import Claims, server_identity

CLAIM = ("nats:4222", "ORDERS")


def body(name: str, created: str, **metadata: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "n",
        "uid": name,
        "creationTimestamp": created,
        **metadata,
    }
    return {"kind": "EventStream", "metadata": metadata}


OLD, NEW = body("old", "2026-01-01T00:00:00Z"), body("new", "2026-01-02T00:00:00Z")


def rival(me: dict[str, Any], *others: dict[str, Any]) -> str | None:
    claims = Claims(ConditionType.STREAM_READY)
    for one in (me, *others):
        claims.set(one["metadata"]["uid"], CLAIM)
    return claims.rivals(parse_meta(me), [me, *others], CLAIM).older


def test_the_younger_is_told_who_it_lost_to() -> None:
    assert rival(NEW, OLD) == "EventStream/n/old"


def test_the_older_keeps_it() -> None:
    assert rival(OLD, NEW) is None


def test_the_older_is_told_who_must_yield() -> None:
    claims = Claims(ConditionType.STREAM_READY)
    for one in (OLD, NEW):
        claims.set(one["metadata"]["uid"], CLAIM)
    assert claims.rivals(parse_meta(OLD), [OLD, NEW], CLAIM).younger == {"new"}


def test_a_rival_that_is_being_deleted_does_not_count() -> None:
    gone = body("old", "2026-01-01T00:00:00Z", deletionTimestamp="2026-01-03T00:00:00Z")
    assert rival(NEW, gone) is None


def test_equal_age_is_decided_by_the_uid() -> None:
    a, b = body("a", "2026-01-01T00:00:00Z"), body("b", "2026-01-01T00:00:00Z")
    assert (rival(a, b), rival(b, a)) == (None, "EventStream/n/a")


def test_of_one_second_the_one_that_has_it_keeps_it() -> None:
    a, b = body("a", "2026-01-01T00:00:00Z"), body("b", "2026-01-01T00:00:00Z")
    b["status"] = {"conditions": [{"type": "StreamReady", "status": "True"}]}
    assert (rival(a, b), rival(b, a)) == ("EventStream/n/b", None)


def test_a_changed_claim_frees_the_old_one() -> None:
    claims = Claims(ConditionType.STREAM_READY)
    claims.set("old", CLAIM)
    claims.set("old", ("nats:4222", "OTHER"))
    assert claims.rivals(parse_meta(NEW), [OLD, NEW], CLAIM).older is None


def test_one_server_under_several_spellings() -> None:
    one = NatsConnection(url="nats://A.example:4222,nats://b:4222")
    same = NatsConnection(url="nats://b:4222,tls://a.example:4222")
    other = NatsConnection(url="nats://b:4222,tls://a.example:4222", domain="leaf")
    assert server_identity(one) == server_identity(same) != server_identity(other)


def test_who_is_left_is_told_when_a_rival_goes() -> None:
    claims = Claims(ConditionType.STREAM_READY)
    for one in (OLD, NEW):
        claims.set(one["metadata"]["uid"], CLAIM)
    assert claims.drop("old") == {"new"}
    assert claims.drop("new") == frozenset()
    assert claims.drop("never seen") == frozenset()
