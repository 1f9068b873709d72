"""What an API server would have of the pipelines that `outbox dev` runs: objects and pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Meta, Pipeline, Stream
from outbox_operator.dev.manifest import Resources
from outbox_operator.plan.jetstream.consumers import settles_itself
from outbox_operator.plan.names import label_value
from outbox_operator.wire.config import CONFIG_PATH_ENV

Body = dict[str, Any]
KINDS: Final = {"pods": "Pod", **{plural: kind for kind, plural in meta.PLURALS.items()}}
"""Of what there is, by plural."""
LOGIN_KEY: Final = "url"
"""Of the one Secret that is read here."""
_WHERE: Final = (
    "connectionSecretRef", "migrationSecretRef", "migrationTls", "host", "port", "name", "tls",
)  # fmt: skip


def bodies(resources: Resources) -> Iterator[Body]:
    """Pipelines, streams and consumers, as they are here.

    There is one login, which owns everything; a relay or a handler is one process, whatever it is
    in a cluster; and what reads in a container there is nobody's here.
    """
    for pipeline in resources.pipelines:
        body = _body(pipeline)
        for field in ("migrationSecretRef", "migrationTls"):
            body["spec"]["database"].pop(field, None)
        body["spec"]["relay"] = _one_process(body["spec"]["relay"])
        yield body
    for stream in resources.streams:
        yield _body(stream)
    for consumer in resources.consumers:
        body = _body(consumer)
        body["spec"] = _one_process(body["spec"])
        if not settles_itself(consumer.spec):
            body["spec"].pop("handler", None)
        yield body


def _one_process(spec: Body) -> Body:
    kept = {name: value for name, value in spec.items() if name != "autoscaling"}
    return {**kept, "state": "Running", "replicas": 1}


def with_logins(body: Body, nats_url: str, redis_url: str | None = None) -> Body:
    """An object of ours with what leads to the servers here, in place of what it declares."""
    login = {"name": "outbox-dev", "key": LOGIN_KEY}
    spec = dict(body["spec"])
    if "redis" in spec:
        spec["redis"] = {"url": redis_url}
    elif "nats" in spec or body["kind"] != meta.CONSUMER:
        spec["nats"] = {"url": nats_url}
    for field in ("database", "inbox"):
        if field in spec:
            kept = {key: value for key, value in spec[field].items() if key not in _WHERE}
            spec[field] = {**kept, "connectionSecretRef": login}
    return {**body, "spec": spec}


def place(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    return body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]


def pods(resources: Resources, configs: Path) -> Iterator[Body]:
    """Relays and consumers as pods; a name is that of the process's files.

    Args:
        resources: What `outbox dev` runs.
        configs: Where the processes have their configurations.
    """
    for pipeline in resources.pipelines:
        labels = {meta.COMPONENT_LABEL: "relay", meta.PIPELINE_LABEL: pipeline.meta.name}
        yield _pod(f"relay-{pipeline.meta.name}", pipeline.meta, labels, configs)
    for consumer in resources.consumers:
        if settles_itself(consumer.spec):
            labels = {**consumer.meta.labels, meta.COMPONENT_LABEL: "consumer"}
            yield _pod(f"consumer-{consumer.meta.name}", consumer.meta, labels, configs)


def matching(all_: Iterable[Body], labels: str | None, fields: str | None) -> list[Body]:
    """Objects that selectors pick, as an API server does; each part says that two are equal."""
    wanted = dict(part.split("=", 1) for part in (labels or "").split(",") if part)
    of_fields = dict(part.split("=", 1) for part in (fields or "").split(",") if part)
    return [
        body
        for body in all_
        if wanted.items() <= (body["metadata"].get("labels") or {}).items()
        and all(_field(body, path) == value for path, value in of_fields.items())
    ]


def _field(body: Mapping[str, Any], path: str) -> Any:
    found: Any = body
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _body(one: Pipeline | Stream | Consumer) -> Body:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": one.meta.kind,
        "metadata": {
            "name": one.meta.name,
            "namespace": one.meta.namespace,
            "uid": one.meta.uid,
            "generation": one.meta.generation,
            "resourceVersion": "1",
            "labels": dict(one.meta.labels),
            "annotations": dict(one.meta.annotations),
        },
        "spec": one.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _pod(name: str, owner: Meta, labels: Mapping[str, str], configs: Path) -> Body:
    component = labels[meta.COMPONENT_LABEL]
    config = str(configs / f"{name}.json")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {
                **labels,
                meta.MANAGED_BY_LABEL: meta.MANAGED_BY,
                meta.INSTANCE_LABEL: label_value(owner.name),
            },
        },
        "spec": {
            "containers": [{"name": component, "env": [{"name": CONFIG_PATH_ENV, "value": config}]}]
        },
        # Commands run beside the process, with its configuration: it need not be up.
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": component, "ready": True, "restartCount": 0}],
        },
    }
