"""Names, paths, addresses and versions of a local cluster.

Pure: no file is touched and no process started here, except that the environment variables which
move the folders are read by `roots`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localkube.errors import LocalkubeError

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(__file__).resolve().parent / "tools"

DEFAULT_NAME = "outbox-demo"
DEFAULT_NETWORK = "10.88"
NODE_NAME = "node"
CLUSTER_DOMAIN = "cluster.local"
# Pods and services live inside the node's network namespace, so every cluster can use the same.
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"

_NETWORK = re.compile(r"(\d{1,3})\.(\d{1,3})")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Roots:
    """The two folders everything lives under: clusters (state) and reusable results (cache)."""

    state: Path
    cache: Path


def roots(environ: Mapping[str, str], *, uid: int, home: Path) -> Roots:
    """Where state and cache live for this user.

    Root's state is machine-wide, so that `down` finds the cluster whatever HOME sudo left behind.
    """
    cache_home = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    if override := environ.get("LOCALKUBE_STATE"):
        state = Path(override)
    elif uid == 0:
        state = Path("/var/lib/outbox-operator/localkube")
    else:
        state_home = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
        state = state_home / "outbox-operator" / "localkube"
    cache = Path(environ.get("LOCALKUBE_CACHE") or cache_home / "outbox-operator" / "localkube")
    return Roots(state=state.absolute(), cache=cache.absolute())


def current_network() -> str:
    """The first two numbers of the addresses of new nodes."""
    return check_network(os.environ.get("LOCALKUBE_NETWORK") or DEFAULT_NETWORK)


def command(verb: str, name: str, *options: str) -> str:
    """A command of localkube as it can be pasted, about the cluster of that name."""
    named = () if name == DEFAULT_NAME else ("--name", name)
    return shlex.join([str(REPOSITORY / "hack/localkube/localkube"), verb, *named, *options])


def current_roots() -> Roots:
    """`roots` of the calling process."""
    return roots(os.environ, uid=os.geteuid(), home=Path.home())


def check_name(name: str) -> str:
    """Return the name of a cluster if it can be part of paths and of a network namespace's name.

    Raises:
        LocalkubeError: the name does not match.
    """
    if not _NAME.fullmatch(name):
        raise LocalkubeError(
            f"cluster name {name!r}: wanted 1 to 40 lower-case letters, digits and inner dashes"
        )
    return name


def check_network(text: str) -> str:
    """Return the first two numbers of the addresses of nodes, if they can be that.

    Raises:
        LocalkubeError: they are none, or addresses that pods and services have.
    """
    found = _NETWORK.fullmatch(text)
    taken = {".".join(one.split(".")[:2]) for one in (POD_CIDR, SERVICE_CIDR)}
    if not found or not 1 <= int(found[1]) <= 223 or int(found[2]) > 255 or text in taken:
        raise LocalkubeError(
            f"LOCALKUBE_NETWORK: wanted the first two numbers of a free network, such as "
            f"172.30 (not {' or '.join(sorted(taken))}), found {text!r}"
        )
    return text


@dataclass(frozen=True)
class Layout:
    """Every path and kernel object name of one cluster."""

    name: str
    root: Path

    @property
    def state_file(self) -> Path:
        """What `up` recorded: see `state.State`."""
        return self.root / "state.json"

    @property
    def pki(self) -> Path:
        """Keys, certificates and one kubeconfig per identity."""
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.pki / "admin.kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens; also how its shims are recognised."""
        return self.root / "containerd.sock"

    @property
    def netns(self) -> str:
        """Name of the node's network namespace, of which the machine has one list."""
        folder = hashlib.sha256(str(self.root).encode()).hexdigest()[:6]
        return f"localkube-{self.name}-{folder}"

    @property
    def cgroup(self) -> str:
        """Parent of all pod cgroups.

        Two kubelets under one parent would remove each other's pods as orphans.
        """
        return self.netns

    @property
    def volumes(self) -> Path:
        """Where volumes are that go with the cluster."""
        return self.root / "volumes"


@dataclass(frozen=True)
class NodeAddresses:
    """Addresses of one full node, derived from its slot (0 to 63) of a network of 64."""

    slot: int
    network: str = DEFAULT_NETWORK

    @property
    def link(self) -> str:
        """Host end of the veth pair."""
        return f"lk-{self.network.replace('.', '-')}-{self.slot}"

    @property
    def subnet(self) -> str:
        """The network between the host and the node."""
        return f"{self.network}.{self.slot}.0/24"

    @property
    def host(self) -> str:
        """The host as the node sees it."""
        return f"{self.network}.{self.slot}.1"

    @property
    def node(self) -> str:
        """The node as the host sees it."""
        return f"{self.network}.{self.slot}.2"


@dataclass(frozen=True)
class Endpoints:
    """Where the control plane listens."""

    host: str
    apiserver: int
    etcd_client: int
    etcd_peer: int

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.host}:{self.apiserver}"


def node_endpoints(addresses: NodeAddresses) -> Endpoints:
    """Endpoints of a full node: the usual ports, as nothing else listens in its namespace."""
    return Endpoints(host=addresses.node, apiserver=6443, etcd_client=2379, etcd_peer=2380)
