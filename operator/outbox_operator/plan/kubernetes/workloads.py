"""Renders the pods' objects: relay and consumer Deployments and what belongs to them. Pure.

Called by the controller with everything decided (image, checksums, restart time); the result is
applied as it is. One manifest per object, the Deployment last, so that its needs exist first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.plan import names
from outbox_operator.plan.kubernetes import pods, secret_files
from outbox_operator.plan.kubernetes.diff import stamped
from outbox_operator.plan.kubernetes.pods import Workload
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.runtime_config import (
    archive_config,
    consumer_config,
    container_environment,
    relay_config,
)
from outbox_operator.wire.config import HEALTH_PORT, encode


def relay_replicas(spec: OutboxPipelineSpec, scaled: int | None) -> int:
    """Relay pods to run.

    Args:
        spec: Of the pipeline.
        scaled: What autoscaling says; None: the number is declared.
    """
    if spec.relay.state == "Stopped":
        return 0
    return spec.relay.replicas if scaled is None else scaled


def consumer_replicas(spec: EventConsumerSpec, scaled: int | None) -> int:
    """Consumer pods to run; arguments as of `relay_replicas`."""
    if spec.state == "Stopped":
        return 0
    return spec.replicas if scaled is None else scaled


def relay_secret_refs(spec: OutboxPipelineSpec) -> tuple[tuple[str, str], ...]:
    """Secrets and keys that relay pods mount, as (name, key)."""
    return secret_files.secret_refs(secret_files.relay_files(spec))


def consumer_secret_refs(
    spec: EventConsumerSpec, nats: NatsConnection
) -> tuple[tuple[str, str], ...]:
    """Secrets and keys that consumer pods mount, as (name, key)."""
    return secret_files.secret_refs(secret_files.consumer_files(spec, nats))


def consumer_login_refs(
    spec: EventConsumerSpec, nats: NatsConnection
) -> tuple[tuple[str, str], ...]:
    """Those of them that consumer pods log in with."""
    return secret_files.secret_refs(secret_files.consumer_login_files(spec, nats))


def relay_selector(pipeline: Pipeline) -> dict[str, str]:
    """Labels that pick the relay's pods."""
    return names.selector_labels("relay", pipeline.meta.name)


def consumer_selector(consumer: Consumer) -> dict[str, str]:
    """Labels that pick the pods of an EventConsumer."""
    return names.selector_labels("consumer", consumer.meta.name)


def restarted_at(deployment: Mapping[str, Any] | None) -> str | None:
    """When a restart was last asked for, as the live Deployment has it.

    It must be rendered again each time: leaving it out would be a change that rolls the pods.
    """
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    value = annotations.get(meta.RESTARTED_AT_ANNOTATION)
    return value if isinstance(value, str) else None


def relay_objects(
    pipeline: Pipeline,
    *,
    stream_name: str,
    image: str,
    secret_checksum: str,
    logins: str,
    restarted_at: str | None,
    replicas: int,
    settings: PodSettings,
) -> list[dict[str, Any]]:
    """Manifests of a relay: ServiceAccount, ConfigMap, PodDisruptionBudget, Deployment, and a
    NetworkPolicy where they are wanted.

    Args:
        pipeline: Whose relay it is.
        stream_name: The JetStream stream to publish into.
        image: Our image.
        secret_checksum: Hash of the values behind `relay_secret_refs`.
        logins: See `plan.kubernetes.logins`.
        restarted_at: See `restarted_at`; a new value rolls the pods.
        replicas: Pods.
        settings: What all pods have in common, and what resources may ask for.

    Raises:
        SpecError: `spec.relay.podTemplate` would break the pods, or asks for what is forbidden.
    """
    owner = pipeline.meta
    workload = Workload(
        meta=owner,
        name=names.relay_name(owner.name),
        container="relay",
        labels=names.common_labels("relay", owner.name, pipeline=owner.name),
        selector=relay_selector(pipeline),
    )
    config = encode(relay_config(pipeline, stream_name=stream_name))
    template = pods.runtime_pod(
        workload,
        image=image,
        pull_policy="IfNotPresent",
        role="relay",
        config=config,
        files=secret_files.relay_files(pipeline.spec),
        secret_checksum=secret_checksum,
        restarted_at=restarted_at,
    )
    template = pods.with_overlay(
        workload,
        template,
        pipeline.spec.relay.podTemplate,
        "spec.relay",
        owns_process=True,
        image=image,
        settings=settings,
    )
    return [
        _service_account(workload),
        _config_map(workload, config),
        # One relay works and the others stand by ready, so a voluntary disruption may take one
        # at any time; it must never block the drain of a node.
        _disruption_budget(workload, 1),
        *_network_policies(workload, settings, runs_ours=True),
        # Two relays at once are safe (a lock in the database, a fence at the broker), so the new
        # pod is ready before the old one stops: a broken change leaves the old relay at work.
        _deployment(workload, template, logins, replicas, {"maxSurge": 1, "maxUnavailable": 0}),
    ]


def consumer_objects(
    consumer: Consumer,
    *,
    stream_name: str,
    nats: NatsConnection,
    dead_letter_prefix: str | None,
    image: str,
    secret_checksum: str,
    logins: str,
    restarted_at: str | None,
    replicas: int,
    settings: PodSettings,
) -> list[dict[str, Any]]:
    """Manifests of a consumer workload; none without a handler.

    Args:
        consumer: Whose workload it is.
        stream_name: The JetStream stream to read.
        nats: Its own connection, or that of its EventStream.
        dead_letter_prefix: Subject prefix of the dead-letter stream; None: there is none.
        image: Our image, used where the handler brings none.
        secret_checksum: Hash of the values behind `consumer_secret_refs`.
        logins: See `plan.kubernetes.logins`.
        restarted_at: See `restarted_at`; a new value rolls the pods.
        replicas: Pods.
        settings: What all pods have in common, and what resources may ask for.

    Raises:
        SpecError: `spec.podTemplate` would break the pods, pods or handler ask for what is
            forbidden, or the durable's name is not valid.
    """
    handler, owner = consumer.spec.handler, consumer.meta
    if handler is None:
        return []
    workload = Workload(
        meta=owner,
        name=names.workload_name(owner.name),
        container="consumer",
        labels=names.common_labels(
            "consumer",
            owner.name,
            pipeline=owner.labels.get(meta.PIPELINE_LABEL),
            consumer=owner.labels.get(meta.CONSUMER_LABEL, owner.name),
        ),
        selector=consumer_selector(consumer),
    )
    files = secret_files.consumer_files(consumer.spec, nats)
    objects = [_service_account(workload)]
    if handler.container is not None:
        environment = container_environment(
            consumer, stream_name=stream_name, nats=nats, dead_letter_prefix=dead_letter_prefix
        )
        template = pods.foreign_pod(
            workload,
            handler=handler.container,
            environment=environment,
            files=files,
            secret_checksum=secret_checksum,
            restarted_at=restarted_at,
        )
    else:
        archive = handler.archive
        config = encode(
            archive_config(consumer, archive, stream_name=stream_name, nats=nats)
            if archive is not None
            else consumer_config(
                consumer, stream_name=stream_name, nats=nats, dead_letter_prefix=dead_letter_prefix
            )
        )
        objects.append(_config_map(workload, config))
        python = handler.python
        template = pods.runtime_pod(
            workload,
            image=image if python is None else python.image,
            pull_policy="IfNotPresent" if python is None else python.imagePullPolicy,
            role="consume" if archive is None else "archive write",
            config=config,
            files=files,
            secret_checksum=secret_checksum,
            restarted_at=restarted_at,
        )
    template = pods.with_overlay(
        workload,
        template,
        consumer.spec.podTemplate,
        "spec",
        owns_process=handler.container is None,
        image=image,
        settings=settings,
    )
    return [
        *objects,
        # Rounded up, so that a single pod never blocks the drain of a node.
        _disruption_budget(workload, "25%"),
        *_network_policies(workload, settings, runs_ours=handler.container is None),
        _deployment(
            workload,
            template,
            logins,
            replicas,
            {"maxSurge": "25%", "maxUnavailable": 0},
        ),
    ]


def _object(
    workload: Workload,
    api_version: str,
    kind: str,
    *,
    annotations: Mapping[str, str] | None = None,
    **body: Any,
) -> dict[str, Any]:
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


def _service_account(workload: Workload) -> dict[str, Any]:
    # The pods talk to Postgres, NATS and handlers, never to the Kubernetes API.
    return _object(workload, "v1", "ServiceAccount", automountServiceAccountToken=False)


def _config_map(workload: Workload, config: str) -> dict[str, Any]:
    return _object(workload, "v1", "ConfigMap", data={pods.CONFIG_FILE: config})


def _disruption_budget(workload: Workload, max_unavailable: int | str) -> dict[str, Any]:
    return _object(
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


def _network_policies(
    workload: Workload, settings: PodSettings, *, runs_ours: bool
) -> list[dict[str, Any]]:
    """What lets pods do their work where a namespace denies everything, if that is wanted.

    Ports of databases and brokers are not in it: a policy counts the port of the pod behind
    a Service, which nobody here knows. Who calls a program of the user's is not known either.
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
    return [_object(workload, "networking.k8s.io/v1", "NetworkPolicy", spec=spec)]


def _deployment(
    workload: Workload,
    template: Mapping[str, Any],
    logins: str,
    replicas: int,
    rolling_update: Mapping[str, int | str],
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(workload.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": dict(rolling_update)},
        "template": dict(template),
    }
    annotations = {meta.LOGINS_ANNOTATION: logins}
    return _object(workload, "apps/v1", "Deployment", annotations=annotations, spec=spec)
