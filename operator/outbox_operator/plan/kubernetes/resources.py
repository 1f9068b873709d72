"""The Kubernetes resources of an owner: what is to be applied, put back, left or deleted. Pure.

One way for all of them: Deployments and what belongs to them, and the EventStream and the
EventConsumers of a pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from outbox_operator.api.resource import Meta
from outbox_operator.errors import ConflictError
from outbox_operator.plan.kubernetes.contest import managers
from outbox_operator.plan.kubernetes.diff import differences, was_changed_by_others
from outbox_operator.plan.kubernetes.surplus import entries_of_others, surplus
from outbox_operator.plan.steps import Change, Step

Body = dict[str, Any]
ResourceId = tuple[str, str]
"""Kind and name; the namespace is the owner's."""

SHOWN_CHANGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedResources:
    """What there is of an owner's resources.

    Attributes:
        live: Those of the wanted ones that exist and are the owner's.
        foreign: Those of the wanted ones whose name somebody else's resource has.
        owned: All that the owner has, wanted or not.
        seen_before: Those that were there once: if they are gone, it was not we who removed them.
        contested: Those that somebody changes again and again.
        resting: Those of them that are left as they are for now; they were applied as wanted.
    """

    live: Mapping[ResourceId, Body] = field(default_factory=dict)
    foreign: frozenset[ResourceId] = frozenset()
    owned: tuple[Body, ...] = ()
    seen_before: frozenset[ResourceId] = frozenset()
    contested: frozenset[ResourceId] = frozenset()
    resting: frozenset[ResourceId] = frozenset()


def id_of(body: Mapping[str, Any]) -> ResourceId:
    """Which resource a manifest or a live object is."""
    return body["kind"], body["metadata"]["name"]


def wanted_steps(
    owner: Meta, manifests: Iterable[Body], observed: ObservedResources
) -> tuple[Step[Body], ...]:
    """Apply what differs.

    Args:
        owner: Whose they are; nothing is changed while it is paused.
        manifests: As rendered, in the order they are needed in.
        observed: What there is.
    """
    return tuple(_wanted(owner, manifest, observed) for manifest in manifests)


def pruning_steps(
    owner: Meta, manifests: Iterable[Body], observed: ObservedResources
) -> tuple[Step[Body], ...]:
    """Delete what the owner has and no longer wants."""
    wanted = {id_of(manifest) for manifest in manifests}
    change = Change.FROZEN if owner.paused else Change.DELETED
    return tuple(
        Step(what=" ".join(id_of(body)), change=change, wanted={}, found=body)
        for body in observed.owned
        if id_of(body) not in wanted and not body["metadata"].get("deletionTimestamp")
    )


def _wanted(owner: Meta, manifest: Body, observed: ObservedResources) -> Step[Body]:
    which = id_of(manifest)
    what = " ".join(which)
    live = observed.live.get(which)
    if which in observed.foreign:
        error = ConflictError(
            f"{manifest['kind']} {owner.namespace}/{manifest['metadata']['name']} exists and does "
            f"not belong to {owner.key}; rename or delete one of the two"
        )
        return Step(what=what, change=Change.NOOP, wanted=manifest, refused=error)
    if live is None:
        if owner.paused:
            return Step(what=what, change=Change.FROZEN, wanted=manifest)
        gone = which in observed.seen_before
        if gone and which in observed.resting:
            return Step(what=what, change=Change.NOOP, wanted=manifest)
        again = " again and again" if which in observed.contested else ""
        drift = f"{what} was deleted{again} and has been created again" if gone else None
        return Step(what=what, change=Change.CREATED, wanted=manifest, drift=drift)
    if live["metadata"].get("deletionTimestamp"):  # made anew once it is gone
        return Step(what=what, change=Change.NOOP, wanted=manifest, found=live)
    changes, added = differences(manifest, live), surplus(manifest, live)
    if not changes and not added:
        return Step(what=what, change=Change.NOOP, wanted=manifest, found=live)
    if owner.paused:
        return Step(what=what, change=Change.FROZEN, wanted=manifest, found=live)
    if which in observed.resting:
        return Step(what=what, change=Change.NOOP, wanted=manifest, found=live)
    drift = None
    contested = which in observed.contested
    # Who changes it again and again may forge the hash as well.
    by_others = contested or was_changed_by_others(changes)
    foreign = [*(changes if by_others else ()), *(one.change for one in added)]
    if foreign:
        text = "; ".join(str(change) for change in foreign[:SHOWN_CHANGES])
        drift = f"{what} was changed and has been put back: {text}"
        if contested:
            who = managers(entries_of_others(live["metadata"]))
            drift = f"{what} is changed again and again by {who}, and put back now and then: {text}"
    return Step(
        what=what,
        change=Change.PATCHED,
        wanted=manifest,
        found=live,
        drift=drift,
        surplus=tuple(one.pointer for one in added),
    )
