"""A consumer on a real node whose pods follow its messages: made, loaded and looked at.

Used by the end-to-end test of autoscaling and by `bench.autoscaling`. A pipeline of its own beside
the shop's: rows go through its relay into its stream, and pods hand them to an endpoint that takes
its time, so that a pod does so many events a second and no more, whatever machine it is on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import yaml
from demo.shop import NAMESPACE

from support.stage import Stage

PIPELINE: Final = "parcels"
CONSUMER: Final = "parcels-packer"
_ENDPOINT: Final = """
import asyncio, sys
async def answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = [l for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            await asyncio.sleep(float(sys.argv[1]))
            writer.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    async with await asyncio.start_server(answer, "", 8000) as server:
        await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What its pods are to do.

    Attributes:
        autoscaling: Of the consumer.
        concurrency: Events that a pod handles at once.
        seconds: That an event takes.
    """

    autoscaling: dict[str, Any]
    concurrency: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What there was at a moment."""

    waiting: int
    wanted: int
    ready: int
    done: int
    why: str


@dataclass(frozen=True, slots=True)
class Autoscaled:
    """The pipeline in a cluster."""

    stage: Stage
    load: Load

    def open(self) -> None:
        """Make all of it, and wait until it is ready."""
        load = self.load
        slow = self._endpoint()
        consumer = {
            "name": "packer",
            "concurrency": load.concurrency,
            "autoscaling": load.autoscaling,
            "handler": {"http": {"url": f"http://slow.{NAMESPACE}/"}},
        }
        pipeline = {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": "OutboxPipeline",
            "metadata": {"name": PIPELINE, "namespace": NAMESPACE},
            "spec": {
                "deletionPolicy": "Delete",
                "database": {
                    "connectionSecretRef": {"name": "shop-owner-db"}, "schema": PIPELINE,
                },
                "nats": {"url": f"nats://nats.{NAMESPACE}:4222"},
                "stream": {"name": "PARCELS", "subject": "parcels.{event_type}"},
                "consumers": [consumer],
            },
        }  # fmt: skip
        self.stage.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*slow, pipeline]))
        self.stage.eventually("the pipeline is ready", lambda: self._ready(f"obp/{PIPELINE}"))

    def close(self) -> None:
        """Remove all of it."""
        kubectl = self.stage.kubectl
        kubectl("delete", "-n", NAMESPACE, f"obp/{PIPELINE}", "--timeout=110s")
        kubectl("delete", "-n", NAMESPACE, "deployment/slow", "service/slow")

    def write(self, rows: int) -> None:
        """Commit so many rows."""
        self.stage.sql(
            "shop",
            f"INSERT INTO {PIPELINE}.events (event_type, payload) "
            f"SELECT 'packed', '{{}}' FROM generate_series(1, {rows})",
        )

    def look(self) -> Look:
        """What there is now, by the status."""
        status = self._get(f"evc/{CONSUMER}").get("status") or {}
        scaled, durable = status.get("autoscaling") or {}, status.get("consumer") or {}
        return Look(
            waiting=int(durable.get("pending") or 0),
            wanted=int(scaled.get("wantedReplicas") or 0),
            ready=int(status.get("readyReplicas") or 0),
            done=int(durable.get("ackFloor") or 0),
            why=str(scaled.get("why")),
        )

    def budget(self) -> dict[str, Any]:
        """The pods' disruption budget: how many may go now, of how many."""
        found: dict[str, Any] = self._get(f"pdb/{CONSUMER}-consumer")
        return found

    def durable(self) -> dict[str, Any]:
        """The durable consumer, as the status has it."""
        status = self._get(f"evc/{CONSUMER}").get("status") or {}
        found: dict[str, Any] = status.get("consumer") or {}
        return found

    def _get(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.stage.kubectl("get", "-n", NAMESPACE, what, "-o", "json")
        )
        return found

    def _ready(self, what: str) -> bool:
        conditions = (self._get(what).get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _endpoint(self) -> list[dict[str, Any]]:
        labels = {"app": "slow"}
        metadata = {"name": "slow", "namespace": NAMESPACE}
        container = {
            "name": "slow",
            "image": self.stage.images.operator,
            "command": ["/opt/venv/bin/python3", "-c", _ENDPOINT, str(self.load.seconds)],
            "ports": [{"containerPort": 8000}],
            "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
            "securityContext": {
                "runAsNonRoot": True, "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }  # fmt: skip
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        }
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
            },
        ]
