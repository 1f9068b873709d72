"""Renders what every workload of ours has, whatever it runs. Pure.

Called by `plan.kubernetes.workloads` and `plan.kubernetes.archive_api`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.plan.kubernetes import pods
from outbox_operator.plan.kubernetes.diff import stamped
from outbox_operator.plan.kubernetes.pods import Workload
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.wire.config import HEALTH_PORT


def owned_object(
    workload: Workload,
    api_version: str,
    kind: str,
    *,
    annotations: Mapping[str, str] | None = None,
    **body: Any,
) -> dict[str, Any]:
    """An object that the owner of a workload controls."""
    return stamped(
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": workload.name,
                "namespace": workload.meta.namespace,
                "labels": dict(workload.labels),
                **({"annotations": dict(annotations)} if annotations else {}),
                "ownerReferences": [workload.meta.owner_reference()],
            },
            **body,
        }
    )


def service_account(workload: Workload) -> dict[str, Any]:
    """What the pods run as."""
    # The pods talk to Postgres, NATS and handlers, never to the Kubernetes API.
    return owned_object(workload, "v1", "ServiceAccount", automountServiceAccountToken=False)


def config_map(workload: Workload, config: str) -> dict[str, Any]:
    """The configuration of the process."""
    return owned_object(workload, "v1", "ConfigMap", data={pods.CONFIG_FILE: config})


def disruption_budget(workload: Workload, max_unavailable: int | str) -> dict[str, Any]:
    """How many pods a drain of nodes may take at once."""
    return owned_object(
        workload,
        "policy/v1",
        "PodDisruptionBudget",
        spec={
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": dict(workload.selector)},
            # A pod that is not ready does no work: let it be moved.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def network_policies(
    workload: Workload, settings: PodSettings, *, runs_ours: bool, port: int | None = None
) -> list[dict[str, Any]]:
    """What lets pods do their work where a namespace denies everything, if that is wanted.

    Ports of databases and brokers are not in it: a policy counts the port of the pod behind
    a Service, which nobody here knows. Who calls a program of the user's is not known either;
    `port` is one that anybody may call.
    """
    wanted = settings.network_policy
    if wanted is None:
        return []
    spec: dict[str, Any] = {
        "podSelector": {"matchLabels": dict(workload.selector)},
        "policyTypes": ["Egress"],
        "egress": list(wanted.egress) or [{}],
    }
    if runs_ours:
        rule: dict[str, Any] = {"ports": [{"port": HEALTH_PORT, "protocol": "TCP"}]}
        if wanted.metrics_from:
            rule["from"] = list(wanted.metrics_from)
        spec |= {"policyTypes": ["Ingress", "Egress"], "ingress": [rule]}
    if port is not None:
        spec["ingress"] = [*spec["ingress"], {"ports": [{"port": port, "protocol": "TCP"}]}]
    return [owned_object(workload, "networking.k8s.io/v1", "NetworkPolicy", spec=spec)]


def deployment(
    workload: Workload,
    template: Mapping[str, Any],
    logins: str,
    replicas: int,
    rolling_update: Mapping[str, int | str] | None,
) -> dict[str, Any]:
    """The pods; `logins` as of `plan.kubernetes.logins`."""
    spec: dict[str, Any] = {
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(workload.selector)},
        "strategy": {"type": "Recreate"}
        if rolling_update is None
        else {"type": "RollingUpdate", "rollingUpdate": dict(rolling_update)},
        "template": dict(template),
    }
    annotations = {meta.LOGINS_ANNOTATION: logins}
    return owned_object(workload, "apps/v1", "Deployment", annotations=annotations, spec=spec)
