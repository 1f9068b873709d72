"""Who may take what exists outside Kubernetes: by its mark, and by nothing that is only said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.plan.ownership import Claim, held_before, refusal
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason
from support.resources import stream

OURS = Owner(uid="1", key="EventStream/shop/orders", cluster="here")
EARLIER = replace(OURS, uid="0")
ELSEWHERE = replace(OURS, uid="9", cluster="there")
NEIGHBOUR = Owner(uid="2", key="EventStream/shop/other", cluster="here")
STRANGER = Owner(uid="3", key="EventStream/secret-project/other", cluster="here")
OLD = Owner(uid="4", key=NEIGHBOUR.key)
HERE = {"1", "2", "3"}
MAY = None


@pytest.mark.parametrize(
    ("mark", "claim", "reason"),
    [
        # Nobody's: streams want a word, schemas do not (free=None is tried below).
        (None, {}, Reason.STREAM_EXISTS),
        (None, {"adoption": "Adopt"}, MAY),
        (None, {"held": True, "same": True}, MAY),
        (None, {"held": True, "same": False}, Reason.STREAM_EXISTS),
        # Ours, or the same to a person.
        (OURS, {}, MAY),
        (replace(OURS, cluster=""), {}, MAY),
        (EARLIER, {}, MAY),
        (replace(EARLIER, cluster=""), {}, MAY),
        (EARLIER, {"held": True}, MAY),
        # A copied manifest in another cluster: same namespace and name.
        (ELSEWHERE, {}, Reason.STREAM_EXISTS),
        (ELSEWHERE, {"adoption": "Adopt"}, MAY),
        # Of this cluster, and seen: nothing is taken from the living.
        (NEIGHBOUR, {}, Reason.RESOURCE_CONFLICT),
        (NEIGHBOUR, {"adoption": "Adopt"}, Reason.RESOURCE_CONFLICT),
        # Of this cluster, and not seen: gone, or another operator looks after it.
        (NEIGHBOUR, {"living": ()}, Reason.STREAM_EXISTS),
        (NEIGHBOUR, {"living": (), "adoption": "Adopt"}, MAY),
        (OLD, {}, Reason.STREAM_EXISTS),
        # Taken from us: said, and never taken back by itself.
        (ELSEWHERE, {"held": True}, Reason.TAKEN_OVER),
        (ELSEWHERE, {"held": True, "adoption": "Adopt"}, Reason.TAKEN_OVER),
        (NEIGHBOUR, {"held": True, "adoption": "Adopt"}, Reason.TAKEN_OVER),
    ],
)
def test_who_may_take_it(mark: Owner | None, claim: dict[str, Any], reason: Reason | None) -> None:
    asked = Claim(owner=OURS, **{"living": HERE, **claim})
    found = refusal("stream ORDERS", mark, asked, field="spec.x", free=Reason.STREAM_EXISTS)
    assert (None if found is None else found.reason) == reason
    if found is not None:
        assert "stream ORDERS" in found.message


def test_a_schema_that_nobody_marked_may_be_taken() -> None:
    assert refusal("schema s", None, Claim(owner=OURS), field="f") is None


@pytest.mark.parametrize(
    ("mark", "told", "hidden"),
    [
        (NEIGHBOUR, "EventStream/shop/other", "uid"),
        (STRANGER, "a resource of another namespace", "secret-project"),
        (ELSEWHERE, "a resource of another cluster", "EventStream/shop"),
        (replace(NEIGHBOUR, key="x" * 10_000), "another namespace", "xxx"),
        (replace(NEIGHBOUR, key="EventStream/shop/" + "x" * 10_000), "EventStream/shop/x",
         "x" * 500),
    ],
)  # fmt: skip
def test_names_are_told_within_a_namespace_only(mark: Owner, told: str, hidden: str) -> None:
    found = refusal("stream S", mark, Claim(owner=OURS), field="f", free=Reason.STREAM_EXISTS)
    assert found is not None
    assert told in found.message
    assert hidden not in found.message


@pytest.mark.parametrize(
    ("status", "reason", "generation", "has_it", "held"),
    [
        ("True", "InSync", 1, True, True),
        ("False", "TakenOver", 1, True, True),
        ("False", "StreamExists", 1, True, False),  # the status tells of somebody else's
        ("False", "NatsUnreachable", 1, True, True),
        ("True", "InSync", 1, False, False),
        ("Unknown", "NatsUnreachable", 1, True, False),
        ("True", "InSync", 0, True, False),  # the specification was changed since
    ],
)
def test_a_change_of_the_specification_is_a_new_word(
    status: Any, reason: str, generation: int, has_it: bool, held: bool
) -> None:
    one = Condition(
        type=ConditionType.STREAM_READY, status=status, reason=reason,
        observedGeneration=generation,
    )  # fmt: skip
    resource = stream()
    resource = replace(
        resource,
        meta=replace(resource.meta, generation=1),
        status=resource.status.model_copy(update={"conditions": [one]}),
    )
    assert held_before(resource, ConditionType.STREAM_READY, has_it=has_it) is held
