"""What whoever installed the operator says of all pods it makes: defaults, and a policy. Pure.

Read by the controller from its environment, applied by `plan.kubernetes.pods` around the merge of
a user's `podTemplate`: defaults before it, so that a user may say otherwise; the policy on what
came of it, so that no way of saying it leads around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from outbox_operator.errors import SpecError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import HEALTH_PORT

ALL: Final = ("*",)
SCRAPE_ANNOTATIONS: Final = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(HEALTH_PORT),
    "prometheus.io/path": "/metrics",
}
"""By custom; the usual configuration of a Prometheus that finds pods by itself reads them."""
_STRICT: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPolicy:
    """What resources may ask of pods. `*` stands for anything.

    Attributes:
        fields: Fields of `podTemplate`, such as `spec.tolerations`, each with all that is below it;
            lists are passed through, as in `spec.containers.resources`.
        service_accounts: Those beside the one that the operator makes for the workload.
        images: Those beside the operator's own, of all containers and of volumes.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    fields: tuple[str, ...] = ALL
    service_accounts: tuple[str, ...] = ALL
    images: tuple[str, ...] = ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicySettings:
    """What the pods may exchange with others, in the words of a NetworkPolicy.

    Attributes:
        metrics_from: Who may come to the port of probes and metrics; empty: everybody.
        egress: Where pods may go; empty: everywhere.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    metrics_from: tuple[dict[str, Any], ...] = ()
    egress: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What all pods of relays and consumers have in common.

    Attributes:
        pull_secrets: Names of Secrets, of the pod's namespace, for pulling images.
        priority_class: Name of a PriorityClass; empty: the cluster's default.
        env: More environment of what runs our program, as on any container.
        policy: What resources may ask for.
        network_policy: Each workload gets a NetworkPolicy of this content; None: none.
        scrape_annotations: Whether pods that serve metrics say so in the annotations by which a
            Prometheus without its operator finds them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    pull_secrets: tuple[str, ...] = ()
    priority_class: str = ""
    env: tuple[dict[str, Any], ...] = ()
    policy: PodPolicy = field(default_factory=PodPolicy)
    network_policy: NetworkPolicySettings | None = None
    scrape_annotations: bool = False


def with_defaults(template: Mapping[str, Any], settings: PodSettings) -> dict[str, Any]:
    """A pod template of ours with the defaults in it."""
    spec = dict(template["spec"])
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    return {**template, "spec": spec}


def with_scraping(template: Mapping[str, Any], settings: PodSettings) -> dict[str, Any]:
    """A finished template of a program of ours with the annotations that it does not have yet."""
    if not settings.scrape_annotations:
        return dict(template)
    metadata = template["metadata"]
    annotations = {**SCRAPE_ANNOTATIONS, **metadata.get("annotations", {})}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def with_environment(
    template: Mapping[str, Any], settings: PodSettings, *, container: str
) -> dict[str, Any]:
    """A finished template with the variables in our main container that it does not have yet."""
    if not settings.env:
        return dict(template)
    spec = dict(template["spec"])
    spec["containers"] = [
        {**one, "env": _completed(one.get("env") or (), settings.env)}
        if one["name"] == container
        else one
        for one in spec["containers"]
    ]
    return {**template, "spec": spec}


def _completed(
    given: Sequence[Mapping[str, Any]], more: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    names = {one["name"] for one in given}
    return [dict(one) for one in given] + [dict(one) for one in more if one["name"] not in names]


def check(
    policy: PodPolicy,
    merged: Mapping[str, Any],
    overlay: Mapping[str, Any] | None,
    *,
    container: str,
    account: str,
    image: str,
) -> None:
    """Refuse what the policy forbids.

    Args:
        policy: What may be asked for.
        merged: The pod template as it would be applied.
        overlay: The user's `podTemplate`; it could be merged.
        container: Name of our main container.
        account: The ServiceAccount that the operator makes for these pods.
        image: The operator's own.

    Raises:
        SpecError: Names the field, what it asks for and what is allowed.
    """
    if policy.fields != ALL:
        allowed = [tuple(one.split(".")) for one in policy.fields]
        for path in _set_fields(overlay or {}, container):
            if not any(path[: len(one)] == one or one == ALL for one in allowed):
                raise _forbidden(
                    f"podTemplate.{'.'.join(path)}",
                    "the fields",
                    policy.fields,
                    "dataPlane.podPolicy.fields",
                )
    spec = merged["spec"]
    for found in _accounts(spec):
        if found != account and not _matches(found, policy.service_accounts):
            raise _forbidden(
                f"podTemplate.spec.serviceAccountName {found!r}",
                "the ServiceAccounts",
                (account, *policy.service_accounts),
                "dataPlane.podPolicy.serviceAccounts",
            )
    for whose, found in _images(spec):
        if found != image and not _matches(found, policy.images):
            raise _forbidden(
                f"podTemplate or handler: image {found!r} of {whose}",
                "the images",
                (image, *policy.images),
                "dataPlane.podPolicy.images",
            )


def _forbidden(what: str, kind: str, allowed: Sequence[str], value: str) -> SpecError:
    return SpecError(
        f"{what}: not allowed by who installed the operator; {kind} that are: "
        f"{', '.join(allowed) or 'none'} (value {value} of the chart)",
        reason=Reason.FORBIDDEN_BY_POLICY,
    )


def _set_fields(value: Any, container: str, *path: str) -> Iterator[tuple[str, ...]]:
    """Paths of what an overlay sets or removes, without the numbers of list items."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            # Says which container is meant, and sets nothing.
            if (*path, key) == ("spec", "containers", "name") and inner == container:
                continue
            yield from _set_fields(inner, container, *path, str(key))
    elif isinstance(value, list) and value:
        for item in value:
            # An item without any field still is one.
            yield from _set_fields(item, container, *path) if item else (path,)
    else:
        yield path


def _accounts(spec: Mapping[str, Any]) -> set[str]:
    """Whom pods run as: also by the field's older name, and by Kubernetes' default without any."""
    named = {str(spec[one]) for one in ("serviceAccountName", "serviceAccount") if spec.get(one)}
    return named or {"default"}


def _images(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("containers", "initContainers"):
        for one in spec.get(kind) or ():
            yield f"container {one['name']}", str(one.get("image") or "")
    for one in spec.get("volumes") or ():
        image = one.get("image")
        reference = image.get("reference") if isinstance(image, Mapping) else image
        if reference:
            yield f"volume {one['name']}", str(reference)


def _matches(text: object, patterns: Sequence[str]) -> bool:
    return any(
        re.fullmatch(re.escape(one).replace(r"\*", ".*"), str(text), re.DOTALL) for one in patterns
    )
