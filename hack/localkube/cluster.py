"""Bringing a cluster up, asking how it is, and taking it down.

`up` converges: it keeps what runs, starts what is missing, and begins afresh when what is left
cannot be continued (another boot, another version, a lost network namespace).
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
from localkube.layout import Endpoints, Layout, NodeAddresses, Roots, node_endpoints
from localkube.starter import Starter
from localkube.state import State

_PORT_TAKEN = "address already in use"
_PORTS = range(12_000, 20_000)


def cluster_layout(places: Roots, name: str) -> Layout:
    """Paths of the cluster of that name."""
    return Layout(name=name, root=places.state / "clusters" / name)


def cluster_lock(places: Roots, name: str) -> Path:
    """The lock `up` and `down` of one name hold; outside the folder that `down` removes."""
    return places.state / "locks" / name


def up(places: Roots, name: str, mode: str) -> State:
    """Bring a cluster up, or what is missing of it.

    Args:
        places: folders of state and cache.
        name: name of the cluster.
        mode: `state.NODE` or `state.CONTROL_PLANE`.

    Raises:
        LocalkubeError: the cluster did not become ready, or exists in the other mode.
    """
    layout = cluster_layout(places, name)
    with state.locked(cluster_lock(places, name)):
        current = state.load(layout)
        if current is not None and current.mode != mode:
            raise LocalkubeError(
                f"cluster {name!r} exists as {current.mode}, wanted {mode}: choose another --name,"
                f" or remove it with `localkube down --name {name}`"
            )
        if current is not None and all(part.ok for part in health.inspect(layout, current)):
            ui.say(f"cluster {name} is already running")
            return current
        wanted = binaries.NODE if mode == state.NODE else binaries.CONTROL_PLANE
        binaries.build(places, wanted)
        fingerprint = _fingerprint(places.cache, wanted)
        if reason := _cannot_continue(layout, current, fingerprint):
            ui.say(f"cluster {name}: {reason}; removing what is left of it")
            _down(layout, current)
            current = None
        if current is not None:
            ui.say(f"cluster {name} is incomplete; starting what is missing")
            if _try_to_continue(places, layout, current):
                return current
            ui.say(f"cluster {name} did not recover; removing it and starting afresh")
            _down(layout, current)
        return _fresh(places, layout, mode, fingerprint)


def _fingerprint(cache: Path, names: tuple[str, ...]) -> str:
    """Identity of the programs a cluster was started with."""
    return " ".join(sorted({binaries.path(cache, name).parent.name for name in names}))


def _cannot_continue(layout: Layout, current: State | None, fingerprint: str) -> str | None:
    """Why what is left of an earlier cluster must be removed first; None when it can go on."""
    if current is None:
        return "an unfinished start was left behind" if layout.root.exists() else None
    if current.boot_id != processes.boot_id():
        return "the machine was restarted since it was started"
    if current.binaries != fingerprint:
        return "it runs other versions than those wanted now"
    if current.mode == state.NODE and not node.network_exists(layout, current):
        return "its network namespace or link is gone"
    return None


def _try_to_continue(places: Roots, layout: Layout, current: State) -> bool:
    try:
        _start(places, layout, current)
    except LocalkubeError as error:
        ui.say(f"  {error}")
        return False
    return True


def _fresh(places: Roots, layout: Layout, mode: str, fingerprint: str) -> State:
    """Start a new cluster; a failed attempt stays as it is, for its logs and for a next `up`.

    Raises:
        LocalkubeError: it did not become ready.
    """
    ui.say(f"starting cluster {layout.name} ({mode})")
    if mode == state.NODE:
        with state.locked(places.state / "locks" / ".slots"):
            current = _record_new(layout, mode, fingerprint, slot=_free_slot(places))
        _start(places, layout, current)
        return current
    current = _record_new(layout, mode, fingerprint, slot=None)
    try:
        _start(places, layout, current)
    except LocalkubeError as error:
        if _PORT_TAKEN not in str(error):
            raise
        # Somebody else took a port between our looking and our listening: once more with others.
        _down(layout, current)
        current = _record_new(layout, mode, fingerprint, slot=None)
        _start(places, layout, current)
    return current


def _record_new(layout: Layout, mode: str, fingerprint: str, slot: int | None) -> State:
    endpoints = _free_endpoints() if slot is None else node_endpoints(NodeAddresses(slot))
    current = State(
        mode=mode,
        boot_id=processes.boot_id(),
        binaries=fingerprint,
        endpoints=endpoints,
        slot=slot,
    )
    layout.root.mkdir(parents=True, exist_ok=True)
    state.save(layout, current)
    return current


def _free_slot(places: Roots) -> int:
    claimed = set()
    for folder in (places.state / "clusters").glob("*"):
        other = state.load(Layout(name=folder.name, root=folder))
        if other is not None and other.slot is not None:
            claimed.add(other.slot)
    return network.free_slot(claimed, network.host_networks())


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
            _down(layout, state.load(layout))
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
    _remove_folder(layout)


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
