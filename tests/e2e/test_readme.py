"""The README's smallest pipeline, applied as it stands, with an event written in plain SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from demo.kubectl import ROOT

from support.stage import Stage

NAMESPACE = "readme"
ORDER = "0ddba11f-1111-4222-8333-444455556666"


def surroundings(nats_image: str) -> str:
    """What the README takes for granted: a database, NATS at nats.nats, a service `billing`."""
    labels = {"app": "nats"}
    container = {
        "name": "nats",
        "image": nats_image,
        "args": ["--jetstream", "--store_dir=/data"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    url = "postgresql://readme:readme@postgres.shop:5432/readme"
    documents = [
        _object("v1", "Namespace", NAMESPACE, ""),
        _object("v1", "Namespace", "nats", ""),
        _object(
            "apps/v1", "Deployment", "nats", "nats",
            spec={
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        ),
        _object(
            "v1", "Service", "nats", "nats", spec={"selector": labels, "ports": [{"port": 4222}]}
        ),
        _object(
            "v1", "Service", "billing", NAMESPACE,
            spec={"type": "ExternalName", "externalName": "mailer.shop.svc.cluster.local"},
        ),
        _object("v1", "Secret", "orders-db", NAMESPACE, stringData={"url": url}),
    ]  # fmt: skip
    return yaml.safe_dump_all(documents)


def _object(
    version: str, kind: str, name: str, namespace: str, **body: object
) -> dict[str, object]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}


@pytest.fixture
def smallest(stage: Stage) -> Iterator[None]:
    """The smallest pipeline in a namespace of its own."""
    stage.sql("postgres", "CREATE ROLE readme LOGIN PASSWORD 'readme'")
    stage.sql("postgres", "CREATE DATABASE readme OWNER readme")
    stage.kubectl("apply", "-f", "-", stdin=surroundings(stage.images.shop["nats"]))
    stage.kubectl("apply", "-n", NAMESPACE, "-f", str(ROOT / "examples/smallest/pipeline.yaml"))
    yield
    stage.kubectl("delete", "-n", NAMESPACE, "obp/orders", "--timeout=110s")
    stage.kubectl("delete", "namespace", NAMESPACE, "nats", "--timeout=120s", timeout=150)
    stage.sql("postgres", "DROP DATABASE readme WITH (FORCE)")
    stage.sql("postgres", "DROP ROLE readme")


@pytest.mark.usefixtures("smallest")
def test_smallest_pipeline_delivers_an_event_written_in_sql(stage: Stage) -> None:
    stage.kubectl(
        "wait", "-n", NAMESPACE, "obp/orders", "--for=condition=Ready", "--timeout=120s",
        timeout=150,
    )  # fmt: skip
    order = json.dumps({"id": ORDER, "customer": "someone@example.com"})
    stage.sql("readme", f"SELECT outbox.emit('order.created', '{ORDER}', '{order}')")
    query = f"SELECT recipient FROM public.mails WHERE order_id = '{ORDER}'"
    stage.eventually(
        "the event arrives", lambda: stage.sql("mailer", query) == "someone@example.com"
    )
    stage.sql("mailer", f"DELETE FROM public.mails WHERE order_id = '{ORDER}'")
