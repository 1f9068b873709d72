"""All that can be seen from outside, with whatever rights the caller has. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from outbox_operator.api import meta
from outbox_operator.plan.doctor.findings import (
    Check,
    Finding,
    error,
    in_order,
    unknown,
    warning,
)
from outbox_operator.plan.doctor.objects import check_objects, name_of
from outbox_operator.plan.doctor.pods import check_events, check_pods, check_policies

Body = Mapping[str, Any]
NATS_PORT: Final = 4222
POSTGRES_PORT: Final = 5432
_VERSION: Final = re.compile(r"^(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the API server shows to the caller.

    Attributes:
        now: The time.
        version: Of this program.
        served: Plurals of our group; None: not readable.
        operators: Deployments of operators.
        objects: Of our kinds.
        workloads: Deployments of relays and consumers.
        refused: What could not be read, and why: `pods in shop`, `forbidden`.
    """

    now: datetime
    version: str
    served: frozenset[str] | None = None
    kinds: Sequence[str] = ()
    operators: Sequence[Body] | None = None
    objects: Sequence[Body] = ()
    workloads: Sequence[Body] = ()
    pods: Sequence[Body] = ()
    events: Sequence[Body] = ()
    policies: Sequence[Body] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def check_cluster(seen: Seen) -> list[Finding]:
    """Everything that is not well, the worst first."""
    found = [
        *_kinds(seen),
        *_operators(seen),
        *_versions(seen),
        *check_objects(seen.objects, seen.now),
        *check_pods(seen.pods, seen.now),
        *check_events(seen.events, seen.pods, _workloads(seen), seen.now),
        *check_policies(seen.policies, seen.pods, _ports(seen)),
        *(unknown(what, why) for what, why in seen.refused.items()),
    ]
    return in_order(found)


def _kinds(seen: Seen) -> Iterator[Finding]:
    if seen.served is None:
        return
    missing = [one for one in seen.kinds if one not in seen.served]
    if missing:
        yield error(
            Check.KINDS_MISSING, "CustomResourceDefinitions",
            f"{', '.join(f'{one}.{meta.GROUP}' for one in missing)} missing or not served in "
            f"{meta.VERSION}", remedy="kubectl apply --server-side -f crds/",
        )  # fmt: skip


def _operators(seen: Seen) -> Iterator[Finding]:
    if seen.operators is None:
        return
    if not seen.operators:
        yield error(
            Check.OPERATOR_MISSING, "operator",
            "no Deployment of an operator is in this cluster: nothing is changed, repaired or "
            "counted; what runs goes on",
            remedy="docs: install",
        )  # fmt: skip
    for body in seen.operators:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        wanted = (body.get("spec") or {}).get("replicas", 1)
        ready = (body.get("status") or {}).get("readyReplicas") or 0
        if ready < max(1, wanted):
            yield (warning if ready else error)(
                Check.OPERATOR_NOT_READY, name_of(body),
                f"{ready} of {wanted} pods of the operator are ready",
                remedy=f"kubectl -n {namespace} logs deploy/{name} --tail=30",
            )  # fmt: skip


def _versions(seen: Seen) -> Iterator[Finding]:
    """Versions of which more than one lies between are not made for each other."""
    ours = _minor(seen.version)
    found: dict[str, str] = {}
    for body in seen.operators or ():
        labels = body["metadata"].get("labels") or {}
        found.setdefault(str(labels.get("app.kubernetes.io/version") or ""), name_of(body))
    for body in seen.objects:
        version = str((body.get("status") or {}).get("operatorVersion") or "")
        found.setdefault(version, f"the operator of {name_of(body)}")
    for version, where in found.items():
        theirs = _minor(version)
        if ours is None or theirs is None:
            continue
        apart = abs(theirs[1] - ours[1]) if theirs[0] == ours[0] else 2
        if apart > 1:
            yield warning(
                Check.VERSIONS_DIFFER, where, f"is version {version}, this program {seen.version}",
                "at most one minor version apart", f"pip install 'outbox-operator[cli]=={version}'",
            )  # fmt: skip


def _minor(version: str) -> tuple[int, int] | None:
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else None


def _workloads(seen: Seen) -> list[str]:
    return [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in seen.workloads]


def _ports(seen: Seen) -> dict[str, dict[int, str]]:
    """Ports of servers by pod, as far as specifications name them."""
    specs = {
        (body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]): (
            body.get("spec") or {}
        )
        for body in seen.objects
    }
    found: dict[str, dict[int, str]] = {}
    for pod in seen.pods:
        labels, namespace = pod["metadata"].get("labels") or {}, pod["metadata"].get("namespace")
        ports: dict[int, str] = {}
        kind = {"relay": meta.PIPELINE, "consumer": meta.CONSUMER}.get(
            labels.get(meta.COMPONENT_LABEL, "")
        )
        spec = specs.get((kind or "", namespace, labels.get(meta.INSTANCE_LABEL, "")), {})
        nats = spec.get("nats") or {}
        for url in str(nats.get("url") or "").split(",") if nats else ():
            ports[_port(url) or NATS_PORT] = "NATS"
        if kind == meta.PIPELINE and spec:
            ports[int((spec.get("database") or {}).get("port") or POSTGRES_PORT)] = "PostgreSQL"
        found[pod["metadata"]["name"]] = ports
    return found


def _port(url: str) -> int | None:
    try:
        return urlsplit(url.strip()).port
    except ValueError:
        return None
