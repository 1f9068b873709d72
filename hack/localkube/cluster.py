"""Bringing a cluster up, asking how it is, and taking it down.

`up` converges: it keeps what runs and starts what is missing. What is left and cannot be
continued (another boot, another version, a lost network namespace) stays until somebody says
`--recreate`: the objects in it may be wanted.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from pathlib import Path

from localkube import (
    binaries,
    control_plane,
    health,
    mounts,
    network,
    node,
    pki,
    processes,
    state,
    ui,
)
from localkube.api import ApiClient
from localkube.errors import LocalkubeError
from localkube.layout import (
    DEFAULT_NETWORK,
    Endpoints,
    Layout,
    NodeAddresses,
    Roots,
    command,
    current_network,
    node_endpoints,
)
from localkube.starter import Starter
from localkube.state import State

_PORT_TAKEN = "address already in use"
_PORTS = range(12_000, 20_000)
# Networks of nodes are the machine's, whoever's folder the cluster is in.
_SLOTS_LOCK = Path("/run/localkube-slots.lock")
_RUNTIME = "containerd"


def cluster_layout(places: Roots, name: str) -> Layout:
    """Paths of the cluster of that name."""
    return Layout(name=name, root=places.state / "clusters" / name)


def cluster_lock(places: Roots, name: str) -> Path:
    """The lock `up` and `down` of one name hold; outside the folder that `down` removes."""
    return places.state / "locks" / name


def up(places: Roots, name: str, mode: str, *, recreate: bool = False) -> State:
    """Bring a cluster up, or what is missing of it.

    Args:
        places: folders of state and cache.
        name: name of the cluster.
        mode: `state.NODE` or `state.CONTROL_PLANE`.
        recreate: remove what is there first, with all objects.

    Raises:
        LocalkubeError: the cluster did not become ready, cannot be continued, or exists in the
            other mode. What is there stays.
    """
    layout = cluster_layout(places, name)
    with state.locked(cluster_lock(places, name)):
        if recreate and layout.root.exists():
            ui.say(f"cluster {name}: removing what is there")
            _down(layout, _recorded(layout))
        current = state.load(layout)
        if current is not None and current.mode != mode:
            raise LocalkubeError(
                f"cluster {name!r} exists as {current.mode}, wanted {mode}: choose another --name,"
                f" or remove it with `{command('down', name)}`"
            )
        if current is not None and all(part.ok for part in health.inspect(layout, current)):
            ui.say(f"cluster {name} is already running")
            return current
        wanted = binaries.NODE if mode == state.NODE else binaries.CONTROL_PLANE
        binaries.build(places, wanted)
        fingerprint = _fingerprint(places.cache, wanted)
        if current is None or not current.processes:
            if layout.root.exists():
                ui.say(f"cluster {name}: an unfinished start was left behind; removing it")
                _down(layout, current)
            return _fresh(places, layout, mode, fingerprint)
        recreating = command("up", name, *_options(mode), "--recreate")
        afresh = f"`{recreating}` begins afresh without them"
        if reason := _cannot_continue(layout, current, fingerprint):
            raise LocalkubeError(f"cluster {name}: {reason}; its objects are kept: {afresh}")
        ui.say(f"cluster {name} is incomplete; starting what is missing")
        try:
            _start(places, layout, current)
        except LocalkubeError as error:
            raise LocalkubeError(
                f"{error}\ncluster {name} did not recover and stays as it is, its objects too: "
                f"the same command tries again, {afresh}"
            ) from error
        return current


def _options(mode: str) -> list[str]:
    return ["--control-plane-only"] if mode == state.CONTROL_PLANE else []


def _recorded(layout: Layout) -> State | None:
    """What `up` recorded; None where that cannot be read."""
    try:
        return state.load(layout)
    except state.UnreadableStateError:
        return None


def _fingerprint(cache: Path, names: tuple[str, ...]) -> str:
    """Identity of the programs a cluster was started with."""
    return " ".join(sorted({binaries.path(cache, name).parent.name for name in names}))


def _cannot_continue(layout: Layout, current: State, fingerprint: str) -> str | None:
    """Why what is left of an earlier cluster must be removed first; None when it can go on."""
    if current.boot_id != processes.boot_id():
        return "the machine was restarted since it was started"
    if current.binaries != fingerprint:
        return "it runs other versions than those wanted now"
    if current.mode == state.NODE and not node.network_exists(layout, current):
        return "its network namespace or link is gone"
    return None


def _fresh(places: Roots, layout: Layout, mode: str, fingerprint: str) -> State:
    """Start a new cluster; a failed attempt stays as it is, for its logs and for a next `up`.

    Raises:
        LocalkubeError: it did not become ready.
    """
    ui.say(f"starting cluster {layout.name} ({mode})")
    if mode == state.NODE:
        with state.locked(_SLOTS_LOCK):
            within = current_network()
            slot = _free_slot(places, within)
            current = _record_new(layout, mode, fingerprint, slot, within)
            node.make_network(layout, current)
            _SLOTS_LOCK.unlink()
        _start(places, layout, current)
        return current
    current = _record_new(layout, mode, fingerprint)
    try:
        _start(places, layout, current)
    except LocalkubeError as error:
        if _PORT_TAKEN not in str(error):
            raise
        # Somebody else took a port between our looking and our listening: once more with others.
        _down(layout, current)
        current = _record_new(layout, mode, fingerprint)
        _start(places, layout, current)
    return current


def _record_new(
    layout: Layout,
    mode: str,
    fingerprint: str,
    slot: int | None = None,
    within: str = DEFAULT_NETWORK,
) -> State:
    endpoints = _free_endpoints() if slot is None else node_endpoints(NodeAddresses(slot, within))
    current = State(
        mode=mode,
        boot_id=processes.boot_id(),
        binaries=fingerprint,
        endpoints=endpoints,
        slot=slot,
        network=within,
    )
    layout.root.mkdir(parents=True, exist_ok=True)
    state.save(layout, current)
    return current


def _free_slot(places: Roots, within: str) -> int:
    """A slot no cluster of this folder has; those of others show as routes of the machine."""
    claimed = {
        NodeAddresses(other.slot, other.network).subnet
        for _, other in state.load_all(places.state / "clusters")
        if other is not None and other.slot is not None
    }
    return network.free_slot(claimed, network.host_networks(), within)


def _free_endpoints() -> Endpoints:
    """Loopback ports nobody listens on at the moment.

    They are kept over a repair, so they are none that the kernel gives to whoever connects.
    """
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == 3:
            return Endpoints("127.0.0.1", *ports)
    raise LocalkubeError(f"no three free ports from {_PORTS.start} to {_PORTS.stop - 1}")


def _start(places: Roots, layout: Layout, current: State) -> None:
    """Start every part that does not run and wait until the cluster is ready."""
    full = current.mode == state.NODE
    endpoints = current.endpoints
    layout.logs.mkdir(parents=True, exist_ok=True)
    if not (layout.pki / "complete").exists():
        pki.create(layout.pki, endpoints, node=full, cluster=f"localkube-{layout.name}")
        (layout.pki / "complete").touch()
    starter = Starter(places, layout, current)
    if full:
        node.prepare(layout, current)
        node.start_runtime(starter)
    with ui.step("control plane"):
        starter.ensure("etcd", control_plane.etcd(layout, endpoints))
        starter.ensure("kube-apiserver", control_plane.apiserver(layout, endpoints, node=full))
        client = ApiClient(endpoints.server, layout.pki)
        starter.wait("kube-apiserver", lambda: client.get("/readyz") is not None)
        starter.ensure(
            "kube-controller-manager", control_plane.controller_manager(layout, node=full)
        )
        if full:
            node.start(starter, client)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        starter.wait("kube-controller-manager", lambda: client.get(account) is not None)
    if full:
        with ui.step("node"):
            node.wait_ready(starter, client)


def down(places: Roots, name: str) -> bool:
    """Remove a cluster and everything it left; False when there was none."""
    layout = cluster_layout(places, name)
    with state.locked(cluster_lock(places, name)):
        if not layout.root.exists():
            return False
        with ui.step(f"removing cluster {name}"):
            _down(layout, _recorded(layout))
        cluster_lock(places, name).unlink()
    return True


def _down(layout: Layout, current: State | None) -> None:
    if current is not None:
        if current.mode == state.NODE:
            node.stop(layout, current)
        # Nothing of it is kept, so there is no point in waiting for a tidy end.
        processes.stop(current.processes.values(), grace=1)
        if current.mode == state.NODE:
            node.remove(layout, current)
    else:
        _stop_unrecorded(layout)
    _remove_folder(layout)


def _stop_unrecorded(layout: Layout) -> None:
    """Stop what runs of a cluster whose record is lost: our programs that were given its folder."""
    folder = f"{layout.root}/"
    programs = {*binaries.COMPONENTS, _RUNTIME}
    found = processes.records(
        pid
        for pid, argv in processes.command_lines().items()
        if Path(argv[0]).name in programs and any(folder in argument for argument in argv)
    )
    # First who would start others again.
    processes.stop(found, grace=1)
    node.sweep(layout)


def _remove_folder(layout: Layout) -> None:
    """Remove the cluster's folder, its record last, so that a failed `down` can be repeated.

    Raises:
        LocalkubeError: something is still mounted there (and must not be emptied through the
            mount), or still writes there.
    """
    mounts.remove_below(layout.root)
    try:
        for entry in layout.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != layout.state_file:
                entry.unlink()
        layout.state_file.unlink(missing_ok=True)
        layout.root.rmdir()
    except OSError as error:
        raise LocalkubeError(f"{layout.root} cannot be removed: {error}") from error
