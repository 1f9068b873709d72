"""Reads what the doctor looks at from outside; what the caller may not see is said, not raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar

from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import REFS
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import AccessDeniedError
from outbox_operator.plan.doctor.cluster import Seen
from outbox_operator.plan.names import label_value, selector_text
from outbox_operator.version import VERSION

Body = Mapping[str, Any]
T = TypeVar("T")

OPERATORS: Final = f"{meta.NAME_LABEL}={meta.MANAGED_BY}"


async def look(session: Session) -> Seen:
    """All that there is to see of a pipeline, or of all in the session's scope."""
    refused: dict[str, str] = {}
    name: str | None = session.args.name

    async def seen(what: str, asked: Awaitable[T], otherwise: T) -> T:
        try:
            return await asked
        except (AccessDeniedError, NotFoundError) as error:
            refused[what] = explained(error, session.kube.context).message
            return otherwise

    def listed(
        what: str, version: str, plural: str, labels: str | None = None, **more: Any
    ) -> Awaitable[Sequence[Body]]:
        scope = more.pop("scope", session.scope)
        return seen(what, _list(session, version, plural, scope, labels, **more), ())

    ours = {meta.MANAGED_BY_LABEL: meta.MANAGED_BY}
    if name is not None:
        ours[meta.PIPELINE_LABEL] = label_value(name)
    labels = selector_text(ours)
    served = await seen("kinds", _served(session), None)
    there = [p for p in meta.PLURALS.values() if served is None or p in served]
    objects, operators, workloads, pods, events, policies = await asyncio.gather(
        asyncio.gather(*(listed(plural, meta.API_VERSION, plural) for plural in there)),
        seen(
            "operators",
            _list(session, "apps/v1", "deployments", None, OPERATORS),
            None,
        ),
        listed("workloads", "apps/v1", "deployments", labels),
        listed("pods", "v1", "pods", labels),
        listed("events", "v1", "events", field_selector="type=Warning"),
        listed("network policies", "networking.k8s.io/v1", "networkpolicies"),
    )
    return Seen(
        now=session.now(),
        version=VERSION,
        served=served,
        kinds=tuple(meta.PLURALS.values()),
        operators=operators,
        objects=_of(name, [one for page in objects for one in page]),
        workloads=workloads,
        pods=pods,
        events=events,
        policies=policies,
        refused=refused,
    )


async def _served(session: Session) -> frozenset[str] | None:
    return frozenset(await session.api.served_plurals(meta.API_VERSION))


async def _list(
    session: Session,
    version: str,
    plural: str,
    namespace: str | None,
    labels: str | None,
    **more: Any,
) -> Sequence[Body]:
    found, _ = await session.kube.list(version, plural, namespace, labels, **more)
    return found


def _of(name: str | None, bodies: Sequence[Body]) -> Sequence[Body]:
    """What belongs to a pipeline, with the tasks that are about any of it; None: everything."""
    if name is None:
        return bodies
    found = [one for one in bodies if one["kind"] != meta.TASK and _belongs(one, name)]
    there = {(one["kind"], one["metadata"]["name"]) for one in found} | {(meta.STREAM, name)}
    return found + [
        one
        for one in bodies
        if one["kind"] == meta.TASK
        and any(
            (kind, ((one.get("spec") or {}).get(ref) or {}).get("name")) in there
            for ref, kind in REFS.items()
        )
    ]


def _belongs(body: Body, name: str) -> bool:
    if body["kind"] == meta.PIPELINE:
        return bool(body["metadata"]["name"] == name)
    labels = body["metadata"].get("labels") or {}
    return bool(labels.get(meta.PIPELINE_LABEL) == label_value(name))
