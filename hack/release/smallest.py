"""The smallest pipeline as a stranger runs it: the file of a release, and what the README says.

What a stranger has already (PostgreSQL, NATS, a service that takes events) is made here, of the
images of the demo and of the release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from demo.kubectl import Kubectl
from localkube import processes

from release import readme
from release.stamp import ReleaseError

_NAMESPACE = "default"
_PASSWORD = "of-a-server-for-one-proof"
_URL = f"postgresql://postgres:{_PASSWORD}@postgres:5432/postgres"
_BILLING = """
import http.server, sys
class Billing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
http.server.ThreadingHTTPServer(("", 8080), Billing).serve_forever()
"""


def run(kubectl: Kubectl, folder: Path, images: Mapping[str, str], image: str) -> None:
    """Apply it, write an event, see that the handler got it, and delete it.

    Args:
        kubectl: of a cluster with the operator.
        folder: files of a release.
        images: of the demo's servers, by the name that they have in its manifests.
        image: of the release, which brings Python.

    Raises:
        ReleaseError, DemoError: something did not happen.
    """
    kubectl("apply", "-f", "-", stdin=json.dumps(_servers(images, image)))
    for namespace, name in (("nats", "nats"), (_NAMESPACE, "postgres"), (_NAMESPACE, "billing")):
        kubectl(
            "rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=5m", timeout=330
        )
    words = readme.command("kubectl create secret generic orders-db ")[1:]
    kubectl(*(f"--from-literal=url={_URL}" if one.startswith("--from-") else one for one in words))
    *apply, file = readme.command("kubectl apply -f pipeline.yaml")[1:]
    kubectl(*apply, str(folder / file))
    kubectl(*readme.command("kubectl wait obp/orders ")[1:], "--timeout=5m", timeout=330)
    statement = readme.line("SELECT outbox.emit(")
    kubectl("exec", "deployment/postgres", "--", "psql", "-U", "postgres", "-c", statement)

    def handled() -> bool:
        return any("/events" in one and "1999" in one for one in log().splitlines())

    def log() -> str:
        return kubectl("logs", "deployment/billing")

    if not processes.wait_until(handled, 300, interval=0.5):
        raise ReleaseError(f"the handler of the smallest pipeline: wanted 1999, found {log()!r}")
    kubectl("delete", "-f", str(folder / file), "--timeout=5m", timeout=330)


def _servers(images: Mapping[str, str], image: str) -> dict[str, object]:
    password = [{"name": "POSTGRES_PASSWORD", "value": _PASSWORD}]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nats"}}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            namespace,
            *_server(
                "nats",
                "nats",
                (4222, 4222),
                image=images["nats"],
                args=["--jetstream", "--store_dir=/scratch"],
            ),
            *_server(_NAMESPACE, "postgres", (5432, 5432), image=images["postgres"], env=password),
            *_server(
                _NAMESPACE, "billing", (80, 8080), image=image, command=["python3", "-c", _BILLING]
            ),
        ],
    }


def _server(
    namespace: str, name: str, ports: tuple[int, int], **container: object
) -> list[dict[str, object]]:
    """A Deployment of one pod that is ready when its port answers, and a Service before it."""
    meta = {"name": name, "namespace": namespace}
    labels = {"app": name}
    port, target = ports
    ready = {"tcpSocket": {"port": target}, "periodSeconds": 1}
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    pod = {
        "containers": [
            {"name": name, "readinessProbe": ready, "volumeMounts": mounts, **container}
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": port, "targetPort": target}]},
        },
    ]
