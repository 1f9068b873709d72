"""The node of a full cluster: its network, container runtime, kubelet, and what they leave."""

from __future__ import annotations

import socket
from pathlib import Path

from localkube import archive, cgroups, health, mounts, network, node_config, processes, state
from localkube.api import ApiClient
from localkube.errors import LocalkubeError
from localkube.layout import Layout, NodeAddresses
from localkube.shell import run
from localkube.starter import Starter
from localkube.state import State

# kubelet sets these for the whole machine; they are put back with the last node.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Folders whose place is fixed in kubelet, containerd or the CNI plugins.
_FIXED_FOLDERS = (
    "/run/containerd",
    "/run/containerd/s",
    "/run/containerd/fifo",
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/log/containers",
)
_SYSCTL_ROOT = Path("/proc/sys")


def addresses(current: State) -> NodeAddresses:
    """Addresses of a full node."""
    if current.slot is None:
        raise LocalkubeError("the recorded state of this node has no slot; run `localkube down`")
    return NodeAddresses(current.slot, current.network)


def network_exists(layout: Layout, current: State) -> bool:
    """Whether the node's namespace and link are there."""
    return network.exists(layout.netns, addresses(current))


def make_network(layout: Layout, current: State) -> None:
    """Make the node's namespace and link, which whoever looks for a free network sees."""
    network.require_bridge_filtering()
    network.create(layout.netns, addresses(current))


def prepare(layout: Layout, current: State) -> None:
    """Make what the daemons need before they start: cgroup, configuration files."""
    where = addresses(current)
    if not current.sysctls:
        _record_machine(layout, current)
    cgroups.create(layout.cgroup)
    kind = node_config.snapshotter(Path("/proc/self/mounts").read_text(), layout.root)
    for path, text in node_config.files(layout, where.node, kind).items():
        state.write_atomically(path, text)


def _record_machine(layout: Layout, current: State) -> None:
    """Note what is about to change outside the cluster's folder, to put it back later."""
    others = _other_nodes(layout)
    if others:
        current.sysctls = others[0].sysctls
        current.created_folders = others[0].created_folders
    else:
        for name in _SYSCTLS:
            current.sysctls[name] = (_SYSCTL_ROOT / name).read_text().strip()
        current.created_folders = [one for one in _FIXED_FOLDERS if not Path(one).exists()]
    state.save(layout, current)


def _other_nodes(layout: Layout) -> list[State]:
    return [
        other
        for place, other in state.load_all(layout.root.parent)
        if place != layout and other is not None and other.mode == state.NODE and other.sysctls
    ]


def start_runtime(starter: Starter) -> None:
    """Start containerd."""
    starter.ensure("containerd", node_config.containerd_command(starter.layout))


def start(starter: Starter, client: ApiClient) -> None:
    """Start the node's daemons; the API server answers already."""
    layout = starter.layout
    starter.wait("containerd", lambda: runtime_answers(layout))
    if node_config.PAUSE_IMAGE not in images(layout):
        tar = layout.root / "pause.tar"
        archive.write(
            tar,
            node_config.PAUSE_IMAGE,
            {"/busybox": Path("/bin/busybox").read_bytes()},
            ["/busybox", "sleep", "2147483647"],
        )
        import_image(layout, tar)
        tar.unlink()
    for path, body in node_config.dns_permissions():
        client.create(path, body)
    for name, argv in node_config.commands(layout, addresses(starter.current).node).items():
        starter.ensure(name, argv)


def wait_ready(starter: Starter, client: ApiClient) -> None:
    """Wait until the node takes pods and names resolve.

    Raises:
        LocalkubeError: a daemon ended or the time was up.
    """
    where = addresses(starter.current)
    starter.wait("coredns", lambda: health.dns_ready(where))
    starter.wait("kubelet", lambda: health.node_ready(client))


def _ctr(layout: Layout, *arguments: str) -> str:
    address = str(layout.containerd_socket)
    return run("ctr", "--address", address, "--namespace", "k8s.io", *arguments)


def runtime_answers(layout: Layout) -> bool:
    """Whether containerd answers."""
    try:
        _ctr(layout, "version")
    except LocalkubeError:
        return False
    return True


def images(layout: Layout) -> set[str]:
    """Full names of the images the node has."""
    return set(_ctr(layout, "images", "list", "--quiet").split())


def import_image(layout: Layout, tar: Path) -> None:
    """Load the images of a docker or OCI archive into the node.

    Raises:
        LocalkubeError: the archive cannot be read, or the node is not running.
    """
    _ctr(layout, "images", "import", str(tar))


def tag_image(layout: Layout, image: str, alias: str) -> None:
    """Give an image of the node a second name, taking it from another image if need be."""
    _ctr(layout, "images", "tag", "--force", image, alias)


def stop(layout: Layout, current: State) -> None:
    """Stop kubelet first, so that nothing is started again, then every container.

    Containers are told by their cgroup and shims by the socket of this cluster's containerd.
    """
    by_name = current.processes
    first = [by_name[name] for name in ("kubelet", "kube-proxy") if name in by_name]
    processes.stop(first, grace=5)
    processes.stop(cgroups.members(layout.cgroup), grace=0)
    containerd = [by_name[name] for name in ("containerd",) if name in by_name]
    processes.stop(containerd, grace=5)
    processes.stop(_shims(layout), grace=0)
    processes.stop(cgroups.members(layout.cgroup), grace=0)


def _shims(layout: Layout) -> list[processes.ProcessRecord]:
    address = str(layout.containerd_socket)
    pids = [
        pid
        for pid, argv in processes.command_lines().items()
        if argv and Path(argv[0]).name.startswith("containerd-shim") and address in argv
    ]
    return processes.records(pids)


def remove(layout: Layout, current: State) -> None:
    """Remove what the stopped node leaves outside its folder, and the mounts inside it."""
    _remove_shim_sockets(layout)
    _remove_network_results(layout)
    mounts.remove_below(layout.root)
    network.remove(layout.netns, addresses(current))
    cgroups.remove(layout.cgroup)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.root):
            link.unlink()
    if not _other_nodes(layout):
        _restore_machine(current)


def sweep(layout: Layout) -> None:
    """Stop and remove what a node without a record left outside its folder, by its names."""
    processes.stop(_shims(layout), grace=0)
    processes.stop(cgroups.members(layout.cgroup), grace=0)
    mounts.remove_below(layout.root)
    network.remove_namespace(layout.netns)
    cgroups.remove(layout.cgroup)


def _remove_shim_sockets(layout: Layout) -> None:
    tasks = layout.root / "containerd" / "state" / "io.containerd.runtime.v2.task" / "k8s.io"
    for address in tasks.glob("*/address"):
        Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)


def _remove_network_results(layout: Layout) -> None:
    """Remove what the CNI library noted about this cluster's sandboxes."""
    cri = "io.containerd.grpc.v1.cri"
    for sandbox in (layout.root / "containerd" / "root" / cri / "sandboxes").glob("*"):
        for result in Path("/var/lib/cni/results").glob(f"*-{sandbox.name}-*"):
            result.unlink()


def _restore_machine(current: State) -> None:
    if current.boot_id == processes.boot_id():
        for name, value in current.sysctls.items():
            (_SYSCTL_ROOT / name).write_text(value)
    for folder in sorted(map(Path, current.created_folders), reverse=True):
        if not folder.is_dir():
            continue
        for entry in folder.iterdir():
            if entry.is_socket() and not _listens(entry):
                entry.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _listens(path: Path) -> bool:
    """Whether a process still listens on a socket; a shim that was killed leaves its own behind."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True
