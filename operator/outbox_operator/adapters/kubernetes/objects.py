"""Names of Kubernetes objects as values, and the paths of the API. Pure.

Used by the Kubernetes adapter and by the controller. It knows the plural of every kind the
operator touches, so that nobody has to ask the discovery API.
"""

from __future__ import annotations

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
    """Path of a collection; without a namespace, that of the whole cluster."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{place}/{plural}"


def object_path(ref: Ref, subresource: str = "") -> str:
    """Path of one object or of its subresource."""
    tail = f"/{subresource}" if subresource else ""
    return f"{collection_path(ref.api_version, ref.plural, ref.namespace)}/{ref.name}{tail}"


def selectors(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    """The part of a query that picks objects of a collection."""
    query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query
