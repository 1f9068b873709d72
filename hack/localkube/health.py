"""How a cluster is, part by part."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

from localkube import network, processes, state
from localkube.api import ApiClient
from localkube.layout import NODE_NAME, Layout, NodeAddresses
from localkube.node_config import DNS_READY_PORT
from localkube.state import State


@dataclass(frozen=True)
class Part:
    """One line of `status`: a part of the cluster, whether it is well, and what is wrong."""

    name: str
    ok: bool
    detail: str


def node_ready(client: ApiClient) -> bool:
    """Whether the node takes pods and kubelet itself answers through the API server."""
    node = client.get_json(f"/api/v1/nodes/{NODE_NAME}")
    if node is None:
        return False
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and client.get(f"/api/v1/nodes/{NODE_NAME}/proxy/healthz") is not None


def dns_ready(addresses: NodeAddresses) -> bool:
    """Whether CoreDNS knows the cluster's services."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://{addresses.node}:{DNS_READY_PORT}/ready", timeout=2).close()
    except OSError:
        return False
    return True


def inspect(layout: Layout, current: State) -> list[Part]:
    """Every part of a cluster and whether it is well."""
    parts = []
    for name, record in current.processes.items():
        alive = processes.is_alive(record)
        parts.append(Part(name, alive, f"pid {record.pid}" if alive else "not running"))
    if not (layout.pki / "complete").exists():
        return [*parts, Part("api", False, "was never started")]
    client = ApiClient(current.endpoints.server, layout.pki)
    answers = client.get("/readyz") is not None
    parts.append(Part("api", answers, current.endpoints.server if answers else "does not answer"))
    if current.mode == state.NODE and current.slot is not None:
        addresses = NodeAddresses(current.slot, current.network)
        linked = network.exists(layout.netns, addresses)
        parts.append(
            Part("network", linked, addresses.node if linked else "namespace or link gone")
        )
        takes_pods = answers and node_ready(client)
        parts.append(Part("node", takes_pods, "ready" if takes_pods else "not ready"))
        resolves = linked and dns_ready(addresses)
        parts.append(Part("dns", resolves, "ready" if resolves else "not ready"))
    return parts
