"""What is done about a key of Redis and about its server, as tables."""

from __future__ import annotations

import re
from typing import Any

import pytest

from outbox_operator.api.v1alpha1.pipeline import SUBJECTS, PipelineStream
from outbox_operator.api.v1alpha1.redis import (
    HAVE_A_MEANING,
    first_without_meaning,
    redis_rules,
)
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamConfig
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.redis.keys import key_step, keys_of, server_problem
from outbox_operator.plan.redis.observed import ObservedKey, ObservedServer
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change
from outbox_operator.reasons import Reason

US = Owner(uid="u1", key="EventStream/shop/orders", cluster="c1")
BEFORE = Owner(uid="u0", key="EventStream/shop/orders", cluster="c1")
OTHER = Owner(uid="u2", key="EventStream/shop/other", cluster="c1")
MADE = "2026-11-29T00:00:00+00:00"


def step(
    found: ObservedKey, *, known: str | None = None, seen_here: bool = False, **claim: Any
) -> Any:
    return key_step(
        "k", found, claim=Claim(owner=US, **claim), seen_here=seen_here, known=known, held=7,
        paused=False,
    )  # fmt: skip


def key(**changes: Any) -> ObservedKey:
    return ObservedKey(**{"name": "k", "created": MADE, "mark": US, **changes})


@pytest.mark.parametrize(
    ("found", "options", "change", "reason"),
    [
        (key(), {}, Change.NOOP, None),
        (key(kind="none", created=None, mark=None), {}, Change.CREATED, None),
        (key(kind="none"), {}, Change.CREATED, None),
        (key(created=None, mark=None), {}, Change.PATCHED, None),  # a group made it
        (key(mark=BEFORE, entries=1, last_id=1), {}, Change.PATCHED, None),
        (key(mark=None, entries=1, last_id=1), {}, Change.NOOP, Reason.STREAM_EXISTS),
        (key(mark=None, last_id=1), {"adoption": "Adopt"}, Change.PATCHED, None),
        (key(mark=None, created=None, last_id=9), {"known": MADE, "seen_here": True, "same": True},
         Change.PATCHED, None),
        (key(mark=OTHER), {}, Change.NOOP, Reason.RESOURCE_CONFLICT),
        (key(mark=OTHER, kind="none"), {}, Change.NOOP, Reason.RESOURCE_CONFLICT),
        (key(mark=OTHER), {"held": True}, Change.NOOP, Reason.TAKEN_OVER),
        (key(mark=OTHER), {"adoption": "Adopt"}, Change.PATCHED, None),
        (key(mark=OTHER), {"adoption": "Adopt", "living": {"u2"}}, Change.NOOP,
         Reason.RESOURCE_CONFLICT),
        (key(kind="hash", mark=None), {"adoption": "Adopt"}, Change.NOOP,
         Reason.KEY_OF_OTHER_TYPE),
        (key(is_spent=True, last_id=2**63), {}, Change.NOOP, Reason.FOREIGN_ENTRIES),
    ],
)  # fmt: skip
def test_keys(
    found: ObservedKey, options: dict[str, Any], change: Change, reason: Reason | None
) -> None:
    done = step(found, **options)
    assert (done.change, done.refused and done.refused.reason) == (change, reason)


def test_a_key_that_went_is_made_again_and_said() -> None:
    gone = key(kind="none", created=None, mark=None)
    assert step(gone, known=None).drift is None
    done = step(gone, known=MADE, seen_here=True)
    assert "it held 7 entries" in str(done.drift)
    assert done.wanted == {"key": "k", "replaces": "", "uid": US.uid, "name": US.key,
                           "cluster": "c1"}  # fmt: skip


def test_nothing_is_changed_while_paused() -> None:
    gone = key(kind="none", created=None, mark=None)
    done = key_step(
        "k", gone, claim=Claim(owner=US), seen_here=True, known=MADE, held=0, paused=True
    )
    assert done.change is Change.FROZEN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"compatible": (6, 0, 9)}, Reason.UNSUPPORTED_SERVER),
        ({"compatible": ()}, Reason.UNSUPPORTED_SERVER),
        ({"writes": False}, Reason.READ_ONLY_SERVER),
        ({"policy": "allkeys-lru", "max_memory": 1}, Reason.EVICTS_KEYS),
        ({"policy": "allkeys-lru"}, None),
        ({"policy": "volatile-lru", "max_memory": 1}, None),
    ],
)
def test_servers(changes: dict[str, Any], reason: Reason | None) -> None:
    server = ObservedServer(**{"compatible": (7, 2, 4), **changes})
    problem = server_problem(server, "redis://r")
    assert (problem and problem.reason) == reason


def test_a_key_a_shard() -> None:
    def named(**spec: Any) -> list[str]:
        there = {"redis": {"url": "redis://r"}, "name": "a.v1", **spec}
        return keys_of(EventStreamSpec.model_validate(there))

    assert named() == named(shards=1) == ["a.v1"]
    assert named(shards=3) == ["a.v1.0", "a.v1.1", "a.v1.2"]


def test_every_field_of_a_stream_has_a_meaning_or_is_refused() -> None:
    said = " ".join(one["rule"] for one in redis_rules(StreamConfig))
    names = re.findall(r"self\.(\w+)", said)
    unsaid = set(StreamConfig.model_fields) - set(names)
    assert unsaid == HAVE_A_MEANING


def test_manifests_that_no_api_server_sees_are_refused_too() -> None:
    assert first_without_meaning(PipelineStream(name="k", maxMessages=3), left_out=SUBJECTS) is None
    for changes, name in (({"maxAge": "1h"}, "maxAge"), ({"subject": "a"}, "subject")):
        stream = PipelineStream.model_validate({"name": "k", **changes})
        problem = first_without_meaning(stream, left_out=SUBJECTS)
        assert problem is not None
        assert problem.startswith(f"{name} has no meaning")
