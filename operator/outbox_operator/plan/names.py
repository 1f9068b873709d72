"""Names and labels of everything the operator makes. Pure; the same input gives the same name.

Called by `plan.kubernetes` to render, and by the controller to find children again. Must
not know what the resources are made of.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer
from outbox_operator.errors import SpecError

MAX_NAME: Final = 63
"""Longest text that is valid as a name, a label value and a host name alike."""

_HASH_LENGTH: Final = 8
_VALUE: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?")
_NOT_IN_NAME: Final = re.compile(r"[^a-z0-9-]+")

Component = Literal["stream", "relay", "consumer", "archive-api"]


def child_name(*parts: str) -> str:
    """One DNS label made of the parts, joined by dashes; at most 63 characters.

    A name that had to be changed (too long, or a character such as a dot) ends in a hash of the
    original, so that different originals never meet in one name.
    """
    wanted = "-".join(parts)
    name = _NOT_IN_NAME.sub("-", wanted.lower()).strip("-")
    if name == wanted and len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{name[: MAX_NAME - _HASH_LENGTH - 1].rstrip('-')}-{digest}"


def relay_name(pipeline: str) -> str:
    """Name of a relay's Deployment, ConfigMap, ServiceAccount and PodDisruptionBudget."""
    return child_name(pipeline, "relay")


def workload_name(consumer: str) -> str:
    """The same for the workload of an EventConsumer.

    The tail keeps a pipeline's consumer called `relay` apart from the pipeline's relay.
    """
    return child_name(consumer, "consumer")


def archive_api_name(consumer: str) -> str:
    """The same for what answers questions about the archive of an EventConsumer."""
    return child_name(consumer, "api")


def event_consumer_name(pipeline: str, consumer: str) -> str:
    """Name of the EventConsumer that a pipeline makes of one of its consumers."""
    return child_name(pipeline, consumer)


def durable_name(consumer: Consumer) -> str:
    """Name of the durable consumer of an EventConsumer.

    Raises:
        SpecError: The resource's own name is not one that NATS accepts.
    """
    if consumer.spec.durableName is not None:
        return consumer.spec.durableName
    name = consumer.meta.name
    if "." in name:
        raise SpecError(
            f"EventConsumer {name}: NATS accepts no dots in the name of a durable consumer; "
            "set spec.durableName"
        )
    return name


def label_value(text: str) -> str:
    """Text as a label value: unchanged when it fits, else cut with a hash tail.

    Raises:
        SpecError: It is no name, and would be more than a value to a selector.
    """
    if text and _VALUE.fullmatch(text) is None:
        raise SpecError(f"{text!r} is no name of an object of Kubernetes")
    return text if len(text) <= MAX_NAME else child_name(text)


def selector_labels(component: Component, owner: str) -> dict[str, str]:
    """Labels that pick the pods of one workload. Fixed for the life of a Deployment.

    Args:
        component: What the pods are.
        owner: Name of the OutboxPipeline (relay) or EventConsumer (consumer).
    """
    return {
        meta.NAME_LABEL: f"outbox-{component}",
        meta.INSTANCE_LABEL: label_value(owner),
    }


def common_labels(
    component: Component, owner: str, *, pipeline: str | None = None, consumer: str | None = None
) -> dict[str, str]:
    """Labels of every object we make.

    Args:
        component: What the object is part of.
        owner: Name of the OutboxPipeline or EventConsumer that owns the object.
        pipeline: Name of the OutboxPipeline behind it, if there is one.
        consumer: Name of the consumer within the pipeline, or of the EventConsumer.
    """
    labels = selector_labels(component, owner) | {
        meta.COMPONENT_LABEL: component,
        meta.MANAGED_BY_LABEL: meta.MANAGED_BY,
    }
    if pipeline is not None:
        labels[meta.PIPELINE_LABEL] = label_value(pipeline)
    if consumer is not None:
        labels[meta.CONSUMER_LABEL] = label_value(consumer)
    return labels


def selector_text(labels: Mapping[str, str]) -> str:
    """A selector as text, for `status.selector` and list calls."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
