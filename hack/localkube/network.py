"""The node's network namespace and the veth pair that leads to it."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localkube.errors import LocalkubeError
from localkube.layout import NodeAddresses
from localkube.shell import run

SLOTS = 64
BRIDGE_FILTERING = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def used_networks(routes: str) -> list[ipaddress.IPv4Network]:
    """Networks the host has routes to.

    Args:
        routes: output of `ip -j -4 route show`.
    """
    return [
        ipaddress.IPv4Network(route["dst"], strict=False)
        for route in json.loads(routes or "[]")
        if route["dst"] != "default"
    ]


def free_slot(claimed: set[int], used: Iterable[ipaddress.IPv4Network]) -> int:
    """The first slot no other cluster has and whose network the host does not use.

    Raises:
        LocalkubeError: all are taken.
    """
    networks = list(used)
    for slot in range(SLOTS):
        wanted = ipaddress.IPv4Network(NodeAddresses(slot).subnet)
        if slot not in claimed and not any(wanted.overlaps(network) for network in networks):
            return slot
    raise LocalkubeError(
        f"no network is free for a node: all of 10.88.0.0/24 to 10.88.{SLOTS - 1}.0/24 are in use"
    )


def host_networks() -> list[ipaddress.IPv4Network]:
    """`used_networks` of this machine."""
    return used_networks(run("ip", "-j", "-4", "route", "show"))


def exists(netns: str, addresses: NodeAddresses) -> bool:
    """Whether the namespace and the host's end of the link are there."""
    link = Path("/sys/class/net") / addresses.link
    return (Path("/run/netns") / netns).exists() and link.exists()


def create(netns: str, addresses: NodeAddresses) -> None:
    """Make the namespace, the link and the addresses.

    Raises:
        LocalkubeError: a step failed.
    """
    remove(netns, addresses)
    run("ip", "netns", "add", netns)
    run("ip", "link", "add", addresses.link, "type", "veth", "peer", "name", "eth0", "netns", netns)
    run("ip", "address", "add", f"{addresses.host}/24", "dev", addresses.link)
    run("ip", "link", "set", addresses.link, "up")
    run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "-n", netns, "address", "add", f"{addresses.node}/24", "dev", "eth0")
    run("ip", "-n", netns, "link", "set", "eth0", "up")
    run("ip", "-n", netns, "route", "add", "default", "via", addresses.host)


def remove(netns: str, addresses: NodeAddresses) -> None:
    """Remove link and namespace, whichever of them is there."""
    for command in (["ip", "link", "del", addresses.link], ["ip", "netns", "del", netns]):
        subprocess.run(command, capture_output=True, check=False, timeout=60)


def require_bridge_filtering() -> None:
    """Make sure bridged packets pass iptables: services between pods of one node need it.

    Raises:
        LocalkubeError: the kernel cannot do it.
    """
    if not BRIDGE_FILTERING.exists():
        run("modprobe", "br_netfilter")
