"""Renders the pods' objects: relay and consumer Deployments and what belongs to them. Pure.

Called by the controller with everything decided (image, checksums, restart time); the result is
applied as it is. One manifest per object, the Deployment last, so that its needs exist first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.plan import names
from outbox_operator.plan.kubernetes import pods, secret_files
from outbox_operator.plan.kubernetes.manifests import (
    config_map,
    deployment,
    disruption_budget,
    network_policies,
    service_account,
)
from outbox_operator.plan.kubernetes.pods import Workload
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.runtime_config import (
    archive_config,
    consumer_config,
    container_environment,
    relay_config,
)
from outbox_operator.plan.kubernetes.secret_files import Broker
from outbox_operator.plan.sources import AnySource, RedisSource, jetstream_only
from outbox_operator.wire.config import encode


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


def consumer_secret_refs(spec: EventConsumerSpec, broker: Broker) -> tuple[tuple[str, str], ...]:
    """Secrets and keys that consumer pods mount, as (name, key)."""
    return secret_files.secret_refs(secret_files.consumer_files(spec, broker))


def consumer_login_refs(spec: EventConsumerSpec, broker: Broker) -> tuple[tuple[str, str], ...]:
    """Those of them that consumer pods log in with."""
    return secret_files.secret_refs(secret_files.consumer_login_files(spec, broker))


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
        service_account(workload),
        config_map(workload, config),
        # One relay works and the others stand by ready, so a voluntary disruption may take one
        # at any time; it must never block the drain of a node.
        disruption_budget(workload, 1),
        *network_policies(workload, settings, runs_ours=True),
        # Two relays at once are safe (a lock in the database, a fence at the broker), so the new
        # pod is ready before the old one stops: a broken change leaves the old relay at work.
        deployment(workload, template, logins, replicas, {"maxSurge": 1, "maxUnavailable": 0}),
    ]


def consumer_objects(
    consumer: Consumer,
    source: AnySource,
    *,
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
        source: The stream to read.
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
    files = secret_files.consumer_files(consumer.spec, source.broker)
    objects = [service_account(workload)]
    if handler.container is not None:
        environment = container_environment(consumer, source)
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
            archive_config(consumer, archive, jetstream_only(source))
            if archive is not None
            else consumer_config(consumer, source)
        )
        objects.append(config_map(workload, config))
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
        disruption_budget(workload, "25%"),
        *network_policies(workload, settings, runs_ours=handler.container is None),
        deployment(
            workload,
            template,
            logins,
            replicas,
            # Where nothing else keeps two pods from reading at once, which an order needs.
            None
            if isinstance(source, RedisSource) and consumer.spec.ordering == "PerKey"
            else {"maxSurge": "25%", "maxUnavailable": 0},
        ),
    ]
