"""Names of Kubernetes objects as values, and the paths of the API. Pure.

Used by the Kubernetes adapter and by the controller. It knows the plural of every kind the
operator touches, so that nobody has to ask the discovery API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.errors import SpecError

PLURALS: Final[Mapping[str, str]] = {
    **meta.PLURALS,
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "Deployment": "deployments",
    "Event": "events",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Lease": "leases",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ReplicaSet": "replicasets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}


_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?")
"""Wider than any kind has them."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Where one object lives.

    Attributes:
        api_version: Such as `apps/v1`, or `v1` for the core group.
        plural: Such as `deployments`.
        namespace: Empty for objects of the whole cluster.
        name: Name of the object.
    """

    api_version: str
    plural: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.plural} {place}{self.name}"


def ref_of(manifest: Mapping[str, Any]) -> Ref:
    """Where a manifest's object lives.

    Raises:
        SpecError: The kind is not one the operator handles.
    """
    kind = manifest["kind"]
    plural = PLURALS.get(kind)
    if plural is None:
        raise SpecError(f"kind {kind!r} is not one this operator handles")
    metadata = manifest["metadata"]
    return Ref(manifest["apiVersion"], plural, metadata.get("namespace") or "", metadata["name"])


def collection_path(api_version: str, plural: str, namespace: str | None = None) -> str:
    """Path of a collection; without a namespace, that of the whole cluster.

    Raises:
        SpecError: The namespace is no name of one.
    """
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    place = f"/namespaces/{_segment(namespace)}" if namespace else ""
    return f"{root}{place}/{plural}"


def object_path(ref: Ref, subresource: str = "") -> str:
    """Path of one object or of its subresource.

    Raises:
        SpecError: It is no name of one.
    """
    tail = f"/{subresource}" if subresource else ""
    collection = collection_path(ref.api_version, ref.plural, ref.namespace)
    return f"{collection}/{_segment(ref.name)}{tail}"


def _segment(name: str) -> str:
    """A name that somebody may have typed: what is none would lead elsewhere."""
    if _NAME.fullmatch(name) is None:
        raise SpecError(f"{name!r} is no name of an object of Kubernetes")
    return name


def name_selector(name: str) -> str:
    """Field selector of the object of a name.

    Raises:
        SpecError: It is no name of one.
    """
    return f"metadata.name={_segment(name)}"


def selectors(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    """The part of a query that picks objects of a collection."""
    query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query
