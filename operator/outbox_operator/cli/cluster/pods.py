"""The pods of a pipeline or consumer: which they are, and in which container ours runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.cli.cluster.session import Session
from outbox_operator.cli.cluster.target import Target
from outbox_operator.errors import SpecError
from outbox_operator.plan.names import label_value, selector_text
from outbox_operator.wire.config import CONFIG_PATH_ENV

RELAY: Final = "relay"
CONSUMER: Final = "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of ours.

    Attributes:
        container: The one that the operator made; it has the name of the component.
        ready: Whether that container is.
        restarts: Of that container.
        runs_outbox: Whether our program runs in it, with a configuration that the operator made.
    """

    ref: Ref
    component: str
    container: str
    phase: str
    ready: bool
    restarts: int
    runs_outbox: bool

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name


async def of_target(
    session: Session, target: Target, *, only: str | None = None, consumer: str | None = None
) -> list[Pod]:
    """The pods, by name.

    Args:
        session: The verb's.
        target: A pipeline or consumer.
        only: `relay` or `consumers`; None: both.
        consumer: Name of one consumer of the pipeline.

    Raises:
        SpecError: The target has no pods.
    """
    labels = {meta.MANAGED_BY_LABEL: meta.MANAGED_BY}
    if target.kind == meta.STREAM:
        raise SpecError("an EventStream has no pods")
    if target.kind == meta.PIPELINE:
        labels[meta.PIPELINE_LABEL] = label_value(target.name)
        if consumer is not None:
            labels[meta.CONSUMER_LABEL] = label_value(consumer)
    else:
        labels[meta.INSTANCE_LABEL] = label_value(target.name)
        labels[meta.COMPONENT_LABEL] = CONSUMER
    if only is not None:
        labels[meta.COMPONENT_LABEL] = RELAY if only == RELAY else CONSUMER
    found, _ = await session.kube.list(
        "v1", "pods", session.namespace, label_selector=selector_text(labels)
    )
    return sorted(seen(found), key=lambda pod: (pod.component != RELAY, pod.name))


async def ready_relay(session: Session, pipeline: str) -> Pod | None:
    """A relay pod of a pipeline whose container is ours and ready; None: there is none."""
    found = await of_target(session, Target(meta.PIPELINE, pipeline), only=RELAY)
    return next((pod for pod in found if pod.ready and pod.runs_outbox), None)


def seen(bodies: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Pods as the API server has them, without those that are going."""
    pods = []
    for body in bodies:
        metadata, status = body["metadata"], body.get("status") or {}
        component = str((metadata.get("labels") or {}).get(meta.COMPONENT_LABEL, ""))
        containers = {str(one["name"]): one for one in body["spec"]["containers"]}
        container = component if component in containers else next(iter(containers))
        environment = containers[container].get("env") or ()
        states = [
            one for one in status.get("containerStatuses") or () if one.get("name") == container
        ]
        if metadata.get("deletionTimestamp"):
            continue
        pods.append(
            Pod(
                ref=Ref("v1", "pods", metadata["namespace"], metadata["name"]),
                component=component,
                container=container,
                phase=str(status.get("phase") or "Unknown"),
                ready=any(one.get("ready") for one in states),
                restarts=sum(int(one.get("restartCount") or 0) for one in states),
                runs_outbox=any(one.get("name") == CONFIG_PATH_ENV for one in environment),
            )
        )
    return pods
