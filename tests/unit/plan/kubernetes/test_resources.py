"""Kubernetes resources of an owner: applied, put back, left, deleted, refused."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.errors import ConflictError
from outbox_operator.plan.kubernetes.diff import stamped
from outbox_operator.plan.kubernetes.resources import (
    Body,
    ObservedResources,
    id_of,
    pruning_steps,
    wanted_steps,
)
from outbox_operator.plan.steps import Change, Step
from support.passes import paused
from support.resources import stream

OWNER = stream().meta
PAUSED = paused(stream()).meta
MANIFEST = stamped(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "orders-relay", "namespace": "shop"},
        "spec": {"replicas": 1},
    }
)
WHICH = id_of(MANIFEST)


def live(**spec: Any) -> Body:
    """The same as the API server has it."""
    body: Body = copy.deepcopy(MANIFEST)
    body["spec"].update(spec)
    return body


def going() -> Body:
    body = live(replicas=7)
    body["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    return body


def older() -> Body:
    """Applied from an older manifest: other than wanted, and nobody's doing."""
    body = live(replicas=7)
    body["metadata"]["annotations"] = {meta.APPLIED_ANNOTATION: "older"}
    return body


def planned(observed: ObservedResources, owner: Any = OWNER) -> Step[Body]:
    (step,) = wanted_steps(owner, [MANIFEST], observed)
    return step


@pytest.mark.parametrize(
    ("observed", "change", "drift"),
    [
        (ObservedResources(), Change.CREATED, None),
        (ObservedResources(seen_before=frozenset({WHICH})), Change.CREATED,
         "Deployment orders-relay was deleted and has been created again"),
        (ObservedResources(live={WHICH: live()}), Change.NOOP, None),
        (ObservedResources(live={WHICH: live(paused=True)}), Change.NOOP, None),
        (ObservedResources(live={WHICH: live(replicas=7)}), Change.PATCHED,
         "Deployment orders-relay was changed and has been put back: "
         "spec.replicas: wanted 1, found 7"),
        (ObservedResources(live={WHICH: older()}), Change.PATCHED, None),
        # Made anew once it is gone.
        (ObservedResources(live={WHICH: going()}), Change.NOOP, None),
    ],
)  # fmt: skip
def test_what_is_wanted_is_applied_when_it_differs(
    observed: ObservedResources, change: Change, drift: str | None
) -> None:
    step = planned(observed)
    assert (step.change, step.drift, step.refused) == (change, drift, None)
    assert step.wanted == MANIFEST


def by(manager: str, **spec: Any) -> Body:
    """Changed by somebody with a name."""
    body = live(**spec)
    fields: Body = {"f:spec": {f"f:{name}": {} for name in spec}}
    entry = {"manager": manager, "subresource": "scale", "fieldsV1": fields}
    body["metadata"]["managedFields"] = [entry]
    return body


@pytest.mark.parametrize(
    ("found", "resting", "change", "drift"),
    [
        (by("autoscaler", replicas=7), False, Change.PATCHED, "again and again by autoscaler"),
        (by("autoscaler", replicas=7), True, Change.NOOP, None),
        (by("injector", paused=True), True, Change.NOOP, None),
        (older(), False, Change.PATCHED, "again and again by somebody"),  # the hash was forged
        (live(), True, Change.NOOP, None),
        (None, False, Change.CREATED, "was deleted again and again"),
        (None, True, Change.NOOP, None),
    ],
)
def test_a_contest_is_named_and_slow(
    found: Body | None, resting: bool, change: Change, drift: str | None
) -> None:
    which = frozenset({WHICH})
    observed = ObservedResources(
        live={} if found is None else {WHICH: found},
        seen_before=which,
        contested=which,
        resting=which if resting else frozenset(),
    )
    step = planned(observed)
    assert step.change is change
    assert drift is None if step.drift is None else drift is not None and drift in step.drift


@pytest.mark.parametrize(
    ("observed", "change"),
    [
        (ObservedResources(), Change.FROZEN),
        (ObservedResources(live={WHICH: live()}), Change.NOOP),
        (ObservedResources(live={WHICH: live(replicas=7)}), Change.FROZEN),
    ],
)
def test_nothing_is_changed_while_the_owner_is_paused(
    observed: ObservedResources, change: Change
) -> None:
    assert planned(observed, PAUSED).change is change
    owned = dataclasses.replace(observed, owned=(live(),))
    assert [step.change for step in pruning_steps(PAUSED, [], owned)] == [Change.FROZEN]


def test_what_is_somebody_elses_is_refused() -> None:
    step = planned(ObservedResources(foreign=frozenset({WHICH})))
    assert isinstance(step.refused, ConflictError)
    assert "Deployment shop/orders-relay" in step.refused.message
    assert OWNER.key in step.refused.message


def test_what_is_no_longer_wanted_is_deleted_once() -> None:
    observed = ObservedResources(owned=(live(), going()))
    assert pruning_steps(OWNER, [MANIFEST], observed) == ()
    (step,) = pruning_steps(OWNER, [], observed)
    assert (step.change, step.what, step.found) == (
        Change.DELETED, "Deployment orders-relay", live(),
    )  # fmt: skip
