"""The node's network namespace and the veth pair that leads to it."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localkube.errors import LocalkubeError
from localkube.layout import DEFAULT_NETWORK, NodeAddresses
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


def free_slot(
    claimed: set[str], used: Iterable[ipaddress.IPv4Network], within: str = DEFAULT_NETWORK
) -> int:
    """The first slot no other cluster has and whose network the host does not use.

    Args:
        claimed: networks of other clusters, as `NodeAddresses.subnet` says them.
        used: networks of the host.
        within: the first two numbers of the addresses to choose from.

    Raises:
        LocalkubeError: all are taken; names by what, and what chooses others.
    """
    networks = list(used)
    in_the_way: set[str] = set()
    for slot in range(SLOTS):
        subnet = NodeAddresses(slot, within).subnet
        overlapping = [one for one in networks if ipaddress.IPv4Network(subnet).overlaps(one)]
        if subnet not in claimed and not overlapping:
            return slot
        in_the_way |= {f"the route to {one}" for one in overlapping}
        in_the_way |= {"clusters that run"} if subnet in claimed else set()
    last = NodeAddresses(SLOTS - 1, within).subnet
    raise LocalkubeError(
        f"no network is free for a node: all of {within}.0.0/24 to {last} are in use, by "
        f"{', '.join(sorted(in_the_way))}; LOCALKUBE_NETWORK=172.30 takes those of 172.30.0.0/16"
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
    subprocess.run(
        ["ip", "link", "del", addresses.link], capture_output=True, check=False, timeout=60
    )
    remove_namespace(netns)


def remove_namespace(netns: str) -> None:
    """Remove a namespace, and with it the link that leads there."""
    if (Path("/run/netns") / netns).exists():
        run("ip", "netns", "del", netns)


def require_bridge_filtering() -> None:
    """Make sure bridged packets pass iptables: services between pods of one node need it.

    Raises:
        LocalkubeError: the kernel cannot do it.
    """
    if not BRIDGE_FILTERING.exists():
        run("modprobe", "br_netfilter")
