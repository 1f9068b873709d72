"""Renders what answers questions about an archive: pods, and the Service in front of them. Pure.

Called by the controller beside `plan.kubernetes.workloads`, whose pods write what these read.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.plan import names
from outbox_operator.plan.archives import api_of, archive_of
from outbox_operator.plan.kubernetes import pods, secret_files
from outbox_operator.plan.kubernetes.manifests import (
    config_map,
    deployment,
    disruption_budget,
    network_policies,
    owned_object,
    service_account,
)
from outbox_operator.plan.kubernetes.pods import Workload
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.runtime_config import archive_api_config
from outbox_operator.wire.archive_api import API_PORT
from outbox_operator.wire.config import encode

COMPONENT: Final = "archive-api"


def api_secret_refs(spec: EventConsumerSpec) -> tuple[tuple[str, str], ...]:
    """Secrets and keys that its pods mount, as (name, key)."""
    return secret_files.secret_refs(secret_files.archive_api_files(spec))


def api_url(consumer: Consumer) -> str:
    """Where it answers, within the cluster."""
    owner = consumer.meta
    return f"http://{names.archive_api_name(owner.name)}.{owner.namespace}.svc:{API_PORT}"


def api_objects(
    consumer: Consumer,
    *,
    image: str,
    secret_checksum: str,
    restarted_at: str | None,
    settings: PodSettings,
) -> list[dict[str, Any]]:
    """Manifests of an archive's API; none if it has none.

    Args:
        consumer: Whose archive it is.
        image: Our image.
        secret_checksum: Hash of the values behind `api_secret_refs`.
        restarted_at: A new value rolls the pods.
        settings: What all pods have in common.

    Raises:
        SpecError: The pods would ask for what is forbidden.
    """
    archive, api = archive_of(consumer.spec), api_of(consumer.spec)
    if archive is None or api is None:
        return []
    owner = consumer.meta
    workload = Workload(
        meta=owner,
        name=names.archive_api_name(owner.name),
        container=COMPONENT,
        labels=names.common_labels(
            COMPONENT,
            owner.name,
            pipeline=owner.labels.get(meta.PIPELINE_LABEL),
            consumer=owner.labels.get(meta.CONSUMER_LABEL, owner.name),
        ),
        selector=names.selector_labels(COMPONENT, owner.name),
    )
    config = encode(archive_api_config(consumer, archive, api))
    template = pods.runtime_pod(
        workload,
        image=image,
        pull_policy="IfNotPresent",
        role="archive serve",
        config=config,
        files=secret_files.archive_api_files(consumer.spec),
        secret_checksum=secret_checksum,
        restarted_at=restarted_at,
        port=API_PORT,
    )
    template = pods.with_overlay(
        workload,
        template,
        None,
        "spec.handler.archive.api",
        owns_process=True,
        image=image,
        settings=settings,
    )
    service = {
        "type": "ClusterIP",
        "selector": dict(workload.selector),
        "ports": [{"name": "http", "port": API_PORT, "protocol": "TCP", "targetPort": "http"}],
    }
    return [
        service_account(workload),
        config_map(workload, config),
        owned_object(workload, "v1", "Service", spec=service),
        disruption_budget(workload, "25%"),
        *network_policies(workload, settings, runs_ours=True, port=API_PORT),
        deployment(
            workload,
            template,
            secret_checksum,
            api.replicas,
            {"maxSurge": "25%", "maxUnavailable": 0},
        ),
    ]
