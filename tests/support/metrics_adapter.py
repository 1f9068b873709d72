"""An adapter of external metrics, as those that a HorizontalPodAutoscaler asks: a server behind the
API server's aggregation, which answers with a number that the operator exports right then."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from support.answering import answering
from support.certificates import Certificates
from support.world import World

_GROUP: Final = "external.metrics.k8s.io"
_VERSION: Final = f"{_GROUP}/v1beta1"


@contextmanager
def adapter(
    world: World, folder: Path, metric: str, value: Callable[[], float | None]
) -> Iterator[None]:
    """Serve one metric.

    Args:
        world: In whose namespace, and in whose cluster.
        folder: For certificates.
        metric: Its name.
        value: What it is now; None: nobody knows, and nothing is served.
    """
    certificates = Certificates(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
    path = f"/apis/{_VERSION}/namespaces/{world.namespace}/{metric}"

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(request.path).path
        said: dict[str, Any] | None = None
        if asked == f"/apis/{_VERSION}":
            said = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _VERSION,
                    "resources": []}  # fmt: skip
        elif asked == path:
            said = {"kind": "ExternalMetricValueList", "apiVersion": _VERSION, "metadata": {},
                    "items": _items(metric, value())}  # fmt: skip
        body = json.dumps(said).encode()
        request.send_response(404 if said is None else 200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with answering(answer, tls) as url, aggregated(world, urlsplit(url).port or 0):
        yield


@contextmanager
def aggregated(world: World, port: int) -> Iterator[None]:
    """Have the API server ask an adapter on loopback for external metrics."""
    name = f"v1beta1.{_GROUP}"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "adapter", "namespace": world.namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": _GROUP, "version": "v1beta1", "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": "adapter", "namespace": world.namespace, "port": port},
        },
    }  # fmt: skip
    world.apply(service, api)
    try:
        world.kubectl("wait", "--for=condition=Available", f"apiservice/{name}")
        yield
    finally:
        # A group that nobody answers for keeps every namespace from going.
        world.kubectl("delete", "apiservice", name)


def _items(metric: str, value: float | None) -> list[dict[str, Any]]:
    if value is None:
        return []
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"metricName": metric, "metricLabels": {}, "timestamp": moment, "value": f"{value:g}"}]
