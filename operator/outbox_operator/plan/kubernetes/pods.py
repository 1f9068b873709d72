"""Renders pod templates that satisfy the restricted Pod Security Standard. Pure.

Two kinds: pods that run a role of ours, and pods of a user's image of which we know neither user,
ports nor health. Called by `plan.kubernetes.workloads`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.handler import ContainerHandler
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import podsettings, podtemplate, secret_files
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.runtime_config import GRACE_SECONDS
from outbox_operator.plan.kubernetes.secret_files import SecretFile
from outbox_operator.wire.config import CONFIG_MOUNT, CONFIG_PATH_ENV, HEALTH_PORT, SECRETS_MOUNT

RUN_AS_USER: Final = 65532
"""User and group of our image; the group that may read mounted Secrets."""
CONFIG_FILE: Final = "config.json"
_HASH_ROUNDS: Final = 5_000
_HASH_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the objects of one workload have in common.

    Attributes:
        meta: The resource that owns them.
        name: Name of each of them.
        container: Name of the main container.
        labels: Labels of objects and pods.
        selector: The labels that pick the pods.
    """

    meta: Meta
    name: str
    container: str
    labels: Mapping[str, str]
    selector: Mapping[str, str]


def runtime_pod(
    workload: Workload,
    *,
    image: str,
    pull_policy: str | None,
    role: str,
    config: str,
    files: tuple[SecretFile, ...],
    secret_checksum: str,
    restarted_at: str | None,
    port: int | None = None,
) -> dict[str, Any]:
    """A pod that runs one of our roles; `port` is one that others call it at."""
    container: dict[str, Any] = {
        "name": workload.container,
        "image": image,
        # Spelled out, so that an image built on ours may have any entry point.
        "command": ["outbox"],
        "args": role.split(),
        "env": [
            {"name": CONFIG_PATH_ENV, "value": f"{CONFIG_MOUNT}/{CONFIG_FILE}"},
        ],
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        # Starts are watched closely, so that a pod counts as soon as it is up.
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "resources": {
            "requests": {"cpu": "50m", "memory": "96Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }
    volumes = [
        {"name": "config", "configMap": {"name": workload.name}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    if port is not None:
        container["ports"].append({"name": "http", "containerPort": port, "protocol": "TCP"})
    if pull_policy is not None:
        container["imagePullPolicy"] = pull_policy
    _mount_secrets(container, volumes, files)
    template = _pod(
        workload,
        container,
        volumes,
        checksum=checksum_of(config, secret_checksum, workload.meta.uid),
        restarted_at=restarted_at,
    )
    template["spec"]["securityContext"] |= {"runAsUser": RUN_AS_USER, "runAsGroup": RUN_AS_USER}
    return template


def foreign_pod(
    workload: Workload,
    *,
    handler: ContainerHandler,
    environment: Mapping[str, str],
    files: tuple[SecretFile, ...],
    secret_checksum: str,
    restarted_at: str | None,
) -> dict[str, Any]:
    """A pod of a user's image, of which we know neither user, ports nor health."""
    variables: dict[str, dict[str, Any]] = {
        name: {"name": name, "value": value} for name, value in environment.items()
    }
    for variable in handler.env:
        if "name" not in variable:
            raise SpecError("spec.handler.container.env: each variable needs a name")
        variables[variable["name"]] = dict(variable)
    container: dict[str, Any] = {
        "name": workload.container,
        "image": handler.image,
        "env": list(variables.values()),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    optional = {
        "command": handler.command,
        "args": handler.args,
        "imagePullPolicy": handler.imagePullPolicy,
    }
    container |= {field: value for field, value in optional.items() if value}
    volumes: list[dict[str, Any]] = []
    _mount_secrets(container, volumes, files)
    return _pod(
        workload,
        container,
        volumes,
        checksum=checksum_of("", secret_checksum, workload.meta.uid),
        restarted_at=restarted_at,
    )


def with_overlay(
    workload: Workload,
    template: dict[str, Any],
    overlay: Mapping[str, Any] | None,
    path: str,
    *,
    owns_process: bool,
    image: str,
    settings: PodSettings,
) -> dict[str, Any]:
    """A template with the defaults of the installation and the user's settings in it.

    Args:
        workload: Whose pods they are.
        template: From one of the functions above.
        overlay: The user's `podTemplate`.
        path: Where the resource has it.
        owns_process: Whether the main container runs our program.
        image: The operator's own image.
        settings: Of the installation.

    Raises:
        SpecError: The overlay would break the pods, or the policy forbids a part of them.
    """
    try:
        merged = podtemplate.merge(
            podsettings.with_defaults(template, settings),
            overlay,
            container=workload.container,
            owns_process=owns_process,
            min_grace_seconds=GRACE_SECONDS if owns_process else 0,
        )
        if owns_process:  # behind the merge, so that what a user says of the name stands
            merged = podsettings.with_environment(merged, settings, container=workload.container)
            merged = podsettings.with_scraping(merged, settings)
        podsettings.check(
            settings.policy,
            merged,
            overlay,
            container=workload.container,
            account=workload.name,
            image=image,
        )
    except SpecError as error:
        text = f"{workload.meta.key}: {path}.{error.message}"
        raise SpecError(text, reason=error.reason) from error
    return merged


def _mount_secrets(
    container: dict[str, Any], volumes: list[dict[str, Any]], files: tuple[SecretFile, ...]
) -> None:
    if not files:
        return
    mounts = container.setdefault("volumeMounts", [])
    mounts.append({"name": "secrets", "mountPath": SECRETS_MOUNT, "readOnly": True})
    volumes.append({"name": "secrets", **secret_files.volume(files)})


def _pod(
    workload: Workload,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
    *,
    checksum: str,
    restarted_at: str | None,
) -> dict[str, Any]:
    """A pod template that satisfies the restricted Pod Security Standard."""
    annotations = {meta.CHECKSUM_ANNOTATION: checksum}
    if restarted_at is not None:
        annotations[meta.RESTARTED_AT_ANNOTATION] = restarted_at
    return {
        "metadata": {"labels": dict(workload.labels), "annotations": annotations},
        "spec": {
            "serviceAccountName": workload.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": RUN_AS_USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "maxSkew": 1,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": dict(workload.selector)},
                }
            ],
            "containers": [container],
            "volumes": volumes,
        },
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "health"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


@functools.lru_cache(maxsize=2048)
def checksum_of(config: str, secret_checksum: str, salt: str) -> str:
    """One hash over configuration and Secrets, for an annotation that many may read.

    Salted and slow, so that a short password cannot be guessed from it at speed; remembered,
    because every pass over every resource asks again.
    """
    whole = f"{len(config)}:{config}{secret_checksum}".encode()
    return hashlib.pbkdf2_hmac("sha256", whole, salt.encode(), _HASH_ROUNDS).hex()[:_HASH_LENGTH]
