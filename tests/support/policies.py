"""NetworkPolicies where nothing enforces them: as rules of iptables in a pod's network namespace.

The local cluster's network knows no policies. The rules here are what a network that knows them
makes of them, for the part of the API that our policies and their tests use; anything else is
refused, so that no rule is left out by mistake.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Policy = Mapping[str, Any]
Addresses = Callable[[Mapping[str, Any]], list[str]]
"""Addresses of the pods that a peer of a rule (`podSelector`, `namespaceSelector`) picks."""

_DIRECTIONS = {"Ingress": ("INPUT", "from", "-s"), "Egress": ("OUTPUT", "to", "-d")}
_REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


def selects(policy: Policy, labels: Mapping[str, str]) -> bool:
    """Whether a policy is about a pod of its namespace."""
    (selector,) = (policy["spec"].get("podSelector") or {},)
    assert selector.keys() <= {"matchLabels"}, selector
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def as_rules(policies: Sequence[Policy], node: str, addresses: Addresses) -> str:
    """Input of iptables-restore for a pod.

    Args:
        policies: All that select it.
        node: Address of the node as the pod sees it, which may come in whatever they say.
        addresses: Of the pods that a peer picks.
    """
    lines = ["*filter"]
    for direction, (chain, _, _) in _DIRECTIONS.items():
        isolated = any(direction in policy["spec"]["policyTypes"] for policy in policies)
        lines.append(f":{chain} {'DROP' if isolated else 'ACCEPT'} [0:0]")
    lines += [
        "-A INPUT -i lo -j ACCEPT",
        "-A OUTPUT -o lo -j ACCEPT",
        f"-A INPUT -s {node} -j ACCEPT",
    ]
    for chain in ("INPUT", "OUTPUT"):  # answers to what was let through
        lines.append(f"-A {chain} -m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT")
    for policy in policies:
        for direction, (chain, peers, where) in _DIRECTIONS.items():
            for rule in policy["spec"].get(direction.lower()) or ():
                assert direction in policy["spec"]["policyTypes"], policy
                for match in _matches(rule, peers, where, addresses):
                    lines.append(f"-A {chain} {match}-j ACCEPT")
    return "\n".join([*lines, "COMMIT", ""])


def _matches(
    rule: Mapping[str, Any], peers: str, where: str, addresses: Addresses
) -> Iterator[str]:
    assert rule.keys() <= {"ports", peers}, rule
    places = [""]
    if rule.get(peers):
        places = [f"{where} {one} " for peer in rule[peers] for one in addresses(peer)]
    ports = [""]
    if rule.get("ports"):
        ports = [_port(one) for one in rule["ports"]]
    return (place + port for place in places for port in ports)


def _port(port: Mapping[str, Any]) -> str:
    assert port.keys() <= {"port", "protocol"}, port
    protocol = port.get("protocol", "TCP").lower()
    return f"-p {protocol} --dport {int(port['port'])} " if "port" in port else f"-p {protocol} "


def network_of(uid: str) -> int | None:
    """A process in the network namespace of a pod on this machine; None: it is elsewhere."""
    wanted = re.compile(f"{uid}|{uid.replace('-', '_')}")
    for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if wanted.search(cgroup.read_text()):
                return int(cgroup.parent.name)
        except OSError:  # it ended meanwhile
            continue
    return None


def gateway(process: int) -> str:
    """Address of the node as a pod sees it."""
    words = within(process, "ip", "route", "show", "default").split()
    return words[words.index("via") + 1]


def enforce(process: int, rules: str) -> None:
    """Put rules in the place of those that are there."""
    within(process, "iptables-restore", stdin=rules)


def reaches(process: int, address: str, port: int) -> bool:
    """Whether a connection can be made from a pod's network."""
    command = [
        "nsenter",
        "-t",
        str(process),
        "-n",
        sys.executable,
        "-c",
        _REACH,
        address,
        str(port),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or "Error" in done.stderr, done.stderr
    return done.returncode == 0


def within(process: int, *command: str, stdin: str | None = None) -> str:
    """What a program of this machine says in a pod's network namespace."""
    done = subprocess.run(
        ["nsenter", "-t", str(process), "-n", *command],
        input=stdin, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
