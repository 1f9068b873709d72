"""What becomes of the group of a key: made, marked, made again behind what was handled, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outbox_operator.errors import ConflictError, RedisError
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.redis.groups import (
    GroupFacts,
    KeyNotFoundError,
    KnownGroup,
    ObservedGroupOf,
    group_step,
    id_before,
)
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change, Step
from outbox_operator.reasons import Reason

US = Owner(uid="u1", key="EventConsumer/shop/billing", cluster="c")
OTHER = Owner(uid="u2", key="EventConsumer/shop/other", cluster="c")
MISSING = ObservedGroupOf(key="k", group="billing", created="t1")
THERE = replace(MISSING, found=GroupFacts(delivered="7-0"))
KNOWN = KnownGroup(created="t1", done="5-0")


def step(seen: ObservedGroupOf, **options: Any) -> Step[ObservedGroupOf]:
    claim = Claim(owner=US, adoption=options.pop("adoption", "Fail"), living=frozenset({"u2"}))
    known = options.pop("known", None)
    return group_step(
        seen, claim=claim, known=known, **{"new_only": False, "paused": False, **options}
    )


@pytest.mark.parametrize(
    ("seen", "options", "change", "behind", "drift"),
    [
        (MISSING, {}, Change.CREATED, "0-0", None),
        (MISSING, {"new_only": True}, Change.CREATED, "$", None),
        (MISSING, {"known": KNOWN, "new_only": True}, Change.CREATED, "5-0", "again behind 5-0"),
        (
            replace(MISSING, created="t2"),
            {"known": KNOWN},
            Change.CREATED,
            "0-0",
            "went with its key",
        ),
        (replace(THERE, mark=US), {}, Change.NOOP, None, None),
        (THERE, {"known": KNOWN}, Change.PATCHED, "5-0", "had lost its mark"),
        (THERE, {"adoption": "Adopt"}, Change.PATCHED, "0-0", None),
        (MISSING, {"paused": True}, Change.FROZEN, None, None),
    ],
)
def test_what_is_done(
    seen: ObservedGroupOf, options: dict[str, Any], change: Change, behind: str, drift: str
) -> None:
    found = step(seen, **options)
    assert found.refused is None
    assert (found.change, found.wanted.get("behind")) == (change, behind)
    assert drift is None if found.drift is None else drift in found.drift


def test_what_somebody_else_has_is_left_alone() -> None:
    for seen, reason in (
        (THERE, Reason.CONSUMER_EXISTS),
        (replace(THERE, mark=OTHER), Reason.RESOURCE_CONFLICT),
    ):
        refused = step(seen).refused
        assert isinstance(refused, ConflictError)
        assert refused.reason is reason


def test_a_key_that_is_none_is_said() -> None:
    for seen in (replace(MISSING, kind="none"), replace(MISSING, created=None)):
        with pytest.raises(KeyNotFoundError):
            step(seen)
    with pytest.raises(RedisError, match="key k holds a hash, wanted a stream"):
        step(replace(MISSING, kind="hash"))


@pytest.mark.parametrize(
    ("text", "before"),
    [("7-3", "7-2"), ("7-0", f"6-{2**64 - 1}"), ("0-1", "0-0"), ("0-0", "0-0")],
)
def test_the_id_before(text: str, before: str) -> None:
    assert id_before(text) == before
    assert GroupFacts(delivered="9-0", first_pending=text).done == before
    assert GroupFacts(delivered="9-0").done == "9-0"
