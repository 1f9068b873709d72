"""A pass over an EventStream in Redis: what keys lost, and what waits where they were before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream
from outbox_operator.api.v1alpha1.common import StreamPlace
from outbox_operator.api.v1alpha1.redis import (
    RedisConnection,
    RedisGroup,
    RedisKey,
    RedisLeft,
    RedisState,
)
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.errors import RedisError
from outbox_operator.plan.passes.redis_left import Looked, servers_before
from outbox_operator.plan.passes.redis_stream import (
    RedisObserved,
    plan_redis_stream,
    redis_stream_result,
)
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.redis.observed import ObservedGroup, ObservedKey, ObservedServer
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import stamp
from support.passes import NOW, carried_out
from support.resources import stream

HERE, THERE = "redis://redis:6379", "redis://old:6379"
KEY = ObservedKey(
    name="user.v1", created="t1", entries=90, first_id=11, last_id=100, removed=3,
    groups=(ObservedGroup(name="mail", delivered=50), ObservedGroup(name="slow", delivered=2)),
)  # fmt: skip


def published(url: str = HERE, **redis: Any) -> Stream:
    """A stream whose key ended with 100 when it was looked at last."""
    known = RedisState(
        server="Valkey 9", persistence="", keys=[
            RedisKey(name="user.v1", created="t1", entries=100, lastId=100, removed=3)
        ],
        groups=[RedisGroup(name="mail", pending=1, lag=2), RedisGroup(name="idle", lag=0)],
    ).model_copy(update=redis)  # fmt: skip
    state = StreamState(name="user.v1", created="t1", place=StreamPlace(url=url), redis=known)
    base = stream()
    spec = base.spec.model_copy(
        update={"name": "user.v1", "nats": None, "redis": RedisConnection(url=HERE)}
    )
    return dataclasses.replace(base, spec=spec, status=EventStreamStatus(stream=state))


def run(
    resource: Stream, key: ObservedKey = KEY, elsewhere: Mapping[str, Looked] | None = None
) -> PassResult[EventStreamStatus]:
    redis = resource.spec.redis
    assert redis is not None
    observed = RedisObserved(
        keys=(replace(key, mark=Owner.of(resource.meta)),), elsewhere=elsewhere or {}, letters=4
    )
    plan = plan_redis_stream(resource, redis, observed)
    applied = carried_out(plan, lambda _: KEY)
    return redis_stream_result(resource, redis, plan, applied, observed, NOW)


def said(result: PassResult[EventStreamStatus], kind: ConditionType) -> tuple[str, str, str]:
    (part,) = [one for one in result.parts if one.type is kind]
    assert not part.blocks
    return part.status, str(part.reason), part.message


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({}, "NothingLost", ""),
        ({"last_id": 120, "entries": 110}, "NothingLost", ""),
        ({"removed": None}, "NothingLost", ""),
        ({"created": "t2", "last_id": 4, "removed": 9}, "NothingLost", ""),
        ({"last_id": 60}, "StreamRolledBack", "ends with 60-0, and ended with 100-0"),
        ({"removed": 13}, "EntriesRemoved", "10 entries of key user.v1 were removed by"),
        ({"removed": 13}, "EntriesRemoved", "not all of them had been given to group slow"),
        (
            {"removed": 93, "entries": 0, "first_id": 0},
            "EntriesRemoved",
            "had been given to group mail, slow",
        ),
    ],
)
def test_what_keys_have_lost_is_told_once_and_said_for_an_hour(
    changes: dict[str, Any], reason: str, text: str
) -> None:
    resource, key = published(), replace(KEY, **changes)
    result = run(resource, key)
    status, why, message = said(result, ConditionType.STREAM_LOST_EVENTS)
    lost = reason != "NothingLost"
    assert (status, why) == (str(lost), reason)
    assert text in message
    assert [(str(one), told) for one, told in result.notices] == ([(why, message)] if lost else [])
    after = dataclasses.replace(resource, status=result.status)
    again = run(after, key)
    assert again.notices == ()
    assert said(again, ConditionType.STREAM_LOST_EVENTS)[:2] == (status, why)


def test_it_is_forgotten_after_an_hour_and_said_while_the_server_is_away() -> None:
    for minutes, status in ((59, "True"), (61, "False")):
        resource = published(
            lost="EntriesRemoved: 3 entries", lostTime=stamp(NOW - timedelta(minutes=minutes))
        )
        assert said(run(resource), ConditionType.STREAM_LOST_EVENTS)[0] == status
        redis, away = RedisConnection(url=HERE), RedisObserved(unreachable=RedisError("away"))
        plan = plan_redis_stream(resource, redis, away)
        result = redis_stream_result(resource, redis, plan, [], away, NOW)
        assert said(result, ConditionType.STREAM_LOST_EVENTS)[0] == status


def test_memory_of_the_server_is_exported_where_it_has_a_limit() -> None:
    resource = published()
    redis = resource.spec.redis
    assert redis is not None
    for most, names in ((0, {"memory"}), (100, {"memory", "max_memory"})):
        observed = RedisObserved(
            keys=(replace(KEY, mark=Owner.of(resource.meta)),),
            server=ObservedServer(compatible=(7, 2), used_memory=81, max_memory=most),
        )
        plan = plan_redis_stream(resource, redis, observed)
        applied = carried_out(plan, lambda _: KEY)
        result = redis_stream_result(resource, redis, plan, applied, observed, NOW)
        assert result.sampled.values is not None
        found = {one.name: value for one, value in result.sampled.values.items()}
        found = {name: value for name, value in found.items() if "_redis_" in name}
        assert set(found) == {f"outbox_stream_redis_{name}_bytes" for name in names}
        assert found["outbox_stream_redis_memory_bytes"] == 81


def test_letters_are_counted_where_metrics_and_the_command_line_look() -> None:
    result = run(published())
    assert result.status.stream is not None
    assert result.status.stream.deadLetters == 4
    assert result.sampled.values is not None
    assert 4 in result.sampled.values.values()


def test_what_waits_at_the_server_before_is_said_until_it_is_handled() -> None:
    resource = published(THERE)
    assert servers_before(resource.status.stream, HERE) == (THERE,)
    old = replace(KEY, groups=(ObservedGroup(name="mail", pending=1, lag=4),))
    key = replace(KEY, created="t2", last_id=0, entries=0)
    result = run(resource, key, {THERE: Looked(keys=(old,))})
    status, reason, text = said(result, ConditionType.LEFT_BEHIND)
    assert (status, reason) == ("True", "EntriesLeft")
    assert f"at {THERE}, where the stream was declared until {stamp(NOW)}" in text
    assert "5 for group mail" in text
    after = dataclasses.replace(resource, status=result.status)
    assert servers_before(after.status.stream, HERE) == (THERE,)
    # Nobody can look: it is said as it was, for a week.
    away = Looked(error=RedisError("no answer"))
    unseen = run(after, key, {THERE: away})
    assert (
        "as was seen last (RedisUnreachable: no answer)"
        in said(unseen, ConditionType.LEFT_BEHIND)[2]
    )
    done = replace(old, groups=(ObservedGroup(name="mail", lag=0),))
    for look in (Looked(keys=(done,)), Looked()):
        handled = run(after, key, {THERE: look})
        assert said(handled, ConditionType.LEFT_BEHIND)[:2] == ("False", "NothingLeft")
        assert handled.status.stream is not None
        assert servers_before(handled.status.stream, HERE) == ()


def test_a_server_that_is_gone_for_good_is_spoken_of_for_a_week() -> None:
    away = {THERE: Looked(error=RedisError("no answer"))}
    for days, status in ((6, "True"), (8, "False")):
        left = RedisLeft(
            url=THERE, since=stamp(NOW - timedelta(days=days)),
            groups=[RedisGroup(name="mail", lag=None)],
        )  # fmt: skip
        result = run(published(left=[left]), KEY, away)
        assert said(result, ConditionType.LEFT_BEHIND)[0] == status
    # Away already when the stream moved: what waited when it was looked at last.
    result = run(published(THERE), replace(KEY, created="t2"), away)
    assert "3 for group mail" in said(result, ConditionType.LEFT_BEHIND)[2]
    assert "idle" not in said(result, ConditionType.LEFT_BEHIND)[2]
