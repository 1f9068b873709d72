"""An HTTP handler that answers 500, hangs, or is gone: said in the status, nothing lost, healed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from demo.shop import NAMESPACE

from support.stage import Stage

ENDPOINT = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/hang":
            time.sleep(3600)
        self.send_response(500 if self.path == "/fail" else 204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def endpoint(image: str) -> list[dict[str, Any]]:
    """A service with a path for each way to misbehave."""
    labels = {"app": "endpoint"}
    meta = {"name": "endpoint", "namespace": NAMESPACE}
    container = {
        "name": "endpoint",
        "image": image,
        "command": ["/opt/venv/bin/python3", "-c", ENDPOINT],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {
            "runAsNonRoot": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    ]


def consumer(url: str) -> dict[str, Any]:
    """A consumer of the shop's stream that never gives up."""
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "EventConsumer",
        "metadata": {"name": "watcher", "namespace": NAMESPACE},
        "spec": {
            "streamRef": {"name": "orders"},
            "deliverPolicy": "New",
            "deletionPolicy": "Delete",
            "maxDeliver": -1,
            "backoff": ["500ms"],
            "handler": {"http": {"url": url, "timeout": "2s"}},
        },
    }


@pytest.fixture(scope="module")
def served(stage: Stage) -> Iterator[Stage]:
    """The shop with the endpoint, taking orders."""
    stage.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(endpoint(stage.images.operator)))
    stage.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/endpoint", "--timeout=110s")
    stage.shop.take_orders(1)
    yield stage
    stage.shop.take_orders(0)
    stage.kubectl("delete", "-n", NAMESPACE, "deployment/endpoint", "service/endpoint")


def status(stage: Stage) -> dict[str, Any]:
    """Status of the consumer."""
    text = stage.kubectl("get", "-n", NAMESPACE, "evc/watcher", "-o", "json")
    found: dict[str, Any] = json.loads(text).get("status") or {}
    return found


def condition(stage: Stage, kind: str) -> dict[str, Any]:
    """One of its conditions; empty when it is not there."""
    conditions = status(stage).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == kind), {})


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://endpoint.shop/fail", "500"),
        pytest.param("http://endpoint.shop/hang", "2", marks=pytest.mark.thorough),
        pytest.param("http://nobody.shop/events", "nobody.shop", marks=pytest.mark.thorough),
    ],
    ids=["500", "hang", "gone"],
)
def test_a_bad_endpoint_shows_and_heals(served: Stage, url: str, word: str) -> None:
    served.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(consumer(url)))
    host = url.split("//")[1].split("/")[0]
    try:

        def said() -> bool:
            ready = condition(served, "Ready")
            message = ready.get("message", "")
            return ready.get("status") == "False" and word in message and host in message

        served.eventually(f"Ready=False with a message that says {word!r} and {host}", said)

        healthy = consumer("http://endpoint.shop/ok")
        served.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(healthy))
        served.eventually("Ready", lambda: condition(served, "Ready").get("status") == "True")

        def caught_up() -> bool:
            durable = status(served).get("consumer") or {}
            return durable.get("ackFloor", 0) > 0 and durable.get("redelivered") == 0

        served.eventually("what failed is handled", caught_up)
        assert (status(served)["consumer"].get("deadLetters") or 0) == 0
    finally:
        served.kubectl("delete", "-n", NAMESPACE, "evc/watcher", "--timeout=110s")
