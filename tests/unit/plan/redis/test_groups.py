"""What becomes of the group of a key: made, marked, made again behind what was handled, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outbox_operator.adapters.redis.group import READER_PREFIX
from outbox_operator.errors import ConflictError, RedisError
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.redis.groups import (
    GroupFacts,
    KeyNotFoundError,
    KnownGroup,
    ObservedGroupOf,
    group_step,
    marker,
)
from outbox_operator.plan.redis.ids import id_before, is_before
from outbox_operator.plan.redis.positions import moved_by_others
from outbox_operator.plan.state import Owner
from outbox_operator.plan.steps import Change, Step
from outbox_operator.reasons import Reason

US = Owner(uid="u1", key="EventConsumer/shop/billing", cluster="c")
OTHER = Owner(uid="u2", key="EventConsumer/shop/other", cluster="c")
MISSING = ObservedGroupOf(key="k", group="billing", created="t1")
THERE = replace(MISSING, found=GroupFacts(delivered="7-0", marked=True))
ANEW = replace(MISSING, found=GroupFacts(delivered="7-0"))
"""Without the reader that goes with the mark."""
KNOWN = KnownGroup(created="t1", done="5-0", delivered="6-0", read=6)


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
        (ANEW, {"adoption": "Adopt"}, Change.PATCHED, "0-0", None),
        # Deleted and made anew by hand, whatever became of the mark beside the stream.
        (replace(ANEW, mark=US), {"known": KNOWN}, Change.PATCHED, "5-0", "set back behind 5-0"),
        (ANEW, {"known": KNOWN}, Change.PATCHED, "5-0", "set back behind 5-0"),
        (
            replace(ANEW, created="t2"),
            {"known": KNOWN},
            Change.PATCHED,
            "0-0",
            "set back behind 0-0",
        ),
        (
            replace(ANEW, mark=US, found=GroupFacts(delivered="3-0")),
            {"known": KNOWN},
            Change.PATCHED,
            "5-0",
            "comes again",
        ),
        (replace(ANEW, mark=US), {}, Change.PATCHED, "0-0", "nobody knows, and it stays there"),
        # We had it, says the mark: nothing may be left out, and nothing says how far it was.
        (
            replace(MISSING, mark=US),
            {"new_only": True},
            Change.CREATED,
            "0-0",
            "begins with the first",
        ),
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


@pytest.mark.parametrize(
    ("seen", "known", "sets"),
    [
        (replace(ANEW, mark=US), KNOWN, True),
        (replace(ANEW, mark=US, found=GroupFacts(delivered="5-0")), KNOWN, False),
        (replace(ANEW, mark=US), None, False),
        (replace(ANEW, mark=None), None, False),
        (THERE, KNOWN, False),
    ],
)
def test_a_group_is_set_back_where_it_would_leave_something_out(
    seen: ObservedGroupOf, known: KnownGroup | None, sets: bool
) -> None:
    assert step(seen, known=known, adoption="Adopt").wanted["sets"] is sets


@pytest.mark.parametrize(
    ("found", "known", "reason", "text"),
    [
        (GroupFacts(delivered="6-0", read=6), KNOWN, None, ""),
        (GroupFacts(delivered="9-0", read=9), KNOWN, None, ""),
        (GroupFacts(delivered="10-0"), replace(KNOWN, read=None), None, ""),
        (GroupFacts(delivered="10-0"), replace(KNOWN, delivered=None), None, ""),
        (GroupFacts(delivered="10-0"), replace(KNOWN, created="t0"), None, ""),
        (GroupFacts(delivered="10-0"), None, None, ""),
        (GroupFacts(delivered="2-0"), KNOWN, Reason.GROUP_SET_BACK, "at 2-0, and stood at 6-0"),
        (
            GroupFacts(delivered="10-0"),
            KNOWN,
            Reason.GROUP_SET_FORWARD,
            "XGROUP SETID k billing 6-0",
        ),
        # Where entries were deleted, the server cannot count.
        (GroupFacts(delivered="10-0", deleted="8-0"), KNOWN, None, ""),
        (GroupFacts(delivered="10-0", deleted="4-0"), KNOWN, Reason.GROUP_SET_FORWARD, "10-0"),
    ],
)
def test_a_group_that_others_have_set_elsewhere_is_told(
    found: GroupFacts, known: KnownGroup | None, reason: Reason | None, text: str
) -> None:
    seen = replace(MISSING, mark=US, found=replace(found, marked=True))
    said = moved_by_others(seen, US, known)
    assert (None if said is None else said[0]) is reason
    assert text in ("" if said is None else said[1])
    anew = replace(seen, found=found)
    assert moved_by_others(anew, US, known) is None, "that is said where it is healed"


def test_ids_are_compared_as_numbers() -> None:
    assert is_before("9-0", "10-0")
    assert is_before("9-9", "9-10")
    assert not is_before("9-0", "9-0")
    assert is_before(f"{2**63}-0", f"{2**63 + 1}-0")


def test_the_reader_that_goes_with_a_mark_is_none_that_pods_tidy_away() -> None:
    assert not marker("u1").startswith(READER_PREFIX)
